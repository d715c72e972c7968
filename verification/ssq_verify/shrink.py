"""What is the shortest way to the same failure? A greedy minimiser over any sequence, and over scenarios.

The engine drops chunks, then single items, then pairs, and tries what a caller offers as simpler rewrites,
until nothing helps (delta debugging: Zeller and Hildebrandt, TSE 2002; unlike there, each success starts anew
with the large chunks, as a try costs little). The engine knows nothing of queues, and is deterministic.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Generic, TypeVar

import msgspec

from ssq_verify.scenario import SETUP_WORKER, Scenario, Settings, Step, StepKind, part

T = TypeVar("T")
Items = tuple[T, ...]
Failing = Callable[[Sequence[T]], Collection[int]]
TRIES_MAX = 3_000
BATCH = 32
"""How many candidates are asked about at a time."""

PAIRS_UP_TO = 24
"""Pairs of items are tried on a sequence that is no longer than this."""

US = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class Shrunk(Generic[T]):
    """What is left, and how it was come by."""

    items: Items[T]
    tries: int
    is_minimal: bool
    """Whether no single item can be dropped; False if the tries ran out first."""


def shrink(
    items: Items[T],
    failing: Failing[Items[T]],
    *,
    rewrites: Callable[[Items[T]], Iterable[Items[T]]] = lambda _: (),
    tries_max: int = TRIES_MAX,
) -> Shrunk[T]:
    """Return a shortest variant that still fails, a local minimum unless `tries_max` was reached.

    `failing` says which of some candidates fail, by position: many are asked about at a time, as a judge may
    need as long for one as for all.
    `rewrites` offers variants of the same length, each of them simpler than what it is given: the order that
    they imply must have no cycle, or the search would not end before its limit.
    """
    assert failing([items]), "give a sequence that fails"
    search = _Search(failing, tries_max)
    try:
        while True:
            shorter = search.first(_shorter(items)) or search.first(rewrites(items))
            if shorter is None:
                return Shrunk(items=items, tries=search.tries, is_minimal=True)
            items = shorter
    except _OutOfTriesError:
        return Shrunk(items=items, tries=search.tries, is_minimal=False)


def shrink_scenario(
    scenario: Scenario, failing: Failing[Scenario], *, tries_max: int = TRIES_MAX
) -> Scenario:
    """Return the shortest variant of the scenario that still fails, in its plainest words."""

    def steps_failing(candidates: Sequence[Items[Step]]) -> Collection[int]:
        return failing([msgspec.structs.replace(scenario, steps=steps) for steps in candidates])

    def simpler(steps: Items[Step]) -> Iterator[Items[Step]]:
        return simpler_steps(steps, scenario.settings)

    shrunk = shrink(scenario.steps, steps_failing, rewrites=simpler, tries_max=tries_max)
    return msgspec.structs.replace(scenario, steps=claims_renumbered(shrunk.items))


class _OutOfTriesError(Exception):
    """The limit was reached."""


class _Search(Generic[T]):
    def __init__(self, failing: Failing[Items[T]], tries_max: int) -> None:
        self.tries = 0
        self._failing = failing
        self._tries_max = tries_max
        self._seen: set[Items[T]] = set()

    def first(self, candidates: Iterable[Items[T]]) -> Items[T] | None:
        """Return the first candidate that fails; none that passed is tried twice."""
        fresh = self._fresh(candidates)
        while batch := list(islice(fresh, BATCH)):
            failed = self._failing(batch)
            self.tries += len(batch)
            if failed:
                # Others that fail may be tried again; that they also do is no reason to pass them over.
                self._seen.difference_update(batch[position] for position in failed)
                return batch[min(failed)]
            if self.tries >= self._tries_max:
                raise _OutOfTriesError
        return None

    def _fresh(self, candidates: Iterable[Items[T]]) -> Iterator[Items[T]]:
        for candidate in candidates:
            if candidate not in self._seen:
                self._seen.add(candidate)
                yield candidate


def _shorter(items: Items[T]) -> Iterator[Items[T]]:
    size = len(items) // 2
    while size >= 1:
        # From the end: what happens after the failure goes first.
        for start in range(len(items) - size, -1, -size):
            yield items[:start] + items[start + size :]
        size //= 2
    # The chunks may leave out the first item, where their size does not divide the length.
    for position in range(len(items)):
        yield items[:position] + items[position + 1 :]
    if len(items) <= PAIRS_UP_TO:
        for first, second in combinations(range(len(items)), 2):
            yield items[:first] + items[first + 1 : second] + items[second + 1 :]


def simpler_steps(steps: Items[Step], settings: Settings) -> Iterator[Items[Step]]:
    """Yield the same steps in plainer words, each simpler than what is given."""
    yield from _fewer_names(steps, "worker", "w")
    yield from _fewer_names(steps, "job", "j")
    for position, step in enumerate(steps):
        for simpler in _simpler(step, settings):
            yield (*steps[:position], simpler, *steps[position + 1 :])
    for first in range(len(steps) - 1):
        # Time passes as late as it can: the steps before it then happen at once.
        if steps[first].do is StepKind.ADVANCE and steps[first + 1].do is StepKind.ADVANCE:
            total = steps[first].seconds + steps[first + 1].seconds
            longer = msgspec.structs.replace(steps[first], seconds=total)
            still = msgspec.structs.replace(steps[first + 1], seconds=0.0)
            if steps[first + 1].seconds:
                yield (*steps[:first], longer, still, *steps[first + 2 :])


def _fewer_names(steps: Items[Step], field: str, letter: str) -> Iterator[Items[Step]]:
    """Offer the names that are used under lower numbers, all uses at once, and single uses."""
    used = _names(steps, field)
    numbered = (name for name in used if name != SETUP_WORKER)
    plain = {name: f"{letter}{number}" for number, name in enumerate(numbered, start=1)}
    if any(old != new for old, new in plain.items()):
        yield tuple(_renamed(step, field, plain) for step in steps)
    for old, new in _lower(used):
        yield tuple(_renamed(step, field, {old: new}) for step in steps)
        for position, step in enumerate(steps):
            if getattr(step, field) == old:
                yield (*steps[:position], _renamed(step, field, {old: new}), *steps[position + 1 :])


def _names(steps: Items[Step], field: str) -> list[str]:
    """Return the names that are used, the plainest first; who prepares a race is one worker more."""
    used = {name for step in steps if (name := getattr(step, field)) is not None}
    return sorted(used, key=lambda name: (name == SETUP_WORKER, name))


def _lower(names: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each name with each that is plainer."""
    for place, old in enumerate(names):
        for new in names[:place]:
            yield old, new


