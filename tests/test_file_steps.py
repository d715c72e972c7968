"""What does the file queue leave behind when it is killed, failed or overtaken at each step that it takes?

A step is one call of `os` or `fcntl`. The tests take an operation apart: they run it once for each of its
steps, and there kill it (nothing of it runs any more), let the disk be full, or run another in between.
"""

import errno
import fcntl
import os
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from ssq_core.file import FileWorkerQueue
from ssq_core.queue import LeaseLost, QueueIOError, RetryPolicy

START = datetime(2024, 5, 1, tzinfo=UTC)
STEPS = (
    *(
        "open",
        "close",
        "read",
        "write",
        "fsync",
        "lseek",
        "stat",
        "lstat",
        "fstat",
        "link",
        "rename",
        "unlink",
    ),
    *("mkdir", "rmdir", "listdir"),
)


class Killed(BaseException):
    """The process is gone: no `except Exception`, no further step."""


class Steps:
    """Takes operations apart: calls `at_step` before the chosen step of what runs inside."""

    def __init__(self):
        self.taken = []
        self.at_step = None
        self.chosen = 0
        self.open_files = set()

    def wrap(self, name, call):
        """Return the call, made a step."""

        def step(*args, **named):
            if self.at_step is None:
                return call(*args, **named)
            self.taken.append((name, *args))
            if len(self.taken) >= self.chosen:
                self.at_step(name, len(self.taken) == self.chosen)
            result = call(*args, **named)
            if name == "open":
                self.open_files.add(result)
            elif name == "close":
                self.open_files.discard(args[0])
            return result

        return step

    def run(self, operation, chosen, at_step):
        """Run an operation, interrupted at a step; return whether it was, and its result or error."""
        self.taken, self.chosen, self.at_step = [], chosen, at_step
        try:
            outcome = operation()
        except (Killed, QueueIOError, LeaseLost) as error:
            outcome = error
        finally:
            self.at_step = None
            # The kernel closes a dead process's files, and so frees its locks.
            for fd in self.open_files:
                os.close(fd)
            self.open_files.clear()
        return len(self.taken) >= chosen, outcome


@pytest.fixture
def steps(monkeypatch):
    steps = Steps()
    for name in STEPS:
        monkeypatch.setattr(os, name, steps.wrap(name, getattr(os, name)))
    monkeypatch.setattr(fcntl, "flock", steps.wrap("flock", fcntl.flock))
    return steps


class Bench:
    """One queue in a state that an operation is about to leave: job `j` under test, job `other` beside it."""

    def __init__(self, folder, durability="process-crash", max_attempts=3):
        self.now = START
        self.folder = folder
        self.durability = durability
        self.retry = RetryPolicy(max_attempts=max_attempts)
        self.queue = self.opened()
        self.claim = None

    def opened(self):
        """Open another handle, as another process would."""
        return FileWorkerQueue(
            self.folder,
            lease_ttl_seconds=10,
            clock=lambda: self.now,
            retry=self.retry,
            durability=self.durability,
        )

    def entries(self):
        """List all entries' states and keys, pending ones included."""
        found = []
        for bucket in os.listdir(f"{self.folder}/queue"):
            found += [name.split(".")[1:3] for name in os.listdir(f"{self.folder}/queue/{bucket}")]
        return found

    def drained(self):
        """Claim and ack all there is, long after every lease has ended."""
        queue = self.opened()
        jobs = []
        for _ in range(20):
            self.now += timedelta(seconds=60)
            claim = queue.claim(worker_id="late")
            if claim is None:
                return jobs
            jobs.append(claim.job_id)
            queue.ack(claim=claim)
        raise AssertionError("the queue never runs dry")


def fresh(bench):
    return lambda: bench.queue.enqueue("j", payload=b"p")


def enqueue_live(bench):
    bench.queue.enqueue("j")
    return lambda: bench.queue.enqueue("j", payload=b"p")


def enqueue_over_a_stale_identity(bench):
    bench.queue.enqueue("j")
    identity = next(f"{bench.folder}/ids/{key}" for key in os.listdir(f"{bench.folder}/ids"))
    os.link(identity, f"{bench.folder}/kept")
    bench.queue.ack(claim=bench.queue.claim(worker_id="w1"))
    os.unlink(f"{bench.folder}/kept")
    assert len(os.listdir(f"{bench.folder}/ids")) == 1
    return lambda: bench.queue.enqueue("j", payload=b"p")


