"""What happens when a scenario is done to a queue in virtual time."""

import os
import random
import secrets
import sys
import uuid
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest

from ssq_core.queue import LeaseLost
from ssq_verify import subject as subject_module
from ssq_verify.execution import DRAIN_POLLS_MAX, DRAIN_WORKER, EPOCH, TICK_NS, execute
from ssq_verify.history import EventType
from ssq_verify.repro import digest
from ssq_verify.scenario import Scenario, Settings, Step, StepKind
from ssq_verify.subject import Promises, Subject, SubjectFailed

SETTINGS = Settings(lease_ttl_seconds=60, max_attempts=3, max_clock_skew_seconds=2)
ENQUEUE = Step(do=StepKind.ENQUEUE, job="j1", payload="p1")
CLAIM = Step(do=StepKind.CLAIM, claim="claim1")


@dataclass(frozen=True)
class Claim:
    """A claim with no more than a queue must give."""

    job_id: str
    claim_id: str


class Deque:
    """The least that can be called a queue: it knows no lease, and forgets what is claimed."""

    def __init__(self) -> None:
        self.jobs: deque[str] = deque()
        self.claims = 0

    def enqueue(self, job_id):
        """Add a job."""
        self.jobs.append(job_id)

    def claim(self, *, worker_id):
        """Take the oldest job."""
        if not self.jobs:
            return None
        self.claims += 1
        return Claim(self.jobs.popleft(), f"{worker_id}-{self.claims}")

    def ack(self, *, claim):
        """Do nothing: the job is gone."""

    def release(self, *, claim):
        """Put the job back."""
        self.jobs.append(claim.job_id)


def run(steps, tmp_path, subject="memory"):
    """Return the history of some steps."""
    chosen = subject_module.load(subject) if isinstance(subject, str) else subject
    return execute(Scenario(settings=SETTINGS, steps=tuple(steps)), chosen, tmp_path)


def told(history, *, worker=None):
    """Return what was asked and answered, in order, without the drain."""
    return [
        (operation.f, operation.job_id, operation.outcome.value)
        for operation in history.operations
        if operation.worker == worker or (worker is None and operation.worker != DRAIN_WORKER)
    ]


def subject_of(queue, **promises):
    """Return a subject whose handles are all the one queue."""
    return Subject(reference="here", factory=lambda _, __: queue, promises=Promises(**promises))


@pytest.mark.scenario("verdicts/the-same-scenario-twice")
@pytest.mark.parametrize("name", ["memory", "file", "sqlite", "naive-file"])
def test_the_same_scenario_gives_the_same_bytes(name, tmp_path):
    """A scenario's history is the same in another folder, with other random claim ids."""
    stale = Step(do=StepKind.ACK, claim="claim1")
    steps = [
        ENQUEUE,
        CLAIM,
        Step(do=StepKind.CRASH),
        Step(do=StepKind.ADVANCE, seconds=64.000003),
        Step(do=StepKind.CLOCK, worker="w2", seconds=-1.0),
        Step(do=StepKind.CLAIM, worker="w2", claim="claim2"),
        stale,
        Step(do=StepKind.RELEASE, worker="w2", claim="claim2"),
        Step(do=StepKind.RELEASE, worker="w2", claim="claim2"),
    ]
    first, second = (run(steps, tmp_path / side, name) for side in ("one", "other"))

    assert digest(first) == digest(second)
    assert first.validated().events


class Drawing(Deque):
    """Gives out any of its jobs, by what it draws in three ways."""

    def claim(self, *, worker_id):
        """Take a job at random."""
        self.jobs.rotate(os.urandom(1)[0] + secrets.randbelow(100) + uuid.uuid4().int % 100)
        return super().claim(worker_id=worker_id)


def test_what_a_queue_draws_is_the_same_again(tmp_path):
    """A run is repeated to be shrunk, and then a queue that goes by random ids must do the same."""
    jobs = [Step(do=StepKind.ENQUEUE, job=f"j{number}") for number in range(9)]
    drawing = Subject(reference="here", factory=lambda _, __: Drawing())
    before = os.urandom, random.SystemRandom().random()
    orders = {digest(run([*jobs, *[CLAIM] * 9], tmp_path / str(number), drawing)) for number in range(3)}

    assert len(orders) == 1
    assert os.urandom is before[0]
    assert random.SystemRandom().random() != before[1]


