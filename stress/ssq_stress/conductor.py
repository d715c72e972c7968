"""Who is struck, and when have all been struck enough? Carries a round's timetable out."""

from collections import Counter
from dataclasses import dataclass

from ssq_stress.coverage import Cell, applicable
from ssq_stress.faults import SERVER, Fault, Order, Phase, Strike
from ssq_stress.nemesis import kill, pause, timetable
from ssq_stress.nemesis.server import Outages
from ssq_stress.nemesis.skew import WrongClock
from ssq_stress.processes.assignment import PAYLOAD_BYTES_MAX
from ssq_stress.processes.board import Field, Head
from ssq_stress.processes.log import MONOTONIC_NS
from ssq_stress.processes.workload import Workload, hard, heavy
from ssq_stress.supervisor import Supervisor
from ssq_verify.history import Terms

WAITING_MAX = 200
"""Strikes that nobody can take yet; a slow machine is not to meet all of them at its end."""
OPERATIONS_MAX = 100_000
"""A round has no more, so that the last one is judged in a few seconds; another follows, if there is time."""
STALLED_SECONDS = 30.0
"""A round of so many jobs in which no job was enqueued for so long is over."""
RECLAIM_NEAR_NS = 200_000_000
"""How soon a lease must end for a fault to wait for it."""
CLAIM_ORDERS = 4
"""Who is to be struck while it takes over a job may find that another was quicker, or the other way round."""
FROM_OUTSIDE = {Fault.KILL: kill.from_outside, Fault.PAUSE: pause.from_outside}


@dataclass(frozen=True, kw_only=True, slots=True)
class Crew:
    """Who works in a round, and how fast."""

    consumers: int
    producers: int
    sweepers: int = 0
    rate: float | None = None
    """Jobs a second, all producers together; None: as many as are taken."""
    clocks: tuple[WrongClock, ...] = ()
    """Of the first consumers; the others' are right, unless they are struck."""
    payload_bytes_max: int = PAYLOAD_BYTES_MAX

    @property
    def size(self) -> int:
        """How many workers there are, not counting the one that drains."""
        return self.consumers + self.producers + self.sweepers


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """One round, but for the subject: pure data."""

    number: int
    faults: frozenset[Fault]
    seconds: float
    """How long the faults last."""
    seed: str
    cells: frozenset[Cell] | None = None
    """Strike only there: where earlier rounds did not."""
    is_full: bool = False
    """Go on for up to twice the time until every fault has struck where it can."""
    jobs: int | None = None
    """Put so many through, in whatever time."""
    strikes: int | None = None
    """End the faults after so many, in whatever time: it then does not matter how slow the machine is."""

    @property
    def workload(self) -> Workload:
        """What the workers do."""
        if self.jobs is not None:
            return heavy(self.jobs)
        return hard(is_deadly=Fault.KILL in self.faults, is_search=self.cells is not None)


