"""What time is it? It moves only when the scheduler moves it; each worker reads a clock of its own."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
EVENT_NS = 1_000
"""Each event is 1 us after the one before, so that times tell the order."""


class VirtualTime:
    """The one true clock of a simulated world, in nanoseconds since its beginning."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.looks = 0
        """How often anyone under test asked, and so could tell one order of events from another."""

    def look(self) -> int:
        """Return the time to who is under test."""
        self.looks += 1
        return self.now_ns

    def tick(self) -> int:
        """Let one event's time pass and return the instant."""
        self.now_ns += EVENT_NS
        return self.now_ns

    def move_to(self, instant_ns: int) -> None:
        """Let time pass until the instant; never backward."""
        self.now_ns = max(self.now_ns, instant_ns)


@dataclass(slots=True)
class WorkerClock:
    """One worker's wall clock: the true time, at its own rate, plus its own offset."""

    true: VirtualTime
    offset_seconds: float = 0.0
    rate: float = 1.0

    def seconds(self) -> float:
        """Return the worker's idea of the time, in seconds since the world began."""
        return self.true.now_ns * 1e-9 * self.rate + self.offset_seconds

    def __call__(self) -> datetime:
        """Return the worker's idea of the time as an aware UTC datetime."""
        self.true.look()
        return self.shown()

    def shown(self) -> datetime:
        """Return the same for a history: nothing under test sees it."""
        return EPOCH + timedelta(microseconds=round(self.seconds() * 1e6))