def test_every_event_has_its_own_time(tmp_path):
    """Events are a microsecond apart, so that no two whole operations overlap; advance adds its seconds."""
    history = run([ENQUEUE, Step(do=StepKind.ADVANCE, seconds=5), CLAIM], tmp_path)
    times = [event.time_ns for event in history.events]
    gaps = {later - earlier for earlier, later in pairwise(times)}

    assert min(gaps) == TICK_NS
    assert 5_000_000_000 + TICK_NS in gaps


def test_a_worker_sees_its_own_clock(tmp_path):
    """A clock step moves what that worker's queue reads, and stands in the history with its offset."""
    history = run([Step(do=StepKind.CLOCK, worker="w2", seconds=-1.5), CLAIM], tmp_path)
    clock, claimed = history.events[0], history.events[2]

    assert (clock.f, clock.worker, clock.value) == ("clock", "w2", "-1.5")
    assert clock.wall_time == (EPOCH + timedelta(microseconds=1, seconds=-1.5)).isoformat()
    assert claimed.wall_time == (EPOCH + timedelta(microseconds=3)).isoformat()


def test_a_crashed_worker_is_a_new_process(tmp_path):
    """After a crash the same worker opens a new handle, and its old claim is still held and known."""
    history = run(
        [ENQUEUE, CLAIM, Step(do=StepKind.CRASH), CLAIM, Step(do=StepKind.ACK, claim="claim1")], tmp_path
    )

    assert [event.f for event in history.events if event.worker == "w1" and event.type is EventType.INFO] == [
        "open",
        "crash",
        "open",
    ]
    assert told(history)[-1] == ("ack", "j1", "ok")


def test_a_worker_that_never_lived_does_not_die(tmp_path):
    """A crash of a worker that has no handle is no event."""
    assert not [event for event in run([Step(do=StepKind.CRASH)], tmp_path).events if event.f == "crash"]


def test_a_step_without_its_claim_does_nothing(tmp_path):
    """Steps whose claim was never made, or found nothing, leave no trace, so that any step can be dropped."""
    steps = [CLAIM, Step(do=StepKind.ACK, claim="claim1"), Step(do=StepKind.RELEASE, claim="other")]

    assert told(run(steps, tmp_path)) == [("claim", None, "ok")]


def test_what_a_queue_lacks_is_not_called(tmp_path):
    """Extend and requeue of a queue without them do nothing."""
    steps = [ENQUEUE, CLAIM, Step(do=StepKind.EXTEND, claim="claim1"), Step(do=StepKind.REQUEUE, job="j1")]
    history = run(steps, tmp_path, subject_of(Deque()))

    assert [f for f, _, _ in told(history)] == ["enqueue", "claim"]
    assert (history.terms.extend, history.terms.payload, history.terms.dead_letters) == (False, False, False)


def test_a_live_id_is_not_enqueued_again_where_ids_are_not_idempotent(tmp_path):
    """Where the caller must not repeat an id, the scenario does not, until the job was acked."""
    ack = Step(do=StepKind.ACK, claim="claim1")
    history = run(
        [ENQUEUE, ENQUEUE, CLAIM, ack, ENQUEUE], tmp_path, subject_of(Deque(), idempotent_enqueue=False)
    )

    assert [f for f, _, _ in told(history)] == ["enqueue", "claim", "ack", "enqueue"]


def test_an_unexpected_error_does_not_end_the_run(tmp_path):
    """What a queue raises is recorded as an unknown outcome, and the next step is done."""

    class Broken(Deque):
        def ack(self, *, claim):  # noqa: ARG002 - it fails first
            raise RuntimeError("odd")

    history = run(
        [ENQUEUE, CLAIM, Step(do=StepKind.ACK, claim="claim1"), CLAIM], tmp_path, subject_of(Broken())
    )

    assert told(history)[2:] == [("ack", "j1", "info"), ("claim", None, "ok")]