def enqueue_over_a_pending_entry(bench):
    bench.queue.enqueue("j")
    bucket = bench.queue._layout.bucket(1)
    (entry,) = (bench.queue._layout.parse(bucket, name) for name in os.listdir(bucket))
    header, _ = bench.queue._claiming.read(bench.queue._layout.entry(entry), entry)
    os.rename(f"{bucket}/{entry.name}", f"{bucket}/{header.pending.name}")
    return lambda: bench.queue.enqueue("j", payload=b"p")


def held(bench):
    bench.queue.enqueue("j")
    bench.claim = bench.queue.claim(worker_id="w1")


def claim(bench):
    bench.queue.enqueue("j")
    return lambda: bench.queue.claim(worker_id="w1")


def claim_expired(bench):
    held(bench)
    bench.now += timedelta(seconds=11)
    return lambda: bench.queue.claim(worker_id="w2")


def ack(bench):
    held(bench)
    return lambda: bench.queue.ack(claim=bench.claim)


def release(bench):
    held(bench)
    return lambda: bench.queue.release(claim=bench.claim)


def extend(bench):
    held(bench)
    return lambda: bench.queue.extend(claim=bench.claim)


def requeue(bench):
    bench.retry = RetryPolicy(max_attempts=1)
    bench.queue = bench.opened()
    held(bench)
    bench.queue.release(claim=bench.claim)
    return lambda: bench.queue.requeue_dead("j")


OPERATIONS = (
    *(fresh, enqueue_live, enqueue_over_a_stale_identity, enqueue_over_a_pending_entry),
    *(claim, claim_expired, ack, release, extend, requeue),
)


def each_step(steps, tmp_path, prepare, at_step, **settings):
    """Yield a bench and the outcome for each step of an operation at which it was interrupted."""
    for chosen in count(1):
        bench = Bench(tmp_path / f"q{chosen}", **settings)
        if isinstance(at_step, Inside):
            at_step.bench = bench
        operation = prepare(bench)
        # Beside the job under test: what happens to it may not touch another.
        bench.queue.enqueue("other")
        interrupted, outcome = steps.run(operation, chosen, at_step)
        if not interrupted:
            assert chosen > 1, "the operation takes no step: nothing was tested"
            return
        yield bench, outcome


def kill(_name, _first):
    raise Killed


def fill_the_disk(name, first):
    # A close that fails would leave the file open here, which it does not in Linux.
    if first and name != "close":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def goes_on(bench):
    """Assert that other workers go on by themselves, and that the id can be used again and again."""
    bench.retry = RetryPolicy(max_attempts=9)
    again = bench.opened()
    again.enqueue("j", payload=b"again")
    if again.requeue_dead("j"):
        assert [state for _, state in bench.entries()].count("d") == 0
    assert sorted(bench.drained()) == ["j", "other"]
    again.enqueue("j")
    assert bench.drained() == ["j"]
    assert again.stats().damaged == 0
    assert {state for _, state in bench.entries()} <= {"t"}, "only a file that was never enqueued may be left"


@pytest.mark.scenario("file-backend/a-process-is-killed-at-any-step")
@pytest.mark.parametrize("prepare", OPERATIONS)
def test_a_kill_at_any_step_leaves_a_queue_that_others_go_on_with(steps, tmp_path, prepare):
    """Whatever step is a process's last, no job is lost or doubled, and its id can be enqueued again."""
    for bench, outcome in each_step(steps, tmp_path, prepare, kill, durability="power-loss"):
        assert isinstance(outcome, Killed)
        keys = [key for key, state in bench.entries() if state in "qcd"]
        assert len(keys) == len(set(keys))
        goes_on(bench)


@pytest.mark.parametrize("durability", ["power-loss", "process-crash"])
def test_a_kill_while_opening_leaves_a_queue_that_others_open(steps, tmp_path, durability):
    """A process that dies while it makes a queue does not keep others from making and using it."""
    for chosen in count(1):
        folder = tmp_path / f"q{chosen}"
        interrupted, _ = steps.run(lambda at=folder: FileWorkerQueue(at, durability=durability), chosen, kill)
        bench = Bench(folder)
        bench.queue.enqueue("j")

        assert bench.drained() == ["j"]
        if not interrupted:
            return


@pytest.mark.scenario("file-backend/the-disk-is-full-at-any-step-of-an-enqueue")
@pytest.mark.parametrize("prepare", OPERATIONS)
def test_a_full_disk_at_any_step_is_an_error_and_no_damage(steps, tmp_path, prepare):
    """A step that the disk refuses ends in `QueueIOError` or success; queue and id stay usable."""
    refused = 0
    for bench, outcome in each_step(steps, tmp_path, prepare, fill_the_disk, durability="power-loss"):
        if isinstance(outcome, Exception):
            assert isinstance(outcome, QueueIOError)
            assert "No space left" in str(outcome)
            refused += 1
        goes_on(bench)
    assert refused


