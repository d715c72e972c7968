"""What a recorded call leaves in the history."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from ssq_core.queue import InvalidJobId, LeaseLost, OutcomeUnknown, QueueBusy, QueueUnavailable
from ssq_verify.history import EventType, History
from ssq_verify.recording import CanonicalRecorder, Recorder, RecordingQueue
from ssq_verify.subject import SubjectFailed


@dataclass(frozen=True)
class Claim:
    """A plain queue's claim: job and claim id, nothing else."""

    job_id: str
    claim_id: Any


class PlainQueue:
    """Answers what it is told to, and takes job ids alone."""

    def __init__(self, answer: object = None) -> None:
        self.answer = answer
        self.calls: list[object] = []

    def enqueue(self, job_id):
        """Note the call."""
        return self._answer(job_id)

    def claim(self, *, worker_id):
        """Note the call."""
        return self._answer(worker_id)

    def ack(self, *, claim):
        """Note the call."""
        return self._answer(claim)

    release = extend = ack

    def requeue_dead(self, job_id):
        """Note the call."""
        return self._answer(job_id)

    def _answer(self, argument):
        self.calls.append(argument)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class PayloadQueue(PlainQueue):
    """Takes payloads."""

    def enqueue(self, job_id, *, payload=b""):
        """Note the call."""
        return self._answer((job_id, payload))


def recorded(queue, recorder=None, **settings):
    """Return the wrapped queue and the events that it will write."""
    ticks = iter(range(0, 1_000_000, 1_000))
    recorder = recorder or Recorder(true_time_ns=lambda: next(ticks))
    return RecordingQueue(queue, recorder, "w1", **settings), recorder.events


def canonical_recorder(workdir="/queue-1"):
    """Return a recorder that leaves out what is random."""
    ticks = iter(range(0, 1_000_000, 1_000))
    return CanonicalRecorder(true_time_ns=lambda: next(ticks), workdir=workdir)


@pytest.mark.scenario("verdicts/a-definite-error")
@pytest.mark.parametrize(
    "error", [LeaseLost("j1", "c1"), InvalidJobId("", "it is empty"), QueueUnavailable("ack", "db", "away")]
)
def test_an_error_that_promises_no_effect_is_a_fail(error):
    """`LeaseLost`, `InvalidJobId` and `QueueUnavailable` mean that nothing was changed."""
    queue, events = recorded(PlainQueue(error))

    with pytest.raises(type(error)):
        queue.ack(claim=Claim("j1", "c1"))
    assert [event.type for event in events] == [EventType.INVOKE, EventType.FAIL]


@pytest.mark.scenario("verdicts/an-unknown-outcome")
@pytest.mark.parametrize(
    "error",
    [
        OSError("disk full"),
        QueueBusy("ack", "/q"),
        OutcomeUnknown("ack", "db", "reset"),
        ValueError("odd"),
        KeyError(),
    ],
)
def test_any_other_error_is_an_unknown_outcome(error):
    """What is not certainly without effect is recorded as info, with the error's type and message."""
    queue, events = recorded(PlainQueue(error))

    with pytest.raises(type(error)):
        queue.enqueue("j1")
    assert events[-1].type is EventType.INFO
    assert events[-1].value.startswith(type(error).__name__)