@pytest.mark.scenario("verdicts/a-queue-that-can-not-be-opened")
def test_a_factory_that_raises_is_named(tmp_path):
    """A factory's error becomes one line: which subject, for whom, what was raised."""

    def factory(workdir, _policy):
        raise OSError(f"no room in {workdir}")

    said = f"here: opening it for drain raised OSError: no room in {tmp_path}; "
    with pytest.raises(SubjectFailed, match=said):
        run([], tmp_path, Subject(reference="here", factory=factory))


@pytest.mark.scenario("command-line/a-queue-that-ends-the-process")
def test_a_factory_that_exits_is_named(tmp_path):
    """What `sys.exit` would answer for the whole command is the subject's failure."""
    subject = Subject(reference="here", factory=lambda _, __: sys.exit(0))

    with pytest.raises(SubjectFailed, match="here: opening it for drain raised SystemExit: 0"):
        run([], tmp_path, subject)


def test_a_factory_that_gives_no_queue_is_named(tmp_path):
    """Something that can't claim is no queue, and what it lacks is said."""
    subject = Subject(reference="here", factory=lambda _, __: None)

    with pytest.raises(SubjectFailed, match="gave a NoneType without enqueue, claim, ack"):
        run([], tmp_path, subject)


def test_a_drain_ends_with_what_became_of_each_job(tmp_path):
    """After the steps the clocks are right again, and a fresh worker patiently takes all that is left."""
    history = run([ENQUEUE, Step(do=StepKind.CLOCK, seconds=500.0), CLAIM], tmp_path)
    singles = [
        event.f for event in history.events if event.worker == DRAIN_WORKER and event.type is EventType.INFO
    ]

    assert told(history, worker=DRAIN_WORKER)[:3] == [
        ("claim", None, "ok"),
        ("claim", "j1", "ok"),
        ("ack", "j1", "ok"),
    ]
    assert singles == ["heal", "open", "drained"]


def test_dead_letters_are_seen_after_the_drain(tmp_path):
    """A job that used up its attempts stands at the end as dead, with how often it was tried."""
    steps = [ENQUEUE] + [CLAIM, Step(do=StepKind.RELEASE, claim="claim1")] * 3
    last = run(steps, tmp_path).events[-2:]

    assert [(event.f, event.job_id, event.attempt) for event in last] == [
        ("drained", None, None),
        ("dead", "j1", 3),
    ]


def test_what_a_queue_lists_is_seen_at_the_end(tmp_path):
    """The jobs that a queue can list after the drain end the history."""

    class Open(Deque):
        def job_ids(self):
            return iter(("j1", "j2"))

    history = run([], tmp_path, subject_of(Open()))

    assert history.terms.lists_jobs
    assert [(event.f, event.job_id) for event in history.events[-2:]] == [
        ("present", "j1"),
        ("present", "j2"),
    ]


def test_a_queue_that_never_empties_is_given_up(tmp_path):
    """A drain is bounded, and its end says by what."""

    class Endless(Deque):
        def claim(self, *, worker_id):
            return Claim("j1", worker_id)

    last = run([], tmp_path, subject_of(Endless())).events[-1]

    assert (last.f, last.value) == ("drain-cut", f"{DRAIN_POLLS_MAX} polls")


def test_dead_letters_that_can_not_be_listed_leave_the_end_open(tmp_path):
    """If listing the dead fails, the run does not claim to know what became of every job."""

    class Secretive(Deque):
        def dead(self):
            raise LeaseLost("j1", "c1")

    last = run([], tmp_path, subject_of(Secretive())).events[-1]

    assert last.f == "drain-cut"
    assert last.value.startswith("listing its jobs raised LeaseLost")


def test_a_scenario_is_json_both_ways():
    """A scenario is pure data: what is written is what is read."""
    scenario = Scenario(settings=SETTINGS, steps=(ENQUEUE, CLAIM, Step(do=StepKind.ADVANCE, seconds=0.1)))

    assert msgspec.json.decode(msgspec.json.encode(scenario), type=Scenario) == scenario
