"""How does a run become a history? `RecordingQueue` wraps any queue and writes down each call and answer.

What is not certainly without effect is recorded as `info`, never as `fail`: a checker may then assume either.
"""

import base64
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC
from typing import Any, TypeVar

from ssq_core.queue import Clock, InvalidJobId, LeaseLost, LeasesLost, QueueUnavailable, utc_now
from ssq_verify.history import NOT_DEAD, Event, EventType
from ssq_verify.subject import SubjectFailed, takes_payload

T = TypeVar("T")

DEFINITE_ERRORS = (LeaseLost, InvalidJobId, QueueUnavailable)
"""The errors that promise that nothing was changed."""
DEFINITE_FOR_MANY = (InvalidJobId, QueueUnavailable)
"""Of a call with many jobs; there `LeaseLost` must name those that it speaks of, as `LeasesLost` does."""

RANDOM_ID_LENGTH_MIN = 8


class Recorder:
    """Collects the events of one run, each with its place and the time of the one true clock."""

    def __init__(self, *, true_time_ns: Callable[[], int], run: int = 0) -> None:
        self.events: list[Event] = []
        self._true_time_ns = true_time_ns
        self._run = run

    def record(
        self, worker: str, type_: EventType, f: str, *, clock: Clock | None = None, **fields: Any
    ) -> None:
        """Add one event; `clock` is the worker's own, `fields` are those of `Event`."""
        time_ns = self._true_time_ns()
        event = Event(
            index=len(self.events),
            time_ns=time_ns,
            worker=worker,
            type=type_,
            f=f,
            wall_time=None if clock is None else clock().astimezone(UTC).isoformat(),
            run=self._run,
            **fields,
        )
        self.events.append(event)

    def claim_name(self, claim_id: str) -> str:
        """Return the name under which a claim stands in the history: its own."""
        return claim_id

    def error_text(self, error: Exception) -> str:
        """Return what a history says of an error: its type and message."""
        message = " ".join(str(error).split())
        return f"{type(error).__name__}: {message}" if message else type(error).__name__


class CanonicalRecorder(Recorder):
    """Leaves out what differs between two runs that do the same: random ids, folders, addresses."""

    def __init__(self, *, true_time_ns: Callable[[], int], workdir: str, run: int = 0) -> None:
        super().__init__(true_time_ns=true_time_ns, run=run)
        self._workdir = workdir
        self._names: dict[str, str] = {}

    def claim_name(self, claim_id: str) -> str:
        """Return `c1`, `c2`, … in the order of first appearance."""
        return self._names.setdefault(claim_id, f"c{len(self._names) + 1}")

    def same_claim(self, claim_id: str, renewed_id: str) -> None:
        """Let a claim keep its name although an extend gave it a new id (a queue with renewed receipts)."""
        self._names.setdefault(renewed_id, self.claim_name(claim_id))

    def error_text(self, error: Exception) -> str:
        """Return type and message, with canonical claim ids and without the folder of this run."""
        text = super().error_text(error).replace(self._workdir, "WORKDIR")
        for claim_id in sorted(self._names, key=len, reverse=True):
            # A short id is a counter, the same in each run, and may be part of anything.
            if len(claim_id) >= RANDOM_ID_LENGTH_MIN:
                text = text.replace(claim_id, self._names[claim_id])
        return plain(text)


def plain(text: str) -> str:
    """Return a text without addresses, which differ between two processes that do the same."""
    return re.sub(r"\b0x[0-9a-f]+", "0x…", text)


