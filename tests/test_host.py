"""Do queues that read the system's clock, or want the process to themselves, run in turns as they should?"""

import fcntl
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import pytest

from ssq_verify.execution import execute, scratch
from ssq_verify.history import EventType
from ssq_verify.scenario import Scenario, Settings, Step, StepKind
from ssq_verify.simulation.host import Host, NeverReturned
from ssq_verify.simulation.point import NotSimulatable
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.tape import Replay
from ssq_verify.subject import Promises, Subject, load

SETTINGS = Settings(lease_ttl_seconds=60)


@dataclass(frozen=True)
class Claim:
    """A claim with no more than a queue must give."""

    job_id: str
    claim_id: str


class OneJob:
    """A folder that holds a job or two: a file's name says until when it is leased, by the wall clock."""

    def __init__(self, workdir, policy):
        self.workdir, self.ttl = workdir, policy.lease_ttl_seconds
        self.claims = 0

    def enqueue(self, job_id):
        """Add the job, free."""
        (self.workdir / f"{job_id}@0").touch()

    def claim(self, *, worker_id):
        """Take the job if its lease is over."""
        for path in self.workdir.glob("*@*"):
            job_id, _, until = path.name.partition("@")
            if float(until) < time.time():
                path.rename(self.workdir / f"{job_id}@{time.time() + self.ttl}")
                self.claims += 1
                return Claim(job_id, f"{worker_id}-{os.getpid()}-{self.claims}")
        return None

    def ack(self, *, claim):
        """Remove the job."""
        for path in self.workdir.glob(f"{claim.job_id}@*"):
            path.unlink()

    def release(self, *, claim):
        """Free the job."""
        for path in self.workdir.glob(f"{claim.job_id}@*"):
            path.rename(self.workdir / f"{claim.job_id}@0")


def subject_of(queue, **promises):
    """Return a subject of such a queue, whose time is the system's."""
    return Subject(reference="here", factory=queue, promises=Promises(**promises), clock="system")


def done(subject, *steps):
    """Return the history of some steps."""
    with scratch() as workdir:
        return execute(Scenario(settings=SETTINGS, steps=steps), subject, workdir)


def step(do, worker="w1", **fields):
    """Return a step."""
    return Step(do=do, worker=worker, **fields)


ENQUEUE, CLAIM = step(StepKind.ENQUEUE, job="j1"), step(StepKind.CLAIM, claim="a")
BY_ANOTHER = step(StepKind.CLAIM, "w2", claim="b")


def claims_of(history, worker):
    """Return the jobs that a worker's claims gave."""
    return [
        event.job_id
        for event in history.events
        if (event.worker, event.type, event.f) == (worker, EventType.OK, "claim")
    ]


@pytest.mark.scenario("simulation/a-lease-by-the-clock-of-the-system")
@pytest.mark.parametrize(
    ("passed", "ahead", "is_over"), [(59, 0, False), (61, 0, True), (59, 2, True), (61, -2, False)]
)
def test_a_lease_by_the_systems_clock_ends_when_the_pollers_clock_says_so(passed, ahead, is_over):
    """A queue that asks `time.time()` is moved through time, and each of its workers has its own clock."""
    clock = step(StepKind.CLOCK, "w2", seconds=ahead)
    wait = step(StepKind.ADVANCE, seconds=passed)
    history = done(subject_of(OneJob), ENQUEUE, CLAIM, clock, wait, BY_ANOTHER)

    assert claims_of(history, "w2") == (["j1"] if is_over else [None])


def test_the_same_steps_give_the_same_history():
    """Two runs in simulated processes are the same, byte for byte, with real time and pids left out of it."""
    steps = (ENQUEUE, CLAIM, step(StepKind.CRASH), step(StepKind.ADVANCE, seconds=61), BY_ANOTHER)

    assert done(subject_of(OneJob), *steps).events == done(subject_of(OneJob), *steps).events


def test_a_package_gives_the_same_history_twice():
    """So do two runs of somebody else's package, which draws random names."""
    steps = (ENQUEUE, CLAIM, step(StepKind.ADVANCE, seconds=61), BY_ANOTHER, step(StepKind.CRASH), CLAIM)

    assert done(load("pytaskcore"), *steps).events == done(load("pytaskcore"), *steps).events