def test_a_kill_leaves_the_operation_open():
    """What is no Exception records no completion: the operation may yet take effect."""
    queue, events = recorded(PlainQueue(KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        queue.claim(worker_id="w1")
    assert [event.type for event in events] == [EventType.INVOKE]
    assert History(events=tuple(events)).operations[0].outcome is EventType.INFO


def test_a_plain_queue_gets_job_ids_alone():
    """A queue without payloads is called as it is written, and its history has no payloads."""
    plain = PlainQueue()
    queue, events = recorded(plain)

    queue.enqueue("j1", payload=b"unseen")

    assert plain.calls == ["j1"]
    assert events[0].value is None


def test_a_payload_is_recorded_in_base64():
    """The payload as sent stands at the enqueue, the payload as received at the claim."""
    claim = type("Answer", (), {"job_id": "j1", "claim_id": "c1", "attempt": 2, "payload": b"\x00\xff"})
    queue, events = recorded(PayloadQueue(claim))

    queue.enqueue("j1", payload=b"\x00\xff")
    queue.claim(worker_id="w1")

    sent = base64.b64encode(b"\x00\xff").decode()
    assert (events[0].value, events[3].value) == (sent, sent)
    assert (events[3].job_id, events[3].claim_id, events[3].attempt) == ("j1", "c1", 2)


def test_a_payload_that_is_no_bytes_equals_none_that_was_sent():
    """A queue that gives text back for bytes does not pass for one that gives the bytes back."""
    claim = type("Answer", (), {"job_id": "j1", "claim_id": "c1", "payload": "text"})
    queue, events = recorded(PayloadQueue(claim))

    queue.claim(worker_id="w1")

    assert events[-1].value != base64.b64encode(b"text").decode()


@pytest.mark.scenario("command-line/a-queue-that-ends-the-process")
@pytest.mark.parametrize("code", [0, "bye"])
def test_a_queue_that_exits_ends_the_run(code):
    """The code of a `sys.exit` inside an operation is never taken for ours, and the outcome stays open."""
    queue, events = recorded(PlainQueue(SystemExit(code)))

    with pytest.raises(SubjectFailed, match=f"enqueue called sys.exit.{code!r}"):
        queue.enqueue("j1")

    assert [event.type for event in events] == [EventType.INVOKE]


@pytest.mark.parametrize("answer", ["j1", 7, object()])
def test_an_answer_that_is_no_claim_ends_the_run(answer):
    """An answer without job_id and claim_id is no queue's, and says what to return instead."""
    queue, _ = recorded(PlainQueue(answer))

    with pytest.raises(SubjectFailed, match="job_id and claim_id"):
        queue.claim(worker_id="w1")


def test_a_requeue_of_a_job_that_is_not_dead_is_a_fail():
    """`requeue_dead` answers False where nothing was changed."""
    queue, events = recorded(PlainQueue(answer=False))

    assert queue.requeue_dead("j1") is False
    assert (events[-1].type, events[-1].value) == (EventType.FAIL, "not dead")


def test_an_extend_that_returns_nothing_keeps_the_claim():
    """A queue whose extend returns None is used with the claim that it knows."""
    queue, _ = recorded(PlainQueue())
    claim = Claim("j1", "c1")

    assert queue.extend(claim=claim) is claim


def test_wall_time_is_the_workers_own_in_utc():
    """Whatever zone a worker's clock speaks, the history has its instant in UTC."""
    here = timezone(timedelta(hours=2))
    queue, events = recorded(PlainQueue(), clock=lambda: datetime(2026, 1, 1, 2, 0, tzinfo=here))

    queue.enqueue("j1")

    assert datetime.fromisoformat(events[0].wall_time) == datetime(2026, 1, 1, tzinfo=UTC)
    assert events[0].wall_time.endswith("+00:00")


def test_claims_are_named_in_the_order_of_their_appearance():
    """Random claim ids get the same names in each run, also inside error messages, and no folder shows."""
    claim = Claim("j1", "0f9d2c63b0a14b0c")
    plain = PlainQueue(claim)
    queue, events = recorded(plain, canonical_recorder())
    queue.claim(worker_id="w1")
    plain.answer = OSError(f"no file /queue-1/claimed/j1__{claim.claim_id}.json at 0x7f00aa")

    with pytest.raises(OSError, match="no file"):
        queue.ack(claim=claim)
    assert events[1].claim_id == "c1"
    assert events[-1].value == "OSError: no file WORKDIR/claimed/j1__c1.json at 0x…"


def test_a_renewed_claim_keeps_its_name():
    """A queue that gives a new id at each extend still has one claim in the history."""
    plain = PlainQueue(Claim("j1", "first-receipt"))
    queue, events = recorded(plain, canonical_recorder())
    claim = queue.claim(worker_id="w1")
    plain.answer = Claim("j1", "second-receipt")

    renewed = queue.extend(claim=claim)
    queue.ack(claim=renewed)

    assert renewed.claim_id == "second-receipt"
    assert {event.claim_id for event in events[1:]} == {"c1"}
