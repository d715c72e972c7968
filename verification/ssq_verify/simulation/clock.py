"""What time is it? It moves only when the scheduler moves it; each worker reads a clock of its own."""

import math
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
EPOCH_NS = round(EPOCH.timestamp()) * 1_000_000_000
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


class WorkerClock:
    """One worker's wall clock: the true time and an error, which may grow and may tremble."""

    def __init__(self, true: VirtualTime) -> None:
        self.true = true
        self.zone = ""
        """Its time zone, as TZ names it; "" for the host's."""
        self.offset_max_seconds = math.inf
        """Where a drift stops: a bound on the error that is known beforehand."""
        self.strobe_seconds = 0.0
        """It is ahead by as much and then behind, from one look to the next or the one after."""
        self._looks = 0
        self._rate = 1.0
        self._offset_ns = 0
        self._since_ns = 0

    @property
    def rate(self) -> float:
        """How fast it goes; the error grows from the moment that this is set."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._offset_ns, self._since_ns = self._error_ns(), self.true.now_ns
        self._rate = rate

    @property
    def offset_seconds(self) -> float:
        """How far it is ahead of the true time, without its trembling."""
        return self._error_ns() * 1e-9

    @offset_seconds.setter
    def offset_seconds(self, seconds: float) -> None:
        self._offset_ns, self._since_ns = round(seconds * 1e9), self.true.now_ns

    def micros(self) -> int:
        """Return the worker's idea of the time, in microseconds since the world began."""
        now_ns = self.true.now_ns
        shown_ns = now_ns + (self._offset_ns if self._rate == 1.0 else self._error_ns())
        if self.strobe_seconds:
            # Thue and Morse's sequence: it has no period that the looks of one operation could have, too.
            sign = 1 if self._looks.bit_count() % 2 else -1
            shown_ns += sign * round(self.strobe_seconds * 1e9)
        return (shown_ns + 500) // 1_000

    def look_ns(self) -> int:
        """Return the time to who is under test, in nanoseconds of the epoch."""
        self._look()
        return EPOCH_NS + self.micros() * 1_000

    def __call__(self) -> datetime:
        """Return the worker's idea of the time as an aware UTC datetime."""
        self._look()
        return self.shown()

    def shown(self) -> datetime:
        """Return the same for a history: nothing under test sees it."""
        return EPOCH + timedelta(microseconds=self.micros())

    def _look(self) -> None:
        self._looks += 1
        self.true.look()

    def _error_ns(self) -> int:
        drifted = self._offset_ns + (self.true.now_ns - self._since_ns) * (self._rate - 1.0)
        if self._rate == 1.0 or math.isinf(self.offset_max_seconds):
            return round(drifted)
        # An error that is larger from the beginning stays; a drift does not take it further.
        bound = max(self.offset_max_seconds * 1e9, abs(self._offset_ns))
        return round(max(-bound, min(bound, drifted)))
