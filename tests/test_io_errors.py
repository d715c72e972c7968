"""Who is to blame for a disk that fails? A queue that loses a job, not one that says that it failed."""

# ruff: noqa: D102, ARG002 - a queue is told by its class, and its methods are called as a queue's are

from dataclasses import dataclass
from itertools import count

import pytest

from ssq_core.queue import LeaseLost
from ssq_verify.execution import scratch
from ssq_verify.history import EventType, joined
from ssq_verify.judge import judge
from ssq_verify.scenario import SETUP_WORKER, Faults, Scenario, Settings, Step, StepKind
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.strategies import StrikeAt
from ssq_verify.simulation.world import ERRORS
from ssq_verify.subject import Promises, Subject
from ssq_verify.verdict import Finding

SETTINGS = Settings(lease_ttl_seconds=60)
SCENARIO = Scenario(
    settings=SETTINGS,
    steps=(
        Step(do=StepKind.ENQUEUE, worker=SETUP_WORKER, job="j1"),
        Step(do=StepKind.ENQUEUE, worker="w1", job="j2"),
        Step(do=StepKind.CLAIM, worker="w1", claim="a"),
        Step(do=StepKind.RELEASE, worker="w1", claim="a"),
        Step(do=StepKind.CLAIM, worker="w1", claim="b"),
        Step(do=StepKind.ACK, worker="w1", claim="b"),
        Step(do=StepKind.ADVANCE, worker="w2", seconds=100.0),
        Step(do=StepKind.CLAIM, worker="w2", claim="c"),
        Step(do=StepKind.ACK, worker="w2", claim="c"),
    ),
    faults=Faults(errors=1),
)


@dataclass(frozen=True)
class Claim:
    """A claim, known by the name of its file."""

    job_id: str
    claim_id: str


class Raises:
    """A correct queue, a file a job: each transition is one rename, and what fails is raised."""

    def __init__(self, workdir, policy):
        self.folder, self.policy = workdir / "jobs", policy
        self.folder.mkdir(exist_ok=True)

    def names(self):
        return sorted(path.name for path in self.folder.iterdir() if not path.name.startswith("."))

    def enqueue(self, job_id):
        if any(name.startswith(f"{job_id}@") for name in self.names()):
            return
        (self.folder / f".{job_id}").touch()
        (self.folder / f".{job_id}").rename(self.folder / f"{job_id}@0@0")

    def claim(self, *, worker_id):
        now = self.policy.clock().timestamp()
        for name in self.names():
            job_id, attempt, due = name.split("@")
            if float(due) < now:
                return self.taken(name, f"{job_id}@{int(attempt) + 1}@{now + self.policy.lease_ttl_seconds}")
        return None

    def taken(self, old, new):
        (self.folder / old).rename(self.folder / new)
        (self.folder / new).read_bytes()
        return Claim(new.partition("@")[0], new)

    def ack(self, *, claim):
        self.held(claim).unlink()

    def release(self, *, claim):
        self.held(claim).rename(self.folder / f"{claim.claim_id.rpartition('@')[0]}@0")

    def held(self, claim):
        if claim.claim_id not in self.names():
            raise LeaseLost(claim.job_id, claim.claim_id)
        return self.folder / claim.claim_id


class NoLeases(Raises):
    """The same without leases: what a claim took that then failed stays taken."""

    def taken(self, old, new):
        return super().taken(old, f"{new.rpartition('@')[0]}@inf")


class NoLeasesAndLists(NoLeases):
    """The same, and its jobs can be listed."""

    def job_ids(self):
        return [name.partition("@")[0] for name in self.names()]


class LosesAndRaises(Raises):
    """A claim removes the job's file and then makes the new one; what fails in between is raised."""

    def taken(self, old, new):
        (self.folder / old).unlink()
        (self.folder / new).touch()
        return Claim(new.partition("@")[0], new)


class LosesAndSwallows(LosesAndRaises):
    """The same, and the failure is taken for an empty queue."""

    def taken(self, old, new):
        try:
            return super().taken(old, new)
        except OSError:
            return None


def runs(queue, **promises):
    """Return a run for each call of each worker that can fail, and each way in which it can."""
    promised = Promises(max_attempts=None, durability="none", order=None, **promises)
    subject = Subject(reference=queue.__name__, factory=queue, promises=promised)
    found = []
    for error in ERRORS:
        for number in count(1):
            strategy = StrikeAt(error, number)
            with scratch() as workdir:
                found.append(simulate(SCENARIO, subject, strategy, workdir).history)
            if not strategy.has_struck:
                break
    return joined(found)


def verdicts(history):
    """Return what is found of each invariant."""
    return {each.invariant: each.verdict for each in judge(history, ways=("simulation",))}


def accused(history):
    """Return the invariants that are violated."""
    return {name for name, verdict in verdicts(history).items() if verdict is Finding.VIOLATED}


@pytest.mark.scenario("simulation/a-queue-that-says-that-a-call-failed")
def test_a_queue_that_raises_what_fails_is_not_accused():
    """Wherever a call fails, an operation that raised may have had its effect or not, and no job is lost."""
    history = runs(Raises)
    raised = {event.f for event in history.events if event.type is EventType.INFO and event.value}

    assert raised >= {"enqueue", "claim", "ack", "release"}
    assert accused(history) == set()
    assert verdicts(history)["no-lost-job"] is Finding.HOLDS


@pytest.mark.scenario("simulation/a-queue-without-leases-whose-claim-failed")
@pytest.mark.parametrize("queue", [NoLeases, NoLeasesAndLists])
def test_a_job_that_a_failed_claim_keeps_is_nobodys_fault(queue):
    """Without leases nobody gets back what a claim took that then failed: that is left undecided."""
    history = runs(queue, lease=False)

    assert accused(history) == set()
    assert verdicts(history)["no-lost-job"] is Finding.UNKNOWN


@pytest.mark.scenario("simulation/a-queue-that-loses-a-job-to-a-failed-call")
@pytest.mark.parametrize("queue", [LosesAndRaises, LosesAndSwallows])
def test_a_queue_that_loses_a_job_to_a_failing_call_is_accused(queue):
    """A job that is in no state after a call failed is lost, whether that was raised or swallowed."""
    assert accused(runs(queue)) == {"no-lost-job"}