def test_a_refused_enqueue_before_its_identity_leaves_no_file(steps, tmp_path):
    """An enqueue that the disk refuses before the id is linked removes what it wrote."""
    for bench, outcome in each_step(steps, tmp_path, fresh, fill_the_disk):
        linked = len(os.listdir(f"{bench.folder}/ids")) == 2
        states = [state for _, state in bench.entries()]
        if isinstance(outcome, QueueIOError) and not linked and steps.taken[-1][0] != "unlink":
            assert states == ["q"]


class Blocked(BaseException):
    """The other operation would have to wait for the one that it runs in between."""


class Inside:
    """A step at which another handle's whole operation runs, on the same queue."""

    def __init__(self, steps, operation):
        self.steps = steps
        self.operation = operation
        self.bench = None
        self.outcome = None

    def __call__(self, _name, first):
        """Run the operation, once; it can not wait for what it interrupts, so waiting ends it like a kill."""
        if not first:
            return
        at_step, self.steps.at_step = self.steps.at_step, None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fcntl, "flock", never_waiting(fcntl.flock))
            try:
                self.outcome = self.run()
            except Blocked:
                self.outcome = None
        self.steps.at_step = at_step

    def run(self):
        """Run the operation on a new handle; an ack, release or extension is of the claim that is held."""
        queue = self.bench.opened()
        try:
            match self.operation:
                case "enqueue":
                    return queue.enqueue("j", payload=b"inner")
                case "claim":
                    return queue.claim(worker_id="inner")
                case "requeue_dead":
                    return queue.requeue_dead("j")
                case operation:
                    return getattr(queue, operation)(claim=self.bench.claim) if self.bench.claim else None
        except LeaseLost as error:
            return error


class KilledEnqueue(Inside):
    """Another handle's enqueue, killed between linking its id and making its entry claimable."""

    def run(self):
        """Run the enqueue up to its rename."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "rename", lambda *_: kill("rename", True))
            with pytest.raises(Killed):
                self.bench.opened().enqueue("j", payload=b"inner")


def never_waiting(flock):
    def lock(fd, flags):
        try:
            flock(fd, flags | fcntl.LOCK_NB)
        except BlockingIOError:
            if flags & fcntl.LOCK_NB:
                raise
            raise Blocked from None

    return lock


@pytest.mark.scenario("file-backend/one-operation-runs-inside-another")
@pytest.mark.parametrize("inner", ["enqueue", "claim", "ack", "release", "extend", "requeue_dead"])
@pytest.mark.parametrize("prepare", OPERATIONS)
def test_an_operation_between_any_two_steps_of_another_is_safe(steps, tmp_path, prepare, inner):
    """With another handle's operation between two of its steps, one claim, one ack and one entry win."""
    inside = Inside(steps, inner)
    for bench, outcome in each_step(steps, tmp_path, prepare, inside):
        assert not isinstance(outcome, QueueIOError), outcome
        assert_one_wins(prepare, inner, outcome, inside.outcome)
        keys = [key for key, state in bench.entries() if state in "qcd"]
        assert len(keys) == len(set(keys))
        goes_on(bench)


def test_an_enqueue_that_returned_added_the_job_though_another_was_killed(steps, tmp_path):
    """An enqueue adds the job though another of its id is killed half-way between two of its steps."""
    for bench, outcome in each_step(steps, tmp_path, fresh, KilledEnqueue(steps, "enqueue")):
        assert outcome is None
        assert [state for _, state in bench.entries()] == ["q", "q"]
        assert sorted(bench.drained()) == ["j", "other"]


def assert_one_wins(prepare, inner, outer_outcome, inner_outcome):
    if prepare in {claim, claim_expired} and inner == "claim":
        assert sorted([outer_outcome.job_id, inner_outcome.job_id]) == ["j", "other"]
    if prepare is claim_expired and inner == "ack":
        # Either the late holder was in time, or it lost the job to this claim.
        assert isinstance(inner_outcome, LeaseLost) == (outer_outcome.job_id == "j")
    if prepare is ack and inner in {"ack", "release"}:
        assert [isinstance(outcome, LeaseLost) for outcome in (outer_outcome, inner_outcome)].count(True) == 1
