"""Which situations did a history really have in it? Counts of what real queues have failed on, in one pass.

`sightings` reads events as they come, millions of them, and decides nothing: it says how often a verdict had
the chance to be another one. Times are those of the true clock; what is not known is not counted.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from ssq_verify.history import INHERITED, NEVER_NS, OPERATIONS, Event, EventType, History, Terms

EXECUTIONS = "jobs handed out "
"""Followed by how often: an incarnation that was acked at its first claim was handed out once."""
OFTEN = 10


class Sighting(StrEnum):
    """A situation, by the words in which it is counted."""

    AGED = "jobs aged beyond a lease before their claim"
    ACK_LATE = "acks after expiry"
    RELEASE_LATE = "releases after expiry"
    EXTEND_LATE = "extends after expiry"
    ACK_SUPERSEDED = "acks after the next claim"
    RELEASE_SUPERSEDED = "releases after the next claim"
    EXTEND_SUPERSEDED = "extends after the next claim"
    ACK_AFTER_ACK = "acks after the next holder's ack"
    RELEASE_AFTER_ACK = "releases after the next holder's ack"
    EXTEND_AFTER_ACK = "extends after the next holder's ack"
    RECLAIM = "reclaims"
    RECLAIM_SOON = "reclaims within 2 E of the lease's end"
    RECLAIM_AT_ONCE = "reclaims within a millisecond of their first moment"
    RECLAIM_OF_HEARTBEAT = "reclaims after heartbeats had ended"
    RECLAIM_IN_CLAIM = "reclaims inside another's claim"
    RECLAIM_IN_ACK = "reclaims inside another's ack"
    RECLAIM_IN_RELEASE = "reclaims inside another's release"
    RECLAIM_IN_EXTEND = "reclaims inside another's extend"
    RECLAIM_IN_ENQUEUE = "reclaims inside another's enqueue"
    TWO_RECLAIMS = "two reclaims at once"
    TWO_CLAIMS = "two claims at once"
    OVERTAKEN = "claims overtaken by another's claim and release"
    ENQUEUE_BESIDE_CLAIM = "enqueues beside a claim"
    TWO_ENQUEUES = "two enqueues at once"
    TWO_OF_ONE_JOB = "two enqueues of one job at once"
    ENQUEUE_OF_HELD = "enqueues of a job that is held"
    ENQUEUE_BESIDE_ACK = "enqueues beside an ack of the same job"
    OTHERS_IN_ACK = "operations on other jobs inside an ack"
    FORKED = "handles inherited across a fork"
    OPEN_OVER_LEASES = "handles opened over live leases"
    OPEN_OVER_BACKLOG = "handles opened over an old backlog"
    HOLDER_DIED = "holders that died"
    SECOND_HOLDER_DIED = "holders of a reclaimed job that died"
    EVERY_HOLDER_DIED = "jobs whose every holder died"
    DEAD_BY_RELEASE = "dead letters by release"
    DEAD_BY_EXPIRY = "dead letters by expiry"
    REQUEUED = "dead letters that were requeued"
    POLL_IN_REST = "polls that found nothing while a job rested"
    RESTED = "claims after a back-off"
    CLOCK_WITHIN = "clocks wrong by less than E"
    CLOCK_AT = "clocks wrong by E"
    CLOCK_BEYOND = "clocks wrong by more than E"
    CLOCK_STROBES = "clocks that jump to and fro"
    OTHER_ZONE = "workers that moved to another time zone"
    CLOCK_OF_HOLDER = "clocks set while their worker held a job"


LATE = {
    "ack": (Sighting.ACK_LATE, Sighting.ACK_SUPERSEDED, Sighting.ACK_AFTER_ACK),
    "release": (Sighting.RELEASE_LATE, Sighting.RELEASE_SUPERSEDED, Sighting.RELEASE_AFTER_ACK),
    "extend": (Sighting.EXTEND_LATE, Sighting.EXTEND_SUPERSEDED, Sighting.EXTEND_AFTER_ACK),
}
"""What an operation is counted as that comes after its lease, after the next claim, after the next ack."""
_RECLAIM_IN = {
    "claim": Sighting.RECLAIM_IN_CLAIM,
    "ack": Sighting.RECLAIM_IN_ACK,
    "release": Sighting.RECLAIM_IN_RELEASE,
    "extend": Sighting.RECLAIM_IN_EXTEND,
    "enqueue": Sighting.RECLAIM_IN_ENQUEUE,
}
_MILLISECOND_NS = 1_000_000


def sightings(history: History) -> Counter[str]:
    """Return how often each situation was seen; those never seen are absent."""
    seen = Counter[str]()
    runs: dict[int, _Run] = {}
    for event in history.events:
        run = runs.get(event.run)
        if run is None:
            run = runs[event.run] = _Run(history.terms, seen)
        run.take(event)
    for run in runs.values():
        run.end()
    return +seen


def executions_max(seen: Counter[str]) -> int:
    """Return how often one incarnation of a job was handed out at most, as far as it was counted."""
    return max((number for number in range(1, OFTEN + 1) if seen[_handed_out(number)]), default=0)


def _handed_out(number: int) -> str:
    often = {1: "once", 2: "twice", OFTEN: f"{OFTEN} times or more"}
    return EXECUTIONS + often.get(number, f"{number} times")


@dataclass(slots=True, eq=False)
class _Call:
    """An operation that is under way, or was while another one is."""

    f: str
    job_id: str | None
    inv_ns: int
    worker: str
    beside: list["_Call"] = field(default_factory=list)
    """Those that ran at the same time, for however short."""
    is_over: bool = False
    is_reclaim: bool = False
    is_overtaken: bool = False


@dataclass(slots=True, eq=False)
class _Hold:
    """A claim that returned a job."""

    worker: str
    number: int
    """Among all claims of that job id."""
    attempt: int
    inv_ns: int
    lease_end_ns: int
    heartbeats: int = 0
    is_over: bool = False
    """Acked or released, or perhaps; a claim that was superseded is not."""
    was_released: bool = False


@dataclass(slots=True, eq=False)
class _Job:
    """A job id and its present incarnation."""

    enqueued_ns: int
    claims: int = 0
    """Of all incarnations."""
    attempts: int = 0
    deaths: int = 0
    acked: int = 0
    """The number of the last claim that was acked."""
    rests_until_ns: int = 0
    hold: _Hold | None = None
    """The latest claim."""


class _Run:
    """One run, as far as it has come."""

    def __init__(self, terms: Terms, seen: Counter[str]) -> None:
        self._terms = terms
        self._seen = seen
        self._ttl_ns = round(terms.lease_ttl_seconds * 1e9) if terms.lease else NEVER_NS
        self._skew_ns = round((terms.max_clock_skew_seconds or 0.0) * 1e9)
        self._calls: dict[tuple[str, int], _Call] = {}
        self._jobs: dict[str, _Job] = {}
        self._holds: dict[tuple[str, str], _Hold] = {}
        self._current: dict[str, _Hold] = {}
        """The latest claim of each job for as long as it is not over."""
        self._waiting: dict[str, int] = {}
        """When each job that is not done was enqueued, the oldest first."""
        self._rests_until_ns = 0
        """When the last of those that were released is available again."""

    def take(self, event: Event) -> None:
        """Take the next event into account."""
        if event.f not in OPERATIONS:
            self._noticed(event)
        elif event.type is EventType.INVOKE:
            self._invoked(event)
        elif (call := self._calls.pop((event.worker, event.lane), None)) is not None:
            self._returned(event, call)

    def _noticed(self, event: Event) -> None:
        match event.f:
            case "open":
                self._opened(event)
            case "crash":
                self._crashed(event)
            case "clock":
                self._clock_set(event)
            case "zone":
                self._seen[Sighting.OTHER_ZONE] += 1
            case "strobe":
                self._seen[Sighting.CLOCK_STROBES] += 1
            case "dead":
                self._dead(event)
            case "power-loss":
                self._calls.clear()

    def end(self) -> None:
        """Count how often each job was handed out."""
        for job in self._jobs.values():
            self._count_executions(job)

    def _invoked(self, event: Event) -> None:
        call = _Call(event.f, event.job_id, event.time_ns, event.worker)
        for other in self._calls.values():
            if other.worker != event.worker:
                call.beside.append(other)
                other.beside.append(call)
        self._calls[event.worker, event.lane] = call
        if event.f in LATE and event.job_id is not None:
            self._used(event)
        elif event.f == "enqueue" and event.job_id in self._current:
            self._seen[Sighting.ENQUEUE_OF_HELD] += 1

    def _used(self, event: Event) -> None:
        """Count an ack, release or extend by what had become of its claim when it was called."""
        hold, job = self._hold_of(event), self._jobs.get(event.job_id or "")
        if hold is None or job is None or hold.is_over:
            return
        late, superseded, after_ack = LATE[event.f]
        if job.acked > hold.number:
            self._seen[after_ack] += 1
        elif job.hold is not hold:
            self._seen[superseded] += 1
        elif event.time_ns > hold.lease_end_ns:
            self._seen[late] += 1

    def _returned(self, event: Event, call: _Call) -> None:
        if event.type is EventType.INFO:
            self._perhaps_gone(call)
        if event.f == "claim":
            self._claimed(event, call)
        elif event.f == "enqueue":
            self._enqueued(event, call)
        elif event.f == "requeue":
            if event.type is EventType.OK and event.job_id is not None:
                self._seen[Sighting.REQUEUED] += 1
                self._begin_anew(event.job_id, event.time_ns)
        else:
            self._settled(event, call)
        call.is_over = True
        # It need not know the others any longer; else each would keep all before it for ever.
        call.beside.clear()

    def _enqueued(self, event: Event, call: _Call) -> None:
        beside = [other for other in call.beside if other.f == "enqueue" and not other.is_over]
        self._seen[Sighting.TWO_ENQUEUES] += len(beside)
        self._seen[Sighting.TWO_OF_ONE_JOB] += sum(other.job_id == call.job_id for other in beside)
        self._seen[Sighting.ENQUEUE_BESIDE_CLAIM] += any(other.f == "claim" for other in call.beside)
        self._seen[Sighting.ENQUEUE_BESIDE_ACK] += any(
            other.f == "ack" and other.job_id == call.job_id for other in call.beside
        )
        if event.type is EventType.OK and event.job_id is not None and event.job_id not in self._waiting:
            self._begin_anew(event.job_id, event.time_ns)

    def _begin_anew(self, job_id: str, now_ns: int) -> None:
        """Let a job id that was not there, or dead, name a new incarnation."""
        job = self._jobs.setdefault(job_id, _Job(now_ns))
        self._count_executions(job)
        job.enqueued_ns, job.attempts, job.deaths, job.rests_until_ns = now_ns, 0, 0, 0
        self._waiting[job_id] = now_ns

    def _claimed(self, event: Event, call: _Call) -> None:
        beside = [other for other in call.beside if other.f == "claim" and not other.is_over]
        self._seen[Sighting.TWO_CLAIMS] += len(beside)
        if event.type is not EventType.OK:
            return
        if event.job_id is None:
            self._seen[Sighting.POLL_IN_REST] += self._rests_until_ns > event.time_ns
            return
        if event.job_id not in self._waiting:
            # Whatever put it there was not seen to return.
            self._begin_anew(event.job_id, event.time_ns)
        job = self._jobs[event.job_id]
        self._compare(job, call)
        self._seen[Sighting.OVERTAKEN] += call.is_overtaken
        job.claims += 1
        job.attempts += 1
        hold = _Hold(event.worker, job.claims, job.attempts, call.inv_ns, call.inv_ns + self._ttl_ns)
        job.hold = self._current[event.job_id] = hold
        self._holds[_key(event)] = hold

    def _compare(self, job: _Job, call: _Call) -> None:
        """Count a claim that got a job by what that job had gone through."""
        last = job.hold
        if job.attempts == 0 or last is None:
            self._seen[Sighting.AGED] += call.inv_ns - job.enqueued_ns > self._ttl_ns
        elif last.was_released:
            self._seen[Sighting.RESTED] += call.inv_ns >= job.rests_until_ns > 0
        elif not last.is_over and call.inv_ns > last.lease_end_ns:
            self._reclaimed(last, call)

    def _reclaimed(self, last: _Hold, call: _Call) -> None:
        call.is_reclaim = True
        late_ns = call.inv_ns - last.lease_end_ns
        self._seen[Sighting.RECLAIM] += 1
        self._seen[Sighting.RECLAIM_SOON] += late_ns <= 2 * self._skew_ns
        self._seen[Sighting.RECLAIM_AT_ONCE] += 0 <= late_ns - self._skew_ns <= _MILLISECOND_NS
        self._seen[Sighting.RECLAIM_OF_HEARTBEAT] += last.heartbeats > 1
        for f in {other.f for other in call.beside}:
            if f in _RECLAIM_IN:
                self._seen[_RECLAIM_IN[f]] += 1
        self._seen[Sighting.TWO_RECLAIMS] += sum(other.is_reclaim for other in call.beside)

    def _settled(self, event: Event, call: _Call) -> None:
        """Take the end of an ack, release or extend into account."""
        if event.f == "ack":
            others = [other for other in call.beside if other.job_id not in {None, call.job_id}]
            self._seen[Sighting.OTHERS_IN_ACK] += len(others)
        hold, job = self._hold_of(event), self._jobs.get(event.job_id or "")
        if event.type is EventType.FAIL or hold is None or job is None:
            return
        if event.f == "extend":
            if event.type is EventType.OK:
                hold.lease_end_ns, hold.heartbeats = call.inv_ns + self._ttl_ns, hold.heartbeats + 1
            return
        hold.is_over = True
        if job.hold is hold:
            self._current.pop(event.job_id or "", None)
        if event.type is EventType.OK:
            self._given_up(event, call, hold, job)

    def _given_up(self, event: Event, call: _Call, hold: _Hold, job: _Job) -> None:
        job_id = event.job_id or ""
        if event.f == "ack":
            job.acked = max(job.acked, hold.number)
            self._waiting.pop(job_id, None)
            return
        hold.was_released = True
        rest_ns = round(self._terms.backoff_seconds(job.attempts) * 1e9)
        if rest_ns:
            job.rests_until_ns = event.time_ns + rest_ns
            self._rests_until_ns = max(self._rests_until_ns, job.rests_until_ns)
        for other in call.beside:
            other.is_overtaken |= other.f == "claim" and other.inv_ns < hold.inv_ns

    def _opened(self, event: Event) -> None:
        now_ns = event.time_ns
        self._seen[Sighting.FORKED] += event.value == INHERITED
        if any(hold.lease_end_ns > now_ns for hold in self._current.values()):
            self._seen[Sighting.OPEN_OVER_LEASES] += 1
        if now_ns - next(iter(self._waiting.values()), now_ns) > self._ttl_ns:
            self._seen[Sighting.OPEN_OVER_BACKLOG] += 1

    def _perhaps_gone(self, call: _Call) -> None:
        """Let a job that may be acked, or requeued, count as another one when it is claimed again."""
        if call.f in {"ack", "requeue"}:
            self._waiting.pop(call.job_id or "", None)

    def _crashed(self, event: Event) -> None:
        for lane in [lane for worker, lane in self._calls if worker == event.worker]:
            self._perhaps_gone(self._calls.pop((event.worker, lane)))
        for job_id, hold in self._current.items():
            if hold.worker == event.worker:
                job = self._jobs[job_id]
                job.deaths += 1
                self._seen[Sighting.HOLDER_DIED] += 1
                self._seen[Sighting.SECOND_HOLDER_DIED] += hold.attempt > 1
                self._seen[Sighting.EVERY_HOLDER_DIED] += job.deaths == self._terms.max_attempts

    def _clock_set(self, event: Event) -> None:
        off_ns = round(abs(_seconds(event.value)) * 1e9)
        if any(hold.worker == event.worker for hold in self._current.values()):
            self._seen[Sighting.CLOCK_OF_HOLDER] += 1
        if off_ns == 0:
            return
        which = (off_ns > self._skew_ns) - (off_ns < self._skew_ns)
        self._seen[(Sighting.CLOCK_AT, Sighting.CLOCK_BEYOND, Sighting.CLOCK_WITHIN)[which]] += 1

    def _dead(self, event: Event) -> None:
        job = self._jobs.get(event.job_id or "")
        if job is not None and job.hold is not None:
            released = job.hold.was_released
            self._seen[Sighting.DEAD_BY_RELEASE if released else Sighting.DEAD_BY_EXPIRY] += 1

    def _hold_of(self, event: Event) -> _Hold | None:
        return self._holds.get(_key(event))

    def _count_executions(self, job: _Job) -> None:
        if job.attempts:
            self._seen[_handed_out(min(job.attempts, OFTEN))] += 1


def _key(event: Event) -> tuple[str, str]:
    """Return by what a claim is known; one without an id by its attempt, else by its worker."""
    number = f"#{event.attempt}" if event.attempt is not None else f"@{event.worker}"
    return event.job_id or "", event.claim_id or number


def _seconds(text: str | None) -> float:
    """Return an offset; anybody's log may say something else there."""
    try:
        return float(text or 0.0)
    except ValueError:
        return 0.0