class RecordingQueue:
    """Any queue, recorded: calls go through unchanged, answers and errors come back as they are."""

    def __init__(
        self,
        queue: Any,
        recorder: Recorder,
        worker: str,
        *,
        clock: Clock = utc_now,
        on_return: Callable[[str], None] | None = None,
    ) -> None:
        self.inner = queue
        self._on_return = on_return
        """Told of each operation that comes back, before its answer is written down."""
        self.takes_payload = takes_payload(queue)
        self._recorder = recorder
        self._worker = worker
        self._clock = clock

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Add a job; the payload is passed on to a queue that takes one."""
        if self.takes_payload:
            self._call(
                "enqueue",
                lambda: self.inner.enqueue(job_id, payload=payload),
                job_id=job_id,
                value=_text(payload),
            )
        else:
            self._call("enqueue", lambda: self.inner.enqueue(job_id), job_id=job_id)
        self._record(EventType.OK, "enqueue", job_id=job_id)

    def claim(self, *, worker_id: str) -> Any:
        """Take a job. Raises `SubjectFailed` if the answer is neither None nor has job and claim id."""
        claim = self._call("claim", lambda: self.inner.claim(worker_id=worker_id))
        self._record(EventType.OK, "claim", **({} if claim is None else self._claimed(claim)))
        return claim

    def ack(self, *, claim: Any) -> None:
        """Finish the claimed job."""
        self._on_claim("ack", self.inner.ack, claim)

    def release(self, *, claim: Any) -> None:
        """Give the job back."""
        self._on_claim("release", self.inner.release, claim)

    def extend(self, *, claim: Any) -> Any:
        """Start the lease anew; returns the renewed claim, or the given one if the queue returns none."""
        renewed = self._on_claim("extend", self.inner.extend, claim)
        if not hasattr(renewed, "claim_id"):
            return claim
        if isinstance(self._recorder, CanonicalRecorder):
            self._recorder.same_claim(str(claim.claim_id), str(renewed.claim_id))
        return renewed

    def requeue_dead(self, job_id: str) -> bool:
        """Give a dead job a new incarnation; False, recorded as `fail`, if it is not dead."""
        requeued = bool(self._call("requeue", lambda: self.inner.requeue_dead(job_id), job_id=job_id))
        if requeued:
            self._record(EventType.OK, "requeue", job_id=job_id)
        else:
            self._record(EventType.FAIL, "requeue", job_id=job_id, value=NOT_DEAD)
        return requeued

    def enqueue_many(self, jobs: Iterable[tuple[str, bytes]]) -> None:
        """Add jobs; each is an operation in a lane of its own."""
        listed = list(jobs)
        if not self.takes_payload:
            about = [{"job_id": job_id} for job_id, _ in listed]
        else:
            about = [{"job_id": job_id, "value": _text(payload)} for job_id, payload in listed]
        self._call_many("enqueue", lambda: self.inner.enqueue_many(listed), about)
        for lane, (job_id, _) in enumerate(listed):
            self._record(EventType.OK, "enqueue", lane=lane, job_id=job_id)

    def claim_many(self, limit: int, *, worker_id: str) -> list[Any]:
        """Take jobs; what was not given is recorded as claims that found nothing."""
        claims = self._call_many(
            "claim", lambda: list(self.inner.claim_many(limit, worker_id=worker_id)), [{}] * limit
        )
        if len(claims) > limit:
            raise SubjectFailed(f"claim_many gave {len(claims)} claims where {limit} were asked for")
        given = [self._claimed(claim) for claim in claims]
        for lane, about in enumerate([*given, *[{}] * (limit - len(given))]):
            self._record(EventType.OK, "claim", lane=lane, **about)
        return claims

    def ack_many(self, *, claims: Iterable[Any]) -> None:
        """Finish the claimed jobs; those that `LeasesLost` names were refused, and all others acked."""
        listed = list(claims)
        about = [self._about(claim) for claim in listed]
        lost: list[LeasesLost] = []

        def acked() -> None:
            try:
                self.inner.ack_many(claims=listed)
            except LeasesLost as error:
                lost.append(error)

        self._call_many("ack", acked, about)
        refused = {(each.job_id, each.claim_id) for error in lost for each in error.claims}
        for lane, claim in enumerate(listed):
            if (claim.job_id, claim.claim_id) in refused:
                error = LeaseLost(claim.job_id, str(claim.claim_id))
                self._record(
                    EventType.FAIL, "ack", lane=lane, value=self._recorder.error_text(error), **about[lane]
                )
            else:
                self._record(EventType.OK, "ack", lane=lane, **about[lane])
        if lost:
            raise lost[0]

    def _on_claim(self, f: str, operation: Callable[..., T], claim: Any) -> T:
        about = self._about(claim)
        answer = self._call(f, lambda: operation(claim=claim), **about)
        self._record(EventType.OK, f, **about)
        return answer

    def _call(self, f: str, operation: Callable[[], T], **about: Any) -> T:
        return self._call_many(f, operation, [about], definite=DEFINITE_ERRORS)

    def _call_many(
        self,
        f: str,
        operation: Callable[[], T],
        about: Sequence[dict[str, Any]],
        *,
        definite: tuple[type[Exception], ...] = DEFINITE_FOR_MANY,
    ) -> T:
        # What is no Exception (KeyboardInterrupt, a simulated kill) leaves the operation open: nobody knows.
        for lane, each in enumerate(about):
            self._record(EventType.INVOKE, f, lane=lane, **each)
        try:
            answer = operation()
            if self._on_return is not None:
                self._on_return(f)
        except SystemExit as end:
            # Let through, its code would be taken for a verdict.
            told = f"{f} called sys.exit({end.code!r})"
            raise SubjectFailed(f"{told}; let it return or raise: the process is not the queue's") from end
        except definite as error:
            self._refused(EventType.FAIL, f, error, about)
            raise
        except Exception as error:
            self._refused(EventType.INFO, f, error, about)
            raise
        return answer

    def _refused(self, type_: EventType, f: str, error: Exception, about: Sequence[dict[str, Any]]) -> None:
        for lane, each in enumerate(about):
            told = each | {"value": self._recorder.error_text(error)}
            self._record(type_, f, lane=lane, **told)

    def _record(self, type_: EventType, f: str, **fields: Any) -> None:
        self._recorder.record(self._worker, type_, f, clock=self._clock, **fields)

    def _about(self, claim: Any) -> dict[str, Any]:
        attempt = getattr(claim, "attempt", None)
        return {
            "job_id": claim.job_id,
            "claim_id": self._recorder.claim_name(str(claim.claim_id)),
            "attempt": attempt if isinstance(attempt, int) else None,
        }

    def _claimed(self, claim: Any) -> dict[str, Any]:
        if not (hasattr(claim, "job_id") and hasattr(claim, "claim_id")):
            kind = type(claim).__name__
            raise SubjectFailed(
                f"claim gave {kind}; let it return None or an object with job_id and claim_id"
            )
        payload = getattr(claim, "payload", None) if self.takes_payload else None
        return self._about(claim) | {"value": None if payload is None else _text(payload)}


def _text(payload: Any) -> str:
    # A payload that comes back as something else than bytes is shown as it is: it equals no bytes sent.
    is_bytes = isinstance(payload, bytes | bytearray | memoryview)
    return base64.b64encode(bytes(payload) if is_bytes else repr(payload).encode()).decode()
