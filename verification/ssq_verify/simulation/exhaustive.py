"""Does any schedule within a scope break it? All are tried, depth first; what nobody could tell apart, once.

Without bounds a search is complete for its scenario; with bounds it is for what they allow. What is bounded
are answers other than the plainest, by class: preemptions (Musuvathi, Qadeer: Iterative context bounding,
PLDI 2007), waits, orders of listings, parts that a disk loses. Faults are bounded by the scenario.

Of schedules that differ only in the order of steps that commute, one is run to its end, the others are
abandoned (`Redundant`); see `reduction`. Under a bound of preemptions only the running worker's step may
sleep: to let it come first never costs a preemption more. To let another one come first may, where the
running worker can't go on: what follows that free switch would then be a preemption (Coons, Musuvathi,
McKinley: Bounded partial-order reduction, OOPSLA 2013).
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import takewhile
from typing import Final

import msgspec

from ssq_verify.simulation.footprints import Step
from ssq_verify.simulation.options import RUN, TIME
from ssq_verify.simulation.point import CALL, Point
from ssq_verify.simulation.reduction import Asleep, Reduction, put_to_sleep, still_asleep
from ssq_verify.simulation.tape import Redundant
from ssq_verify.simulation.world import KILL, PAUSE, POWER_LOSS, World


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How many answers of each class may differ from the plainest; None for any number."""

    preemptions: int | None = None
    """Another worker runs, although the running one could go on."""
    waits: int | None = 0
    """Time passes, although somebody could run."""
    orders: int | None = 0
    """A listing comes in another order than sorted."""
    parts: int | None = 0
    """A loss of power takes a part of what was not synced; that it takes all or nothing is free."""
    deviations: int | None = None
    """All together, faults included. With this bound nothing is left out as redundant."""


CRASHES: Final = frozenset((KILL, POWER_LOSS))


class Class(StrEnum):
    """The classes of answers that are bounded, as `Bounds` names them."""

    PREEMPTION = "preemptions"
    WAIT = "waits"
    ORDER = "orders"
    PART = "parts"


CLASSES: Final = tuple(Class)
NONE_SPENT: Final = (0, 0, 0, 0, 0)
"""Of each class, and of all answers that are not 0."""
SINGLE: Final = {"order": Class.ORDER, "power loss": None}
"""What an answer other than 0 costs, by the kind of choice; of others than these a part."""


class _Choice:
    """A choice that the present schedule has met."""

    def __init__(
        self, kind: str, options: tuple[str, ...], running: str | None, spent: tuple[int, ...], asleep: Asleep
    ) -> None:
        self.is_next = kind == "next"
        self.kind = kind
        self.options = options
        self.running = running
        """Who was running and could go on."""
        self.spent = spent
        self.asleep = asleep
        self.answer = -1
        self.step: Step | None = None
        """What the answer's step touched, on all runs that took it."""
        self.is_silent: bool | None = None
        """Whether the running worker's step leaves no trace: a crash before it is one after it."""

    @property
    def option(self) -> str:
        """The answer, in words."""
        return self.options[self.answer]

    def cost(self, answer: int) -> Class | None:
        """Return the class of an answer, None if it is free."""
        if not self.is_next:
            return SINGLE.get(self.kind, Class.PART) if answer else None
        option = self.options[answer]
        if option == TIME:
            return Class.WAIT
        preempts = option.startswith(RUN) and self.running not in {None, option}
        return Class.PREEMPTION if preempts else None

    def spent_with(self, answer: int) -> tuple[int, ...]:
        """Return what has been spent after an answer."""
        cost = self.cost(answer)
        by_class = (n + (known is cost) for n, known in zip(self.spent, CLASSES, strict=False))
        return (*by_class, self.spent[-1] + (answer > 0))

    def took(self, step: Step | None) -> None:
        """Note what the present answer's step touched this time."""
        if step is None:
            return
        if self.option == self.running:
            self.is_silent = step.is_silent and self.is_silent is not False
        before = self.step
        self.step = (
            step
            if before is None
            else step._replace(own=before.own | step.own, with_faults=before.with_faults | step.with_faults)
        )


