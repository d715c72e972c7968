"""Does a real file system lose what was not synced, and nothing else, and does a queue at work survive it?"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event as Moment

import pytest

from ssq_stress.nemesis import ext4, power_loss
from ssq_stress.nemesis.power_loss import NotAvailable, losable_disk, unavailable
from ssq_stress.power.crew import crewed, do
from ssq_stress.power.losing import Assignment, drain
from ssq_stress.power.losses import SETTINGS, Losses, _answer, lose_power, undone
from ssq_stress.power.outage import Outage, told
from ssq_stress.processes.log import EventLog, lines
from ssq_stress.supervisor import WorkerFailed
from ssq_verify.history import EventType
from ssq_verify.judge import judge
from ssq_verify.notation import h
from ssq_verify.subject import SubjectFailed, load
from ssq_verify.verdict import Finding

UNSYNCED = "ssq_verify.subjects.file:open_unsynced"
POLLS_MAX = 1_000
OWNER = """
import sys
from pathlib import Path
from ssq_stress.nemesis.power_loss import losable_disk
with losable_disk(Path(sys.argv[1])) as disk:
    print(disk.device.name, flush=True)
    sys.stdin.read()
"""
SERVED = """
import os
from pathlib import Path
from ssq_verify.subjects.file import open_queue as open_file

def open_queue(workdir, policy):
    assert Path(os.environ["SSQ_HOLDER"]).is_file()
    return open_file(workdir, policy)
"""


@pytest.fixture(autouse=True)
def _available():
    """Leave out what this machine can not do."""
    if (reason := unavailable()) is not None:
        pytest.skip(f"not available: {reason}")


@pytest.fixture
def disk(tmp_path):
    """Give an empty disk that can lose its power."""
    with losable_disk(tmp_path / "disk") as disk:
        yield disk


def written(path, content, *, sync):
    """Write a file, and sync it or not."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        if sync:
            os.fsync(file.fileno())


@pytest.mark.scenario("power-loss/what-was-synced-and-what-was-not")
def test_only_what_was_synced_survives(disk):
    """A synced file is there after a power loss, one that was not synced is not, time after time."""
    for number in range(3):
        written(disk.folder / f"synced-{number}", b"job", sync=True)
        written(disk.folder / f"unsynced-{number}", b"job", sync=False)

        disk.lose()
        disk.recover()

        assert (disk.folder / f"synced-{number}").read_bytes() == b"job"
        assert not (disk.folder / f"unsynced-{number}").exists()


def test_nothing_can_be_written_after_the_power_failed(disk):
    """From the loss on, every write and sync fails."""
    disk.lose()

    with pytest.raises(OSError, match="Input/output error"):
        (disk.folder / "late").write_bytes(b"job")


@pytest.mark.scenario("power-loss/a-commit-by-the-kernel")
def test_what_the_kernel_brought_to_the_disk_survives(disk):
    """What was written and not synced survives if the kernel happened to write it back before."""
    written(disk.folder / "a", b"job", sync=False)
    disk.sync()

    disk.lose()
    disk.recover()

    assert (disk.folder / "a").read_bytes() == b"job"


def test_recovery_waits_for_who_still_has_a_file_open(disk, monkeypatch):
    """A killed process may have its files open for a moment after it is gone."""
    file = (disk.folder / "a").open("wb")
    unmount, tries = ext4.unmount, []

    def unmounted(folder):
        tries.append(folder)
        if len(tries) == 2:
            file.close()
        unmount(folder)

    monkeypatch.setattr(ext4, "unmount", unmounted)
    disk.lose()
    disk.recover()

    assert len(tries) == 2


def test_recovery_ends_if_somebody_keeps_a_file_open(disk, monkeypatch):
    """Who still lives on the disk keeps it from being mounted anew, and the error says where."""
    monkeypatch.setattr(power_loss, "LET_GO_SECONDS_MAX", 0.0)
    with (disk.folder / "a").open("wb"):
        disk.lose()

        with pytest.raises(OSError, match=f"umount {disk.folder}: Device or resource busy"):
            disk.recover()


