"""A worker's wall clock is wrong: it jumps by an offset, and may then run fast or slow up to a limit.

What a clock shows is reckoned from the one true clock and four fields on the board, so that it can change at
any moment, and is the same for a replacement: a host's clock outlives its processes. Clocks are struck as
anything else is; or certain workers' are wrong in a certain way for as long as faults strike.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ssq_stress.faults import Order
from ssq_stress.nemesis import ANY_SKEW_SECONDS, Victim
from ssq_stress.processes.board import MICRO, Field, Slot
from ssq_stress.processes.log import MONOTONIC_NS, EventLog

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHARE = 0.99
"""Of half the bound: two clocks never differ by all of it, as a clock shows whole microseconds only."""
JUMP_NS = 300_000_000
"""How long a clock that jumps stays where it is: less than a lease, so that some begin here and end there."""
TORN_READS_MAX = 100
"""A worker may have died while it set the clock; then whatever was written counts."""


def unavailable(skew_seconds: float | None) -> str | None:
    """Return why clocks can not be wrong."""
    return "the queue promises nothing about clocks that differ" if skew_seconds == 0 else None


def limit_ns(skew_seconds: float | None) -> int:
    """Return how far a clock may be from the true time for all to be within the bound; None: an hour."""
    if skew_seconds is None:
        return round(ANY_SKEW_SECONDS / 2 * 1e9)
    return round(skew_seconds / 2 * SHARE * 1e9)


@dataclass(frozen=True, kw_only=True, slots=True)
class WrongClock:
    """How one worker's clock is wrong, as far as the bound lets it be."""

    offset_seconds: float = 0.0
    rate: float = 0.0
    """How many seconds it gains in one."""
    jumps: bool = False
    """It jumps to the other side of the true time, and back again, and so on."""


class WrongClocks:
    """The clocks of the first so many workers, from before they begin until faults end."""

    def __init__(
        self,
        clocks: Sequence[WrongClock],
        places: Iterable[tuple[str, Slot]],
        log: EventLog,
        *,
        limit_ns: int,
    ) -> None:
        self._clocks = [(clock, *place) for clock, place in zip(clocks, places, strict=False)]
        self._log, self._limit_ns = log, limit_ns
        self._jumped_ns = MONOTONIC_NS()
        self._side = 1
        for clock, name, slot in self._clocks:
            self._set(clock, name, slot)

    def tick(self) -> None:
        """Let those jump that do, when it is time."""
        now_ns = MONOTONIC_NS()
        if now_ns < self._jumped_ns + JUMP_NS:
            return
        self._jumped_ns, self._side = now_ns, -self._side
        for clock, name, slot in self._clocks:
            if clock.jumps:
                self._set(clock, name, slot)

    def _set(self, clock: WrongClock, name: str, slot: Slot) -> None:
        offset_ns = round(clock.offset_seconds * 1e9) * self._side
        told_and_set(slot, self._log, name, offset_ns=offset_ns, rate=clock.rate, limit_ns=self._limit_ns)


class WorkerClock:
    """One worker's own wall clock."""

    def __init__(self, slot: Slot, *, base_ns: int) -> None:
        self._slot = slot
        self._base_ns = base_ns
        """What has to be added to the true clock for the true date."""

    def __call__(self) -> datetime:
        """Return the present instant, as this worker sees it."""
        return EPOCH + timedelta(microseconds=self.now_ns() // 1_000)

    def now_ns(self) -> int:
        """Return the same in nanoseconds since 1970."""
        now_ns = MONOTONIC_NS()
        return self._base_ns + now_ns + self._offset_ns(now_ns)

    def offset_ns(self) -> int:
        """Return what it shows more than the true time, at present."""
        return self._offset_ns(MONOTONIC_NS())

    def _offset_ns(self, now_ns: int) -> int:
        get = self._slot.get
        for _ in range(TORN_READS_MAX):
            version = get(Field.CLOCK_VERSION)
            since_ns, offset_ns = get(Field.CLOCK_SINCE_NS), get(Field.CLOCK_OFFSET_NS)
            rate, limit_ns = get(Field.CLOCK_RATE_PPM), get(Field.CLOCK_LIMIT_NS)
            if version % 2 == 0 and get(Field.CLOCK_VERSION) == version:
                break
        offset_ns += round((now_ns - since_ns) * rate / MICRO)
        return max(-limit_ns, min(limit_ns, offset_ns))


def set_clock(slot: Slot, *, offset_ns: int, rate: float, limit_ns: int) -> None:
    """Let a worker's clock jump to an offset, and go on at a rate."""
    version = slot.get(Field.CLOCK_VERSION) // 2 * 2
    slot.set(Field.CLOCK_VERSION, version + 1)
    slot.set(Field.CLOCK_SINCE_NS, MONOTONIC_NS())
    slot.set(Field.CLOCK_OFFSET_NS, offset_ns)
    slot.set(Field.CLOCK_RATE_PPM, round(rate * MICRO))
    slot.set(Field.CLOCK_LIMIT_NS, limit_ns)
    slot.set(Field.CLOCK_VERSION, version + 2)


def told_and_set(slot: Slot, log: EventLog, name: str, *, offset_ns: int, rate: float, limit_ns: int) -> None:
    """Set a clock within its limit; a drift is written down with the farthest that it can come to."""
    offset_ns = max(-limit_ns, min(limit_ns, offset_ns))
    now_ns = MONOTONIC_NS()
    reached_ns = {offset_ns, offset_ns if rate == 0 else limit_ns if rate > 0 else -limit_ns}
    for each_ns in sorted(reached_ns):
        log.single(name, "clock", value=repr(each_ns / 1e9), time_ns=now_ns)
    set_clock(slot, offset_ns=offset_ns, rate=rate, limit_ns=limit_ns)


def from_inside(victim: Victim, order: Order, _where: str) -> None:
    """Set the own clock here."""
    told_and_set(
        victim.slot,
        victim.log,
        victim.name,
        offset_ns=round(order.seconds * 1e9),
        rate=order.rate,
        limit_ns=victim.clock_limit_ns,
    )