class Exhaustive:
    """A strategy that is every schedule within its bounds, one after the other."""

    def __init__(
        self, bounds: Bounds | None = None, *, deviations_max: int | None = None, reduces: bool = True
    ) -> None:
        any_number = Bounds(waits=None, orders=None, parts=None, deviations=deviations_max)
        self.bounds = bounds or (Bounds() if deviations_max is None else any_number)
        self._limits = (*(getattr(self.bounds, known) for known in CLASSES), self.bounds.deviations)
        self._reduction = Reduction() if reduces and self.bounds.deviations is None else None
        self._path: list[_Choice] = []
        self._position = 0
        self._running: str | None = None
        self._last: _Choice | None = None
        """The choice of the step that is under way."""
        self._step: Step | None = None
        """What the last one touched."""
        self._world: World | None = None
        self._following: Reduction | None = None
        """The reduction, if there is a world to look at."""
        self._is_pruned = False
        self.schedules = 0
        """Run to their ends."""
        self.pruned = 0
        """Abandoned, as others showed what was left of them."""
        self.deepest = 0
        """The choices of the longest."""
        self.struck: set[tuple[object, ...]] = set()
        """Where a worker died, or the power failed: whose how manieth point in which step."""

    def runs(self) -> Iterator["Exhaustive"]:
        """Yield itself once for each schedule; run one to its end before asking for the next."""
        while True:
            self._begin()
            yield self
            self._end()
            if not self._advance():
                return

    def attend(self, world: World) -> None:
        """Look at what the steps of a world touch."""
        self._world, self._following = world, self._reduction
        if self._following is not None:
            self._following.attend(world)

    def choose(self, kind: str, options: Sequence[str]) -> int:
        """Return the next answer of the present schedule. Raises `Redundant`."""
        if kind == "next":
            self._finish_step()
        if self._position == len(self._path):
            self._path.append(self._met(kind, tuple(options)))
            if self._is_redundant(self._path[-1]):
                self._path.pop()
                self._is_pruned = True
                raise Redundant
        choice = self._path[self._position]
        self._position += 1
        if kind == "next":
            self._begin_step(choice)
        elif self._following is not None:
            self._following.answered(kind, choice.answer)
        return choice.answer

    def _begin(self) -> None:
        self._position = 0
        self._running = self._last = self._step = self._world = self._following = None
        self._is_pruned = False

    def _end(self) -> None:
        self.deepest = max(self.deepest, self._position)
        self.pruned += self._is_pruned
        self.schedules += not self._is_pruned
        del self._path[self._position :]

    def _finish_step(self) -> None:
        if self._following is not None and self._last is not None:
            self._step = self._following.ended()
            self._last.took(self._step)

    def _met(self, kind: str, options: tuple[str, ...]) -> _Choice:
        before = self._path[-1] if self._path else None
        spent = NONE_SPENT if before is None else before.spent_with(before.answer)
        running = self._running if self._running in options else None
        asleep: Asleep = {}
        if self._following is not None and self._last is not None and kind == "next":
            asleep = still_asleep(self._last.asleep, self._last.option, self._step)
        return _Choice(kind, options, running, spent, asleep)

    def _is_redundant(self, choice: _Choice) -> bool:
        """Whether nothing is left to try from here; else take the first answer."""
        if choice.is_next and self._following is not None:
            pairs = zip(choice.spent, self._limits, strict=True)
            spent = tuple(spent for spent, limit in pairs if limit is not None)
            if self._following.has_seen(self._running or "", choice.options, spent):
                return True
        return not self._take_next(choice)

    def _begin_step(self, choice: _Choice) -> None:
        self._last, option = choice, choice.option
        running = choice.options[0]
        if option.startswith(RUN):
            self._running = option
        elif option.startswith(PAUSE):
            self._running = None
        if option in CRASHES and self._world is not None:
            self.struck.add((option, *_place(self._world, running.removeprefix(RUN))))
        if self._following is not None:
            self._following.began(option, running)

    def _take_next(self, choice: _Choice) -> bool:
        """Take the next answer that is affordable, awake and no repetition; return whether there is one."""
        for answer in range(choice.answer + 1, len(choice.options)):
            option = choice.options[answer]
            is_repeated = choice.is_silent is True and option in CRASHES
            if option not in choice.asleep and not is_repeated and self._is_affordable(choice, answer):
                choice.answer, choice.step = answer, None
                return True
        return False

    def _is_affordable(self, choice: _Choice, answer: int) -> bool:
        pairs = zip(choice.spent_with(answer), self._limits, strict=True)
        return all(limit is None or spent <= limit for spent, limit in pairs)

    def _advance(self) -> bool:
        while self._path:
            choice = self._path[-1]
            if self._reduction is not None and choice.is_next and self._may_sleep(choice):
                choice.asleep = put_to_sleep(choice.asleep, choice.option, choice.step)
            if self._take_next(choice):
                return True
            self._path.pop()
        return False

    def _may_sleep(self, choice: _Choice) -> bool:
        is_step = choice.option.startswith(RUN)
        return is_step and (self.bounds.preemptions is None or choice.option == choice.running)


def _place(world: World, worker: str) -> tuple[str, int, int]:
    """Return where a worker stands: in which step of the scenario, after how many points of it."""
    step = next(each.step for each in reversed(world.workers) if each.name == worker)
    passed = takewhile(lambda point: point.call != CALL, _passed(world, worker))
    return worker, step, len(tuple(passed))


def _passed(world: World, worker: str) -> Iterator[Point]:
    return (passed.point for passed in reversed(world.trace) if passed.worker == worker)