def test_the_disk_is_gone_with_the_body(tmp_path):
    """After the body the folder is empty, nothing is mounted there, and we are where we were."""
    before = Path.cwd(), Path("/proc/self/mountinfo").read_text()

    with losable_disk(tmp_path) as disk:
        written(disk.folder / "a", b"job", sync=True)

    assert list(tmp_path.iterdir()) == []
    assert (Path.cwd(), Path("/proc/self/mountinfo").read_text()) == before


@pytest.mark.scenario("power-loss/a-killed-owner")
def test_a_killed_owner_leaves_nothing_behind(tmp_path):
    """Nobody else sees the mount of a process, and when that is killed its loop device is free again."""
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        device = owner.stdout.readline().strip()
        mounted = str(tmp_path) in Path(f"/proc/{owner.pid}/mountinfo").read_text()
        seen = str(tmp_path) in Path("/proc/self/mountinfo").read_text()
        owner.send_signal(signal.SIGKILL)

    assert (mounted, seen) == (True, False)
    assert is_let_go(device, owner.pid)
    assert list(tmp_path.iterdir()) == []


def is_let_go(device, owner):
    """Whether a loop device has nothing of that process behind it any more; the kernel takes its time."""
    behind = Path(f"/sys/block/{device}/loop/backing_file")
    for _ in range(POLLS_MAX):
        try:
            if f"ssq-disk-{owner}" not in behind.read_text():
                return True
        except OSError:
            return True
        Moment().wait(0.01)
    return False


@pytest.mark.scenario("power-loss/a-machine-that-can-not-do-it")
@pytest.mark.parametrize(
    ("missing", "reason"),
    [("unshare", "Operation not permitted"), ("mkfs.ext4", "install e2fsprogs")],
)
def test_a_machine_that_can_not_do_it_says_why(tmp_path, monkeypatch, missing, reason):
    """Without the right to mount, or mkfs.ext4, the fault is not available, and the error says why."""

    def refused():
        raise PermissionError(1, "unshare: Operation not permitted")

    if missing == "unshare":
        monkeypatch.setattr(ext4, "private_mounts", refused)
    else:
        monkeypatch.setattr(ext4.shutil, "which", lambda *_, **__: None)
    power_loss._try.cache_clear()

    with pytest.raises(NotAvailable, match=f"{reason}.*; run as root on Linux"), losable_disk(tmp_path):
        pass
    assert reason in (unavailable() or "")


@pytest.mark.scenario("power-loss/queues-that-promise-it")
@pytest.mark.parametrize("subject", ["file", "sqlite"])
def test_our_queues_lose_nothing_acknowledged(tmp_path, subject):
    """Every enqueue and ack that had returned holds after real losses, and each id can be used anew."""
    history = lose_power(load(subject), Losses(count=2), tmp_path)
    verdicts = {each.invariant: each.verdict for each in judge(history, ways=("stress",))}

    assert verdicts["durable"] is Finding.HOLDS
    assert set(verdicts.values()) <= {Finding.HOLDS, Finding.VACUOUS, Finding.NOT_OFFERED}
    assert [event.f for event in history.events].count("power-loss") == 2
    again = [each for each in history.operations if each.worker == "again"]
    assert {each.f for each in again if each.job_id is not None} == {"enqueue", "claim", "ack"}
    assert verdicts["no-lost-job"] is Finding.HOLDS


@pytest.mark.scenario("power-loss/a-queue-that-syncs-nothing")
def test_a_queue_that_syncs_nothing_is_seen_to_lose(tmp_path):
    """What was acknowledged and not synced is gone, which that queue never promised to keep."""
    history = lose_power(load(UNSYNCED), Losses(count=2), tmp_path)
    (durable,) = judge(history, ways=("stress",), only={"durable"})

    assert undone(history, limit=1)
    assert durable.verdict is Finding.NOT_OFFERED


