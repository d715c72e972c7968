"""What of a search need not be run? A schedule that differs only in the order of steps that commute.

Two reductions, each told what every step of the present run touched:

- *Sleep sets* (Godefroid: Partial-Order Methods for the Verification of Concurrent Systems, 1996): what was
  explored first from a state need not come later by way of steps that commute with it.
- *Prefixes* that are the same partial order of steps leave the same state: the first that was met at no
  higher cost stands for the others (Musuvathi, Qadeer: Partial-order reduction for context-bounded state
  exploration, MSR-TR-2007-12).

A fault strikes only as its worker arrives at a point: another's step disables it. So a fault wakes all, and a
worker's step commutes with another's only if the faults that may follow it do, too.
"""

from typing import NamedTuple

from ssq_verify.simulation.footprints import EVERYTHING, Footprints, Step
from ssq_verify.simulation.options import RUN, TIME
from ssq_verify.simulation.partial_order import PartialOrder
from ssq_verify.simulation.point import Footprint
from ssq_verify.simulation.worker import State, Worker
from ssq_verify.simulation.world import World

Asleep = dict[str, Footprint]
"""What need not come next, each with what it touches."""
Spent = tuple[int, ...]


class Begun(NamedTuple):
    """The step that is under way."""

    option: str
    worker: str
    """Whose it is, as the option that runs it; "" for time."""


class Reduction:
    """Follows one search, run by run."""

    def __init__(self) -> None:
        self._seen: dict[tuple[object, ...], list[Spent]] = {}
        self._world: World | None = None

    def attend(self, world: World) -> None:
        """Begin to follow another run."""
        self._world = world
        self._footprints = Footprints(world)
        self._order = PartialOrder()
        self._begun: Begun | None = None
        self._answers: tuple[object, ...] = ()

    def began(self, option: str, running: str) -> None:
        """Note what was chosen to be next; `running` is who could be struck."""
        self._answers = ()
        if option == TIME:
            self._begun = Begun(option, "")
            self._footprints.begin_wait()
        elif option.startswith(RUN):
            self._begun = Begun(option, option)
            self._footprints.begin(self._worker(option))
        else:
            self._begun = Begun(option, running)
            self._footprints.begin_fault(self._worker(running), option)

    def answered(self, kind: str, answer: int) -> None:
        """Note another choice that the step has met."""
        self._answers += (kind, answer)

    def ended(self) -> Step | None:
        """Return what the last step touched; None if there was none."""
        begun, self._begun = self._begun, None
        if begun is None:
            return None
        step = self._footprints.ended()
        self._order.add(begun.worker, (begun.option, *self._answers), step.own)
        return step

    def has_seen(self, running: str, options: tuple[str, ...], spent: Spent) -> bool:
        """Whether this prefix was met before at no higher cost."""
        known = self._seen.setdefault((self._order.key(), running, options), [])
        if any(_is_no_more(before, spent) for before in known):
            return True
        known[:] = [before for before in known if not _is_no_more(spent, before)]
        known.append(spent)
        return False

    def _worker(self, option: str) -> Worker:
        assert self._world is not None
        name = option.removeprefix(RUN)
        alive = {State.READY, State.WAITING}
        return next(each for each in self._world.workers if each.name == name and each.state in alive)


def still_asleep(asleep: Asleep, option: str, step: Step | None) -> Asleep:
    """Return what need not come after a step either."""
    if not option.startswith(RUN) or step is None:
        return {}
    return {
        other: touched
        for other, touched in asleep.items()
        if other != option and touched.commutes_with(step.with_faults)
    }


def put_to_sleep(asleep: Asleep, option: str, step: Step | None) -> Asleep:
    """Return what need not come later once all that begins with a worker's step was explored."""
    return {**asleep, option: EVERYTHING if step is None else step.with_faults}


def _is_no_more(one: Spent, other: Spent) -> bool:
    return all(mine <= others for mine, others in zip(one, other, strict=True))
