"""Does `ssq verify` end in verdicts, a story and a repro, and `ssq replay` in the same story?"""

import errno
import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ssq_core.file import FileWorkerQueue
from ssq_core.queue import QueueIOError
from ssq_verify import verify as verify_module
from ssq_verify.judge import IDS
from ssq_verify.profiles import PROFILES

SSQ = Path(sys.executable).with_name("ssq")
NAIVE = '"""A queue with defects."""\n\nfrom ssq_verify.subjects.naive_file import open_queue\n'
MENDED = '"""A queue without."""\n\nfrom ssq_verify.subjects.memory import open_queue\n'


QUICK = PROFILES["quick"]
FEW = [
    sys.executable,
    "-c",
    (
        "from dataclasses import replace\n"
        "from ssq_stress.cli import main\n"
        "from ssq_verify.profiles import PROFILES\n"
        "quick = PROFILES['quick']\n"
        "few = {'effort': replace(quick.effort, examples=60),"
        " 'simulation': replace(quick.simulation, crash_scenarios=4, random=50)}\n"
        "PROFILES['quick'] = replace(quick, **few)\n"
        "main()\n"
    ),
]
"""The command, in a process of its own, with as few examples as `few_examples` below."""


@pytest.fixture(autouse=True)
def few_examples(monkeypatch):
    """Let `quick` be quicker: what these tests look for shows soon."""
    use(monkeypatch, examples=60, crash_scenarios=4, random=50)


def use(monkeypatch, *, examples, **simulation):
    """Let `quick` try so many examples, the same however busy the machine is."""
    effort = replace(QUICK.effort, examples=examples, seconds_max=600.0)
    raced = replace(QUICK.simulation, **simulation, seconds_max=600.0)
    monkeypatch.setitem(PROFILES, "quick", replace(QUICK, effort=effort, simulation=raced))


@pytest.mark.scenario("command-line/everything-holds")
@pytest.mark.scenario("command-line/first-line-and-table")
def test_verify_a_correct_queue(ssq, tmp_path, monkeypatch):
    """A correct queue gets exit code 0, a first line with the seed, and a row for each invariant."""
    use(monkeypatch, examples=QUICK.effort.examples)

    code, out, error = ssq("verify", "memory", "--seed", "7", "--out", "results")
    rows = [line.split()[0] for line in out.split("\n\n")[1].splitlines()[1:] if not line.startswith(" ")]

    assert (code, error) == (0, "")
    assert out.splitlines()[0] == "ssq verify memory · profile quick · seed 7"
    assert rows == list(IDS)
    assert (tmp_path / "results/history.jsonl").is_file()


@pytest.mark.scenario("command-line/asked-for-by-name-and-not-tried")
def test_an_invariant_asked_for_and_not_tried_is_not_green(ssq):
    """`--invariants durable` ends with 3 on SQLite, whose files only stress takes the power from."""
    code, out, error = ssq("verify", "memory", "--invariants", "fencing")
    assert (code, error) == (0, "")

    code, out, error = ssq("verify", "sqlite", "--invariants", "durable")

    assert (code, error) == (3, "")
    assert "needs stress" in out


@pytest.mark.scenario("command-line/last-line-of-a-failure")
@pytest.mark.scenario("command-line/still-fails")
@pytest.mark.scenario("command-line/fixed")
def test_a_failure_is_told_replayed_and_mended(ssq, tmp_path):
    """A story of at most ten rows ends in a replay command that fails again, until the queue is mended."""
    (tmp_path / "my_queue.py").write_text(NAIVE)

    code, out, _ = ssq("verify", "my_queue.py:open_queue", "--invariants", "single-claimer,fencing")
    story_rows = re.findall(r"^ *\d+\.\d s  ", out, flags=re.MULTILINE)
    program, *replay = out.splitlines()[-1].split()
    again, told, _ = ssq(*replay)
    (tmp_path / "my_queue.py").write_text(MENDED)
    mended, said, _ = ssq(*replay)

    assert (code, program, replay[0]) == (1, "ssq", "replay")
    assert 1 <= len(story_rows) <= 10
    assert out.count("✗ here") == 1
    assert again == 1
    assert re.search(r"^still fails: [a-z-]+, with the history that was recorded$", told, flags=re.MULTILINE)
    assert "✗ here" in told
    assert told.splitlines()[-1] == " ".join(["ssq", *replay])
    assert mended == 0
    assert "fixed" in said


@pytest.mark.scenario("command-line/one-json-document")
@pytest.mark.scenario("command-line/only-some-invariants")
def test_verify_as_json(ssq):
    """With `--json` there is one document; with `--invariants` only those are judged."""
    code, out, error = ssq("verify", "naive-file", "--invariants", "fencing,integrity", "--json")
    document = json.loads(out)
    fencing, integrity = document["verdicts"]

    assert (code, error) == (1, "")
    assert (document["subject"], document["seed"], document["profile"]) == ("naive-file", 0, "quick")
    assert document["ways"] == ["model", "simulation"]
    assert document["explored"]["operations"] > 0
    assert (fencing["invariant"], fencing["verdict"]) == ("fencing", "violated")
    assert fencing["witness"]
    assert Path(fencing["repro"]).is_file()
    assert (integrity["invariant"], integrity["verdict"]) == ("integrity", "holds")