def merged(steps: Items[Step]) -> Iterator[Items[Step]]:
    """Yield the steps with all that one worker does done by another one."""
    names = _names(steps, "worker")
    for old, new in _lower(names if names != [SETUP_WORKER] else ["w1", SETUP_WORKER]):
        yield tuple(_renamed(step, "worker", {old: new}) for step in steps)


def swapped(steps: Items[Step]) -> Iterator[Items[Step]]:
    """Yield the steps with two workers in each other's place: which of them goes first is then for free."""
    for one, other in combinations([name for name in _names(steps, "worker") if name != SETUP_WORKER], 2):
        yield tuple(_renamed(step, "worker", {one: other, other: one}) for step in steps)


def _renamed(step: Step, field: str, names: dict[str, str]) -> Step:
    name = getattr(step, field)
    return step if name not in names else msgspec.structs.replace(step, **{field: names[name]})


def _simpler(step: Step, settings: Settings) -> Iterator[Step]:
    for many in range(step.many):
        yield msgspec.structs.replace(step, many=many)
    if step.payload:
        yield msgspec.structs.replace(step, payload="")
    if step.rate != 1.0 or step.zone or step.strobe:
        yield msgspec.structs.replace(step, rate=1.0, zone="", strobe=0.0)
    if step.do in {StepKind.ADVANCE, StepKind.CLOCK}:
        plain = _plain_seconds(settings)
        rank = plain.index(step.seconds) if step.seconds in plain else len(plain)
        for seconds in plain[:rank]:
            yield msgspec.structs.replace(step, seconds=seconds)


def claims_renumbered(steps: Items[Step]) -> Items[Step]:
    """Return the steps with claims named in their order."""
    many = {step.claim for step in steps if step.many}
    used = dict.fromkeys(_of_call(step.claim, many)[0] for step in steps if step.claim is not None)
    names = {claim: f"claim{number}" for number, claim in enumerate(used, start=1)}
    every = {step.claim for step in steps if step.claim is not None}
    parted = {claim: _of_call(claim, many) for claim in every}
    renamed = {claim: part(names[call], number) for claim, (call, number) in parted.items()}
    return tuple(_renamed(step, "claim", renamed) for step in steps)


def _of_call(claim: str, many: Collection[str | None]) -> tuple[str, int]:
    """Return the name under which a claim was made, and which of many it is."""
    call, _, number = claim.rpartition(".")
    return (call, int(number)) if call in many and number.isdecimal() else (claim, 1)


def _plain_seconds(settings: Settings) -> list[float]:
    """Return the times that a story is told in, the plainest first."""
    ttl, skew = settings.lease_ttl_seconds, settings.max_clock_skew_seconds
    rests = [settings.retry.backoff_seconds(attempt) for attempt in range(1, settings.max_attempts + 1)]
    leases = [ttl, ttl + skew, ttl + 2 * skew]
    after = [moment + extra for moment in leases for extra in (1.0, US)]
    offsets = [skew, -skew, skew / 2, -skew / 2, ttl, -ttl]
    return list(dict.fromkeys([0.0, 1.0, *rests, *after, *leases, *offsets, 2 * ttl]))
