"""What happened to each job? A history cut into its pieces: one job in one run, with all that may bear on it.

Jobs are independent of each other, so a history can be explained exactly when each piece can
(P-compositionality: Herlihy and Wing 1990; Horn and Kroening 2015). Two things couple jobs all the same. A
claim that found nothing says something of all jobs at once, and so does the order of jobs: both are left
to the SQL invariants. A claim whose outcome is not known may have taken any one job: here each piece may
use it, which can excuse too much and accuses nobody.
"""

from collections import defaultdict
from collections.abc import Iterator
from operator import attrgetter

import msgspec

from ssq_verify.history import NEVER_NS, OPERATIONS, Event, EventType, History, Operation
from ssq_verify.model import SECOND_NS, Contract, contract


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """One job in one run."""

    run: int
    job_id: str
    definite: list[Operation]
    """Those that returned ok or fail, and sightings among the dead letters, in the order of their calls."""
    indefinite: list[Operation]
    """Those whose outcome is not known: each may have taken effect at any time after its call, or never."""
    stray_claims: list[Operation]
    """The run's claims of which not even the job is known, in the order of their calls."""
    contract: Contract

    @property
    def size(self) -> int:
        """How many operations were certainly this job's."""
        return len(self.definite) + len(self.indefinite)


class Faults(msgspec.Struct, kw_only=True):
    """What one run's single events say that matters to its jobs."""

    offset_ns_min: int = 0
    offset_ns_max: int = 0
    offset_unknown: bool = False
    crashes: list[Event] = msgspec.field(default_factory=list)
    power_loss_ns: int = NEVER_NS
    sightings: list[Operation] = msgspec.field(default_factory=list)

    def add(self, event: Event) -> None:
        """Take one event into account."""
        match event.f:
            case "clock":
                self._add_offset(event.value)
            case "crash":
                self.crashes.append(event)
            case "power-loss":
                self.power_loss_ns = min(self.power_loss_ns, event.time_ns)
            case "dead" if event.job_id is not None:
                self.sightings.append(_made_of(event, "dead", EventType.OK))
            case _:
                pass

    def _add_offset(self, value: str | None) -> None:
        try:
            offset_ns = round(float(value or "") * SECOND_NS)
        except (ValueError, OverflowError):
            self.offset_unknown = True
            return
        # Every clock is right until it is set.
        self.offset_ns_min = min(self.offset_ns_min, offset_ns)
        self.offset_ns_max = max(self.offset_ns_max, offset_ns)

    def within(self, bound_seconds: float | None) -> bool:
        """Whether the run's clocks kept to the bound; None: any clocks do."""
        if bound_seconds is None:
            return True
        spread_ns = self.offset_ns_max - self.offset_ns_min
        return not self.offset_unknown and spread_ns <= round(bound_seconds * SECOND_NS)


def pieces(history: History) -> Iterator[Piece]:
    """Yield the pieces, run by run and job by job. Raises `InvalidHistory`.

    A run ends here with its first loss of power: which of the claims, extends and releases before it
    survive is not promised, and what must survive is the invariant `durable`.
    """
    faults = _faults(history)
    by_job: dict[tuple[int, str], list[Operation]] = defaultdict(list)
    stray_claims: dict[int, list[Operation]] = defaultdict(list)
    for operation in history.operations:
        if operation.job_id is not None:
            by_job[operation.run, operation.job_id].append(operation)
        elif operation.outcome is EventType.INFO:
            stray_claims[operation.run].append(operation)
    for run, seen in faults.items():
        for sighting in seen.sightings:
            by_job[run, str(sighting.job_id)].append(sighting)
    timed, untimed = contract(history.terms), contract(history.terms, timed=False)
    calm = Faults()
    for (run, job_id), operations in by_job.items():
        seen = faults.get(run, calm)
        piece = Piece(
            run=run,
            job_id=job_id,
            definite=[operation for operation in operations if operation.outcome is not EventType.INFO],
            indefinite=[operation for operation in operations if operation.outcome is EventType.INFO],
            stray_claims=stray_claims[run],
            contract=timed if seen.within(history.terms.max_clock_skew_seconds) else untimed,
        )
        yield piece if seen is calm else _under(seen, piece)


def left_to_durable(history: History) -> int:
    """Return how many operations were called after a loss of power in their run, and so are in no piece."""
    losses: dict[int, int] = {}
    for event in history.events:
        if event.f == "power-loss":
            losses.setdefault(event.run, event.time_ns)
    if not losses:
        return 0
    return sum(operation.inv_ns >= losses.get(operation.run, NEVER_NS) for operation in history.operations)


def _faults(history: History) -> dict[int, Faults]:
    faults: dict[int, Faults] = {}
    for event in history.events:
        if event.f not in OPERATIONS:
            faults.setdefault(event.run, Faults()).add(event)
    return faults


def _under(faults: Faults, piece: Piece) -> Piece:
    """Return the piece with the run's faults worked in."""
    cut_ns = faults.power_loss_ns
    deaths = [] if piece.contract.terms.lease else _deaths(faults, piece)
    if cut_ns == NEVER_NS and not deaths and not _was_seen_dead(piece):
        return piece
    return msgspec.structs.replace(
        piece,
        definite=_ordered(piece.definite, cut_ns),
        indefinite=_ordered(piece.indefinite + deaths, cut_ns),
        stray_claims=_ordered(piece.stray_claims, cut_ns),
    )


def _was_seen_dead(piece: Piece) -> bool:
    # Sightings are added behind all others.
    return bool(piece.definite) and piece.definite[-1].f == "dead"


def _ordered(operations: list[Operation], cut_ns: int) -> list[Operation]:
    called = [operation for operation in operations if operation.inv_ns < cut_ns]
    return sorted(called, key=attrgetter("inv_index"))


def _deaths(faults: Faults, piece: Piece) -> list[Operation]:
    """Return when each claim's holder died: without leases, the job may be given back from then on."""
    claims = [claim for claim in piece.definite if claim.f == "claim"] + piece.stray_claims
    return [
        msgspec.structs.replace(_made_of(crash, "death", EventType.INFO), claim_id=claim.claim_id)
        for claim in claims
        for crash in faults.crashes
        if crash.worker == claim.worker and crash.time_ns >= claim.inv_ns
    ]


def _made_of(event: Event, f: str, outcome: EventType) -> Operation:
    """Return what a single event says of a job, as an operation that the model knows."""
    return Operation(
        run=event.run,
        worker=event.worker,
        f=f,
        job_id=event.job_id,
        claim_id=None,
        attempt=None,
        value=None,
        outcome=outcome,
        error=None,
        inv_ns=event.time_ns,
        ret_ns=event.time_ns if outcome is EventType.OK else NEVER_NS,
        inv_index=event.index,
        ret_index=event.index,
    )
