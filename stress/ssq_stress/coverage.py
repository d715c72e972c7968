"""Which fault struck which phase of the work? Counted from the events after the run; empty cells are named.

A worker's phase is what its own events say: inside an operation, between two, holding a job whose side effect
it had begun, or not. What strikes a server strikes all workers: it counts once in each phase that one of them
was in. A verdict is green only if each cell that applies was struck often enough.
"""

import heapq
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ssq_stress.faults import SERVER, Fault, Phase
from ssq_stress.nemesis import phases
from ssq_stress.nemesis.disk_full import DISK_FULL
from ssq_stress.nemesis.server import BACK
from ssq_stress.processes.effects import Effect
from ssq_stress.supervisor import BY_ITSELF
from ssq_verify.history import OPERATIONS, Event, EventType, History, Terms

Cell = tuple[Fault, Phase]
Matrix = Mapping[str, int]
"""How often each cell was struck, by `cell`."""

SERVER_EVENTS = SERVER | {BACK}
NEEDED = {"ci": 1, "nightly": 30}
"""By profile, how often each cell must have been struck."""


def cell(fault: Fault, phase: Phase) -> str:
    """Return the name of a cell."""
    return f"{fault} while {phase}"


def applicable(faults: Iterable[Fault], terms: Terms) -> list[Cell]:
    """Return the cells that these faults have with a queue that is held to these terms."""
    chosen = sorted(faults)
    return [(fault, phase) for fault in chosen for phase in phases(fault, terms, chosen=chosen)]


def empty(matrix: Matrix, faults: Iterable[Fault], terms: Terms, *, needed: int) -> list[Cell]:
    """Return the cells that were not struck so often."""
    return [each for each in applicable(faults, terms) if matrix.get(cell(*each), 0) < needed]


def matrix(history: History, effects: Iterable[Effect]) -> Counter[str]:
    """Return how often each cell was struck in a history."""
    begun: dict[str, list[int]] = defaultdict(list)
    for effect in effects:
        if effect.f == "begin":
            begun[effect.worker].append(effect.time_ns)
    for moments in begun.values():
        moments.sort()
    watch = _Watch(terms=history.terms, begun=begun)
    for event in history.events:
        watch.see(event)
    return watch.struck


@dataclass(kw_only=True, slots=True)
class _Worker:
    """What one worker is in the middle of."""

    operation: str | None = None
    called_ns: int = 0
    takes_over: bool = False
    """It called its claim while a job whose lease had ended waited."""
    held_since_ns: int | None = None
    recovers: bool = False
    """It replaces a dead one, and has not finished its first operation."""
    is_opening: bool = False
    set_ns: int = -1
    """When its clock was last set: a drift is written down with both its ends."""


@dataclass(kw_only=True, slots=True)
class _Watch:
    terms: Terms
    begun: Mapping[str, list[int]]
    struck: Counter[str] = field(default_factory=Counter)
    workers: dict[str, _Worker] = field(default_factory=lambda: defaultdict(_Worker))
    leases: dict[str, int] = field(default_factory=dict)
    """From when on each job that is held may be given to another."""
    ends: list[tuple[int, str]] = field(default_factory=list)
    is_healed: bool = False
    """From then on a worker is killed only for not ending, which is no fault."""

    def see(self, event: Event) -> None:
        """Take one event into account."""
        if event.f in SERVER_EVENTS:
            self._server(event)
            return
        worker = self.workers[event.worker]
        if event.f in OPERATIONS:
            self._operation(worker, event)
            return
        fault = _fault(event, worker)
        if fault is not None and not self.is_healed:
            self.struck[cell(fault, self._phase(worker, event.worker, event.time_ns))] += 1
        self.is_healed = self.is_healed or event.f == "heal"
        if event.f == "crash":
            self.workers[event.worker] = _Worker(recovers=True, is_opening=True)
        elif event.f == "open":
            worker.is_opening = False
        elif event.f == "sweep":
            worker.operation = event.f
        elif event.f == "swept":
            worker.operation, worker.recovers = None, False

    def _server(self, event: Event) -> None:
        """Count a blow once in each phase that somebody was in: it strikes all workers at one instant."""
        if event.f != BACK and not self.is_healed:
            phases = {self._phase(worker, name, event.time_ns) for name, worker in self.workers.items()}
            self.struck.update(cell(Fault(event.f), phase) for phase in phases)

    def _operation(self, worker: _Worker, event: Event) -> None:
        if event.type is EventType.INVOKE:
            worker.operation, worker.called_ns = event.f, event.time_ns
            worker.takes_over = event.f == "claim" and self._is_reclaim(event.time_ns)
            if event.f in {"ack", "release"}:
                self.leases.pop(event.job_id or "", None)
            return
        worker.operation, worker.recovers = None, False
        if event.f == "claim" and event.type is EventType.OK and event.job_id is not None:
            worker.held_since_ns = event.time_ns
            self._leased(event.job_id, worker.called_ns, event.attempt)
        elif event.f == "extend" and event.type is EventType.OK and event.job_id is not None:
            self._leased(event.job_id, worker.called_ns)
        elif event.f in {"ack", "release", "extend"}:
            worker.held_since_ns = None

    def _leased(self, job_id: str, asked_ns: int, attempt: int | None = None) -> None:
        if attempt is not None and attempt == self.terms.max_attempts:
            # Whoever comes next buries it.
            self.leases.pop(job_id, None)
            return
        seconds = self.terms.lease_ttl_seconds + (self.terms.max_clock_skew_seconds or 0.0)
        self.leases[job_id] = asked_ns + round(seconds * 1e9)
        heapq.heappush(self.ends, (self.leases[job_id], job_id))

    def _phase(self, worker: _Worker, name: str, now_ns: int) -> Phase:
        if worker.is_opening or (worker.recovers and worker.operation is not None):
            return Phase.RECOVERY
        if worker.operation == "claim" and worker.takes_over:
            return Phase.RECLAIM
        if worker.operation is not None:
            return Phase(worker.operation) if worker.operation in set(Phase) else Phase.IDLE
        if worker.held_since_ns is None:
            return Phase.IDLE
        moments = self.begun.get(name, [])
        last = bisect_right(moments, now_ns) - 1
        has_begun = last >= 0 and moments[last] >= worker.held_since_ns
        return Phase.HOLDING if has_begun else Phase.BEFORE_EFFECT

    def _is_reclaim(self, now_ns: int) -> bool:
        """Whether a job waits whose lease had ended by then."""
        long_ago_ns = now_ns - round(self.terms.lease_ttl_seconds * 1e9)
        while self.ends and self._is_over(*self.ends[0], long_ago_ns):
            heapq.heappop(self.ends)
        return bool(self.ends) and self.ends[0][0] < now_ns and self.terms.lease

    def _is_over(self, ends_ns: int, job_id: str, long_ago_ns: int) -> bool:
        """Whether it was ended or renewed, or so long ago that its job can not be there."""
        return self.leases.get(job_id) != ends_ns or ends_ns < long_ago_ns


def _fault(event: Event, worker: _Worker) -> Fault | None:
    value = event.value or ""
    match event.f:
        case "crash":
            return None if value.startswith(BY_ITSELF) else Fault.KILL
        case "pause":
            return Fault.PAUSE
        case "clock":
            is_second, worker.set_ns = event.time_ns == worker.set_ns, event.time_ns
            return None if is_second else Fault.SKEW
        case Fault.CONNECTION_CUT:
            return Fault.CONNECTION_CUT
        case "io-error":
            return Fault.DISK_FULL if value.startswith(DISK_FULL) else Fault.IO_ERROR
        case _:
            return None
