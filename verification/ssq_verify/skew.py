"""How far may clocks be apart, and how long may a holder stand still? What a sweep over both came to."""

import msgspec


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """Up to where something holds, and from where on it does not, in seconds."""

    holds: float | None
    """The largest that was tried of which all smaller ones hold, too; None: not even the smallest does."""
    breaks: float | None
    """The smallest that was tried at which it does not hold; None: it holds as far as was tried."""


class ClockLimit(msgspec.Struct, frozen=True, kw_only=True):
    """What two clocks that differ in one direction do to single-claimer."""

    direction: str
    """Whose clock is wrong, in words."""
    limit: Limit
    schedules: int
    sentence: str | None
    """How it was broken where it first was."""
    also_broken: tuple[str, ...]
    """What else was broken, at whatever difference: that may do no more than give a job two holders."""


class PauseLimit(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of the job of a holder that stands still."""

    limit: Limit
    """How long it may, with nobody else getting the job."""
    refused: int
    """How many of its acks were refused after another had got it."""
    schedules: int
    broken: tuple[str, ...]
    """What was broken: no pause is so long that it may break anything."""


class SkewReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that a sweep over clocks and pauses says."""

    subject: str
    lease_ttl_seconds: float
    asked_seconds: float
    """E, as the queue was opened with it."""
    promised_seconds: float | None
    """`max_clock_skew_seconds` of its terms; None: any, for its server keeps the time."""
    tried_seconds: float
    """The largest difference, and the longest pause, that was tried."""
    clocks: tuple[ClockLimit, ...] = ()
    pause: PauseLimit | None = None
    not_measured: str | None = None
    """Why nothing was measured."""

    @property
    def measured_seconds(self) -> float | None:
        """The largest difference at which single-claimer holds, whoever's clock is wrong; None: at none."""
        held = [each.limit.holds for each in self.clocks]
        known = [seconds for seconds in held if seconds is not None]
        return min(known) if known and len(known) == len(held) else None

    @property
    def broken(self) -> tuple[str, ...]:
        """What no clock and no pause may break, and one did."""
        found = {name for each in self.clocks for name in each.also_broken}
        return tuple(sorted(found | set(() if self.pause is None else self.pause.broken)))

    @property
    def is_kept(self) -> bool:
        """Whether single-claimer holds as far as was promised, and nothing else was broken."""
        return self.holds_as_promised and not self.broken

    @property
    def holds_as_promised(self) -> bool:
        """Whether single-claimer holds at any difference that was tried, or was promised."""
        if self.measured_seconds is None:
            return False
        if self.promised_seconds is None:
            return all(each.limit.breaks is None for each in self.clocks)
        return self.measured_seconds >= self.promised_seconds