def test_replay_as_json(ssq):
    """`ssq replay --json` says in one document whether the repro still fails."""
    _, out, _ = ssq("verify", "naive-file", "--invariants", "fencing", "--json")
    repro = json.loads(out)["verdicts"][0]["repro"]
    recorded = json.loads(Path(repro).read_text())["digest"]

    code, out, error = ssq("replay", repro, "--json")
    document = json.loads(out)

    assert (code, error) == (1, "")
    assert (document["invariant"], document["result"]) == ("fencing", "still fails")
    assert (document["digest"], document["same_history"]) == (recorded, True)


@pytest.mark.scenario("command-line/a-factory-that-raises")
def test_factory_that_raises(ssq, tmp_path, is_one_line):
    """A factory that raises is bad input: it is named with what it raised."""
    (tmp_path / "raising.py").write_text("def open_queue(workdir, policy):\n    raise KeyError('dsn')\n")

    code, _, error = ssq("verify", "raising.py:open_queue")

    assert code == 64
    assert is_one_line(error, "raising.py:open_queue", "KeyError", "dsn")


@pytest.mark.scenario("command-line/a-queue-folder-that-can-not-be-used")
def test_queue_folder_that_can_not_be_used(ssq, tmp_path, is_one_line):
    """A queue folder that can't be made is bad input: the folder and the reason are named."""
    (tmp_path / "file").write_text("")
    (tmp_path / "under_file.py").write_text(
        "from ssq_core.file import FileWorkerQueue\n\n"
        "def open_queue(workdir, policy):\n    return FileWorkerQueue(queue_dir='file/queue')\n"
    )

    code, _, error = ssq("verify", "under_file.py:open_queue")

    assert code == 64
    assert is_one_line(error, "under_file.py:open_queue", "file/queue", "Not a directory")


@pytest.mark.scenario("command-line/a-full-disk")
def test_full_disk(tmp_path, monkeypatch):
    """An enqueue on a full disk is one clear error, and the jobs that were there are still claimed."""
    queue = FileWorkerQueue(queue_dir=tmp_path / "queue")
    queue.enqueue("before")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(QueueIOError) as caught:
            queue.enqueue("after")
    claim = queue.claim(worker_id="w1")

    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("enqueue failed at ")
    assert str(tmp_path / "queue") in message
    assert message.endswith("No space left on device")
    assert claim is not None
    assert claim.job_id == "before"


@pytest.mark.scenario("command-line/no-room-or-no-permission-for-results")
def test_no_room_for_results(ssq, monkeypatch, is_one_line):
    """A disk that is full when results are written is bad input: the folder and the reason are named."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(verify_module.history_module, "write", full)

    code, _, error = ssq("verify", "memory", "--invariants", "integrity", "--out", "results")

    assert code == 64
    assert is_one_line(error, "results", "No space left on device", "--out")


@pytest.mark.scenario("command-line/plain-text-in-a-pipe")
def test_plain_text_in_a_pipe(tmp_path):
    """In a pipe there are no control sequences, no line over 100 characters, and no progress."""
    result = run_in(tmp_path, "verify", "naive-file", "--invariants", "single-claimer,fencing", command=FEW)

    assert (result.returncode, result.stderr) == (1, "")
    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_colour_on_a_terminal(tmp_path):
    """On a terminal the results are coloured."""
    ours, theirs = pty.openpty()
    environment = clean_environment() | {"TERM": "xterm-256color"}
    subprocess.run([SSQ, "explain", "fencing"], stdout=theirs, cwd=tmp_path, check=True, env=environment)
    os.close(theirs)
    shown = os.read(ours, 65_536)
    os.close(ours)

    assert b"\x1b[" in shown


@pytest.mark.scenario("command-line/the-reader-has-gone")
@pytest.mark.parametrize("arguments", [["explain", "fencing"], ["explain", "--json"]], ids=" ".join)
def test_the_reader_has_gone(tmp_path, arguments):
    """A closed pipe ends the command quietly."""
    reading, writing = os.pipe()
    os.close(reading)
    result = run_in(tmp_path, *arguments, stdout=writing)
    os.close(writing)

    assert (result.returncode, result.stderr) == (141, "")


def run_in(folder, *arguments, stdout=subprocess.PIPE, command=(SSQ,)):
    """Run the installed command in a folder and return what became of it."""
    return subprocess.run(
        [*command, *arguments],
        cwd=folder,
        check=False,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )


def clean_environment():
    """Return this environment without what would force or forbid colours."""
    forcing = {"FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE"}
    return {name: value for name, value in os.environ.items() if name not in forcing}