class Conductor:
    """Gives each strike of a timetable, when its time has come, to a worker that can take it."""

    def __init__(
        self,
        plan: Round,
        crew: Crew,
        supervisor: Supervisor,
        terms: Terms,
        *,
        begun_ns: int,
        outages: Outages | None = None,
    ) -> None:
        self.struck = 0
        self._plan, self._crew, self._supervisor = plan, crew, supervisor
        self._begun_ns, self._outages = begun_ns, outages
        self._enqueued, self._enqueued_ns = 0, begun_ns
        self._blows: dict[int, Order] = {}
        """What a worker that stands for a blow was told, by its number."""
        cells = [cell for cell in applicable(plan.faults, terms) if plan.cells is None or cell in plan.cells]
        self._timetable = timetable(plan.seed, cells, workers=crew.size, terms=terms)
        self._upcoming = next(self._timetable, None)
        self._waiting: list[Strike] = []
        self._wanted = Counter({cell: _orders(cell[1]) for cell in cells})
        """How many orders are still to be given, by where."""

    def strike(self) -> None:
        """Carry out what is due, or has been for a while."""
        if self._outages is not None:
            self._outages.tick()
            self._strike_server(self._outages)
        now_ns = MONOTONIC_NS()
        while self._upcoming is not None and self._due_ns(self._upcoming) <= now_ns:
            self._waiting.append(self._upcoming)
            self._upcoming = next(self._timetable, None)
        # Whoever is to be struck in a takeover must be free at that moment.
        first = sorted(self._waiting, key=lambda strike: strike.order.phase is not Phase.RECLAIM)
        waiting = [strike for strike in first if not self._is_done(strike)]
        self._waiting = waiting[:WAITING_MAX] if self._plan.jobs is None else one_of_each(waiting)

    @property
    def is_over(self) -> bool:
        """Whether the round has been struck for long enough."""
        if self._plan.strikes is not None:
            return self.struck >= self._plan.strikes
        if self._supervisor.board.total(Field.OPERATIONS) > OPERATIONS_MAX:
            return True
        if self._plan.jobs is not None:
            return self._are_all_enqueued(self._plan.jobs)
        lasted = (MONOTONIC_NS() - self._begun_ns) / 1e9
        if not self._plan.is_full or lasted < self._plan.seconds:
            return lasted >= self._plan.seconds
        return self._are_all_struck or lasted > 2 * self._plan.seconds

    def _are_all_enqueued(self, jobs: int) -> bool:
        """Whether so many are, or none was for so long that no more will be."""
        enqueued, now_ns = self._supervisor.board.total(Field.ENQUEUED), MONOTONIC_NS()
        if enqueued > self._enqueued:
            self._enqueued, self._enqueued_ns = enqueued, now_ns
        return enqueued >= jobs or now_ns > self._enqueued_ns + round(STALLED_SECONDS * 1e9)

    @property
    def _are_all_struck(self) -> bool:
        """Whether each fault was ordered at each place where it can strike, and no order is open."""
        is_open = any(self._supervisor.slot(worker).is_ordered for worker in range(self._crew.size))
        return not is_open and all(count <= 0 for count in self._wanted.values())

    def _due_ns(self, strike: Strike) -> int:
        return self._begun_ns + round(strike.at_seconds / self._plan.workload.pace * 1e9)

    def _is_done(self, strike: Strike) -> bool:
        """Strike, or give the order; False if nobody can take it now."""
        if strike.is_random and strike.order.fault in SERVER:
            return self._is_struck_now(strike.order)
        order, able = strike.order, self._able(strike.order.phase)
        turned = able[strike.worker % len(able) :] + able[: strike.worker % len(able)]
        reclaimer = self._supervisor.board.head(Head.RECLAIMER) - 1
        ready = [worker for worker in turned if worker != reclaimer and self._supervisor.is_ready(worker)]
        if self._plan.jobs is not None and len(ready) * 2 < len(able):
            return False
        if strike.is_random:
            # On a machine so busy that nobody is at work yet, who is on the way there is struck.
            ready = ready or [worker for worker in turned if self._supervisor.is_alive(worker)]
            self.struck += bool(ready)
            for worker in ready[:1]:
                FROM_OUTSIDE[order.fault](self._supervisor, worker, order)
            return bool(ready)
        free = [worker for worker in ready if not self._supervisor.slot(worker).is_ordered]
        if order.phase is Phase.RECLAIM:
            free = [worker for worker in free if self._can_reclaim(worker)]
        for worker in free[:1]:
            self._order(worker, strike)
        return bool(free)

    def _strike_server(self, outages: Outages) -> None:
        """Let the blow fall that somebody stands for."""
        for worker, order in list(self._blows.items()):
            slot = self._supervisor.slot(worker)
            if outages.is_up and slot.get(Field.STANDS):
                outages.strike(self._blows.pop(worker), slot, where=order.phase)

    def _is_struck_now(self, order: Order) -> bool:
        """Strike the server wherever everybody is, if it is up."""
        if self._outages is None or not self._outages.is_up:
            return False
        self._outages.strike(order)
        self.struck += 1
        return True

    def _order(self, worker: int, strike: Strike) -> None:
        self.struck += 1
        self._wanted[strike.order.fault, strike.order.phase] -= 1
        if strike.order.phase is Phase.RECLAIM:
            self._supervisor.board.set_head(Head.RECLAIMER, worker + 1)
        self._supervisor.slot(worker).give(strike.order)
        if strike.order.fault in SERVER:
            self._blows[worker] = strike.order
        if strike.order.phase is Phase.RECOVERY:
            # The replacement meets the order.
            kill.from_outside(self._supervisor, worker, strike.order)

    def _can_reclaim(self, worker: int) -> bool:
        """Whether a lease is about to end, nobody else waits for it, and the worker has its hands free."""
        board, now_ns = self._supervisor.board, MONOTONIC_NS()
        is_near = now_ns < board.head(Head.ORPHANED_NS) < now_ns + RECLAIM_NEAR_NS
        is_free = not board.slot(worker).get(Field.IS_LATE)
        return is_near and is_free and not board.head(Head.RECLAIMER)

    def _able(self, phase: Phase) -> list[int]:
        """Return the numbers of the workers that come to this phase."""
        consumers = list(range(self._crew.consumers))
        producers = list(range(self._crew.consumers, self._crew.size - self._crew.sweepers))
        sweepers = list(range(self._crew.size - self._crew.sweepers, self._crew.size))
        if phase is Phase.ENQUEUE:
            return producers
        if phase is Phase.SWEEP:
            return sweepers
        return consumers + producers + sweepers if phase is Phase.IDLE else consumers


def one_of_each(waiting: list[Strike]) -> list[Strike]:
    """Return one strike for each place: who was away is not to meet at once all that was due by then."""
    ordered = [strike for strike in waiting if not strike.is_random]
    return list({(strike.order.fault, strike.order.phase): strike for strike in ordered}.values())


def _orders(phase: Phase) -> int:
    return CLAIM_ORDERS if phase in {Phase.CLAIM, Phase.RECLAIM} else 1