@pytest.mark.scenario("simulation/an-operation-that-never-returns")
def test_an_operation_that_never_returns_stays_open():
    """Who waits for another's lock for ever is given up, and comes back as a new process."""

    class Locking(OneJob):
        def claim(self, *, worker_id):
            if worker_id in {"w1", "w2"}:
                fcntl.flock(os.open(self.workdir / "lock", os.O_CREAT | os.O_RDWR), fcntl.LOCK_EX)
            return super().claim(worker_id=worker_id)

    steps = (ENQUEUE, CLAIM, BY_ANOTHER, step(StepKind.ENQUEUE, "w2", job="j2"))
    history = done(subject_of(Locking), *steps)

    told = [(event.type, event.f) for event in history.events if event.worker == "w2"]
    assert told == [
        (EventType.INFO, "open"),
        (EventType.INVOKE, "claim"),
        (EventType.INFO, "crash"),
        (EventType.INFO, "open"),
        (EventType.INVOKE, "enqueue"),
        (EventType.OK, "enqueue"),
    ]


def test_a_process_that_goes_round_for_ever_is_given_up():
    """An operation that passes points without end never returns; the host's other processes go on."""
    with scratch() as workdir:
        host = Host(str(workdir))
        try:

            def for_ever():
                while True:
                    (workdir / "file").touch()

            with pytest.raises(NeverReturned):
                host.perform("w1", for_ever)
            assert host.perform("w2", lambda: "done") == "done"
        finally:
            host.close()


def test_a_dead_process_frees_its_locks():
    """What a process held is free when it has ended, and its successor has another pid."""
    with scratch() as workdir:
        host = Host(str(workdir))

        def locked():
            fd = os.open(workdir / "lock", os.O_CREAT | os.O_RDWR)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.getpid()

        first = host.perform("w1", locked)
        with pytest.raises(BlockingIOError):
            host.perform("w2", locked)
        host.end("w1")

        assert host.perform("w2", locked) not in {first, os.getpid()}
        host.close()


def in_a_thread():
    """Do something in a thread, as no simulated process can."""
    threading.Thread(target=lambda: None).start()


class ThreadInClaim(OneJob):
    """Starts a thread as it claims, and takes whatever that raises for nothing."""

    caught = Exception

    def claim(self, *, worker_id):
        """Claim all the same."""
        with suppress(self.caught):
            in_a_thread()
        return super().claim(worker_id=worker_id)


class ThreadInClaimAndAnyError(ThreadInClaim):
    """The same with whatever is no Exception."""

    caught = BaseException


class ThreadAndOnAndOn(OneJob):
    """Tries again for ever, with a system call between two tries."""

    def claim(self, *, worker_id):
        """Try to."""
        while True:
            with suppress(Exception):
                in_a_thread()
            (self.workdir / worker_id).touch()


class ThreadAsItOpens(OneJob):
    """Says something else of what it met as it was opened."""

    def __init__(self, workdir, policy):
        super().__init__(workdir, policy)
        try:
            in_a_thread()
        except Exception as error:
            raise OSError("can not open") from error


class ThreadInListing(OneJob):
    """Lists its jobs by a thread."""

    def job_ids(self):
        """List none."""
        in_a_thread()
        return []


SWALLOWING = [ThreadInClaim, ThreadInClaimAndAnyError, ThreadAndOnAndOn, ThreadAsItOpens, ThreadInListing]


@pytest.mark.scenario("simulation/what-no-simulation-controls-and-the-subject-hides")
@pytest.mark.parametrize("way", ["in turns", "simulated"])
@pytest.mark.parametrize("queue", SWALLOWING)
def test_what_can_not_be_simulated_is_told_whatever_the_queue_makes_of_it(queue, way):
    """In turns and in a race the run ends as not simulatable, also if the queue swallows the refusal."""
    scenario, subject = Scenario(settings=SETTINGS, steps=(ENQUEUE, CLAIM)), subject_of(queue)
    run = execute if way == "in turns" else partial(simulate, strategy=Replay(()))

    with scratch() as workdir, pytest.raises(NotSimulatable, match="a thread at ") as refused:
        run(scenario, subject, workdir=workdir)
    assert "test_host.py" in refused.value.where


@pytest.mark.scenario("simulation/several-workers-of-a-queue-for-one-process")
@pytest.mark.parametrize("way", ["in turns", "simulated"])
def test_a_queue_for_one_process_has_one_worker(way):
    """All steps are one worker's; it is gone before the queue is drained."""
    subject = subject_of(OneJob, processes="one", lease=False)
    scenario = Scenario(settings=SETTINGS, steps=(ENQUEUE, CLAIM, BY_ANOTHER))
    with scratch() as workdir:
        if way == "in turns":
            history = execute(scenario, subject, workdir)
        else:
            history = simulate(scenario, subject, Replay(()), workdir).history

    workers = [event.worker for event in history.events]
    drain = workers.index("drain")
    assert set(workers) == {"w1", "drain"}
    assert set(workers[:drain]) == {"w1"}
    crashed = [event.f for event in history.events].index("crash")
    opened = [(event.worker, event.f) for event in history.events].index(("drain", "open"))
    assert crashed < opened
