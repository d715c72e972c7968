"""What was tried without a gap? A scope in words, and how much it held."""

from collections.abc import Iterable

import msgspec

from ssq_verify.simulation.pct import Bound


class Covered(msgspec.Struct, frozen=True, kw_only=True):
    """What one search, or several of a kind, covered."""

    scope: str
    """`one crash`, `2 workers x 1 job, up to 2 preemptions`."""
    schedules: int = 0
    redundant: int = 0
    """Runs that were abandoned, as others show what was left of them; each stands for many schedules."""
    crash_points: int = 0
    """Where a crash struck in some of all schedules: whose how manieth point in which step."""
    clocks: int = 0
    """That are set, each in its own way."""
    deepest: int = 0
    """The choices of the longest schedule."""
    points: int = 0
    """At which a fault struck in turn; 0 if all schedules were the aim."""
    unit: str = "point"
    """What these are called."""
    scenarios: int = 0
    """That were gone through; 0 if it is one, which the scope says."""
    bound: Bound | None = None
    """What schedules by priority were sure to find."""
    is_complete: bool = True
    """False if it was cut, by time or by a limit."""
    cut_by: str = "time"

    def __str__(self) -> str:
        """Return the line that is shown."""
        if self.bound is not None:
            return f"{self.scope}: {self.bound.sentence(self.schedules, longest=self.deepest)}{self._cut()}"
        tried = counted(self.schedules, "schedule")
        if self.redundant:
            tried += f" ({self.redundant:,} redundant)"
        if self.crash_points:
            tried += f", {counted(self.crash_points, 'crash point')}"
        if self.clocks:
            tried += f", {counted(self.clocks, 'clock setting')}"
        if self.scenarios:
            tried += f" of {counted(self.scenarios, 'scenario')}"
        if self.points:
            tried = f"at each of {counted(self.points, self.unit)} of {counted(self.scenarios, 'scenario')}"
        return f"{self.scope}: {tried}{self._cut() or ', complete'}"

    def _cut(self) -> str:
        return "" if self.is_complete else f", cut by {self.cut_by}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def merged(parts: Iterable[Covered]) -> tuple[Covered, ...]:
    """Put what several searches of one scope covered together, in the order in which scopes first come."""
    scopes: dict[str, Covered] = {}
    for part in parts:
        known = scopes.get(part.scope)
        scopes[part.scope] = part if known is None else _both(known, part)
    return tuple(scopes.values())


def _both(one: Covered, other: Covered) -> Covered:
    return Covered(
        scope=one.scope,
        schedules=one.schedules + other.schedules,
        redundant=one.redundant + other.redundant,
        crash_points=one.crash_points + other.crash_points,
        clocks=one.clocks + other.clocks,
        deepest=max(one.deepest, other.deepest),
        points=one.points + other.points,
        unit=one.unit,
        scenarios=one.scenarios + other.scenarios,
        bound=one.bound,
        is_complete=one.is_complete and other.is_complete,
        cut_by=other.cut_by if one.is_complete else one.cut_by,
    )