class Holder:
    """Has a file of the disk open while it lives, as a server has."""

    def __init__(self):
        self.lives = 0
        self.is_closed = False
        self.found = []
        self._file = None

    def start(self, folder):
        """Open a file, and note what was left of it."""
        path = folder / "server"
        self.found.append(path.read_bytes() if path.exists() else None)
        self._file = path.open("ab", buffering=0)
        self._file.write(b".")
        os.fsync(self._file)
        self._file.write(b"!")
        self.lives += 1
        return {"SSQ_HOLDER": str(path)}

    def stop(self):
        """Let go of the file."""
        self._file.close()
        self.lives -= 1

    def close(self):
        """Note that it will never be started again."""
        self.is_closed = True


@pytest.mark.scenario("power-loss/a-server-on-the-disk")
def test_a_server_on_the_disk_dies_with_its_power_and_starts_anew(tmp_path):
    """It finds what it had synced, and has let go of the disk each time that it is mounted anew."""
    server = Holder()

    queue = tmp_path / "queue.py"
    queue.write_text(SERVED)
    lose_power(load(f"{queue}:open_queue"), Losses(count=1), tmp_path, server)

    assert (server.lives, server.is_closed) == (0, True)
    assert server.found[0] is None
    assert server.found[1].startswith(b".")


def test_a_subject_that_can_not_be_opened_is_named(tmp_path):
    """A factory that raises in a worker is an error of the subject, with what it said."""
    broken = tmp_path / "broken.py"
    broken.write_text("def open_queue(workdir, policy):\n    raise RuntimeError('no such thing')\n")

    with pytest.raises(SubjectFailed, match="opening it for w1: RuntimeError: no such thing"):
        lose_power(load(f"{broken}:open_queue"), Losses(count=1), tmp_path)


@pytest.mark.scenario("power-loss/answers-while-the-power-fails")
def test_an_answer_while_the_power_fails_is_unknown():
    """What was answered after the power began to fail may have happened; what was called later has not."""
    log = h("w1 enqueue j1", "w1 claim j1#1", "w1 ack j1#1", "w1 enqueue j2").events
    called = next(event for event in log if event.f == "ack")
    outage = Outage(begun_ns=called.time_ns, ended_ns=called.time_ns)

    told_events = list(told(list(log), outage))

    assert [(each.f, each.type.value) for each in told_events[-2:]] == [("ack", "invoke"), ("ack", "info")]
    assert [each.job_id for each in told_events if each.f == "enqueue"] == ["j1", "j1"]


def test_a_claim_that_was_answered_while_the_power_failed_names_no_job():
    """The worker can not have been told which job it got, so nothing rests on that."""
    log = h("w1 enqueue j1", "w1 claim j1#1").events
    outage = Outage(begun_ns=log[-1].time_ns, ended_ns=log[-1].time_ns + 1)

    unknown = list(told(list(log), outage))[-1]

    assert (unknown.f, unknown.type.value, unknown.job_id) == ("claim", "info", None)


def test_an_answer_is_known_by_its_line(tmp_path):
    """The line of an enqueue that returned is told from those of its call and of other operations."""
    log = EventLog(tmp_path / "log")
    for kind, f in ((EventType.INVOKE, "enqueue"), (EventType.OK, "ack"), (EventType.OK, "enqueue")):
        log.record("w1", kind, f, job_id="j1")
    log.close()

    assert [_answer("enqueue") in line for line in lines(tmp_path / "log")] == [False, False, True]


@pytest.mark.scenario("stress/the-harness-fails-under-a-loss")
def test_a_harness_that_fails_is_not_the_subject(tmp_path, disk):
    """A process that can't do its part for a reason of ours says so, whether or not anybody waits for it."""
    assignment = Assignment(
        reference="file",
        settings=SETTINGS,
        disk=disk,
        workdir=disk.folder,
        name="w1",
        log=tmp_path / "no-such-folder/w1.jsonl",
        seed="0",
        environment={},
    )

    with pytest.raises(WorkerFailed, match="no-such-folder"), crewed([assignment]):
        pass
    with pytest.raises(WorkerFailed, match="no-such-folder"):
        do(drain, assignment)
