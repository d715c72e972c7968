"""What does a process that could not go on leave to be read by whoever started it?"""

import errno

import pytest

from ssq_stress.processes.assignment import reporting
from ssq_stress.servers import process
from ssq_stress.supervisor import WorkerFailed, raise_if_reported
from ssq_verify.subject import SubjectFailed


@pytest.mark.scenario("stress/a-worker-that-can-t-go-on")
@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (SubjectFailed("mine.py:open_queue: boom"), SubjectFailed, "mine.py:open_queue: boom"),
        (OSError(errno.ENOSPC, "full", "/q/log"), OSError, "[Errno 28] No space left on device: '/q/log'"),
        (KeyError("odd"), WorkerFailed, "KeyError: 'odd'"),
    ],
)
def test_a_report_is_raised_as_what_it_was(tmp_path, error, kind, said):
    """A subject's failure, a disk's, and ours arrive as such, each in one line."""
    with reporting(tmp_path / "w1.failed"):
        raise error

    with pytest.raises(kind) as raised:
        raise_if_reported(tmp_path / "w1.failed")

    assert str(raised.value) == said
    assert kind is not WorkerFailed or "Traceback" in raised.value.__notes__[0]


@pytest.mark.scenario("stress/a-worker-that-can-t-go-on")
def test_an_empty_report_had_no_room(tmp_path):
    """What could be made and not written says that the disk is full, and where."""
    (tmp_path / "w1.failed").touch()

    with pytest.raises(OSError, match="No space left on device") as raised:
        raise_if_reported(tmp_path / "w1.failed")

    assert raised.value.filename == str(tmp_path)


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            ["initdb: error: No space left", "initdb: removing data directory", ""],
            "No space",
        ),
        (["starting", "# Fatal error, can't open config file", "bye"], "can't open"),
        (["ready"], "ready"),
        ([""], "it logged nothing"),
    ],
)
def test_a_server_that_did_not_start_is_quoted_where_it_says_why(log, reason):
    """What it logs after its error, tidying up, is not the reason."""
    assert reason in process._reason(log)
