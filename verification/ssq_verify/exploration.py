"""Are the contract's own rules enough? Every run of them at small scope, two workers and two jobs, is tried.

The rules are those by which a queue without a server keeps time: each worker reads its own clock, a holder
counts its lease from before its call, and who takes over an expired job waits E longer. Each transition
that they allow is put to `model.step`; that no two workers hold a job at once, and that what is left can
still be finished, is watched from outside. Time goes in whole ticks; between its call and its effect a
worker may sleep, or die. All times count from the present one, and what lies so far back that it is over
by every clock is kept at a floor: so there are finitely many states, and runs of every length are covered.

A worker has one claim in hand at a time, and may drop it at any time (it died, and starts anew); a job has
one incarnation. What comes out: while the clocks are within E of each other nothing breaks, and one tick
beyond E only what rests on clocks does.
"""

from collections import deque
from collections.abc import Iterator

import msgspec

from ssq_verify.small_scope import (
    ATTEMPTS_MAX,
    BEYOND,
    JOBS,
    REST,
    SKEW,
    TICK,
    TTL,
    WORKERS,
    Clocks,
    Record,
    World,
    counts_on,
    finishes,
    first_world,
    moves,
)

TIMED = frozenset({"single-claimer", "no-early-reclaim", "back-off"})
"""The invariants that rest on clocks, and may break beyond E."""
WATCHED = (
    "single-claimer",
    "no-early-reclaim",
    "fencing",
    "bounded-retries",
    "no-lost-job",
    "no-resurrection",
    "progress",
    "back-off",
)


class Exploration(msgspec.Struct, frozen=True, kw_only=True):
    """What all runs at one distance of the two clocks showed."""

    offset: int
    """How far, in ticks, the second worker's clock is ahead of the first's, which is right."""
    within: bool
    """Whether that is within E."""
    states: int
    transitions: int
    broken: dict[str, tuple[str, ...]]
    """The invariants that broke, each with a shortest run that breaks it."""


def explore(offset: int) -> Exploration:
    """Return what all runs show; a second clock that is behind has an offset below zero."""
    search = _Search(offset)
    search.run()
    return Exploration(
        offset=offset,
        within=abs(offset) <= SKEW,
        states=len(search.reached),
        transitions=search.transitions,
        broken={name: search.broken[name] for name in WATCHED if name in search.broken},
    )


def explored() -> tuple[Exploration, ...]:
    """Return the explorations from one tick beyond E behind to one tick beyond E ahead."""
    return tuple(explore(offset) for offset in range(-BEYOND, BEYOND + 1))


def summary(explorations: tuple[Exploration, ...]) -> str:
    """Return the findings as text: a line for each distance, then a shortest run for each break."""
    scope = f"every run of {len(WORKERS)} workers and {len(JOBS)} jobs with {ATTEMPTS_MAX} attempts each"
    lines = [f"{scope}; in ticks: lease {TTL}, E {SKEW}, back-off {REST}"]
    lines += [
        f"second clock {found.offset:+d} ({'within' if found.within else 'beyond'} E): "
        f"{found.states:,} states, {found.transitions:,} transitions, "
        f"broken: {', '.join(found.broken) or 'none'}"
        for found in explorations
    ]
    for found in explorations:
        for name, run in found.broken.items():
            lines += ["", f"{name}, second clock {found.offset:+d}:", *(f"  {line}" for line in run)]
    return "\n".join(lines)


class _Search:
    """Breadth first, so that the first run that breaks an invariant is a shortest one."""

    def __init__(self, offset: int) -> None:
        self.reached: dict[World, tuple[World | None, str]] = {}
        self.transitions = 0
        self.broken: dict[str, tuple[str, ...]] = {}
        self._clocks = Clocks((0, offset))
        self._finished: dict[tuple[Record, ...], bool] = {}

    def run(self) -> None:
        """Reach every world there is."""
        first = first_world()
        self.reached[first] = (None, "both jobs are enqueued")
        frontier = deque([first])
        while frontier:
            world = frontier.popleft()
            for move in moves(world, self._clocks):
                self.transitions += 1
                if move.broken is not None:
                    self._note(move.broken, world, move.said)
                if move.world is not None and move.world not in self.reached:
                    self.reached[move.world] = (world, move.said)
                    self._watch(move.world)
                    frontier.append(move.world)

    def _watch(self, world: World) -> None:
        for job, name in enumerate(JOBS):
            if sum(counts_on(worker, job) for worker in world.workers) > 1:
                self._note("single-claimer", world, f"{name} is in two hands")
            if world.records[job].phase is not world.states[job].phase:
                self._note("no-lost-job", world, f"{name} is {world.records[job].phase} for the queue alone")
        if not self._can_be_finished(world.records):
            self._note("progress", world, "what is left is not finished in the time that is promised")

    def _can_be_finished(self, records: tuple[Record, ...]) -> bool:
        if records not in self._finished:
            self._finished[records] = all(
                finishes(records, offset, self._clocks) for offset in self._clocks.offsets
            )
        return self._finished[records]

    def _note(self, invariant: str, world: World, end: str) -> None:
        if invariant in self.broken:
            return
        said = [end]
        place: World | None = world
        while place is not None:
            place, move = self.reached[place]
            said.append(move)
        self.broken[invariant] = _with_times(reversed(said))


def _with_times(moves: Iterator[str]) -> tuple[str, ...]:
    lines, now = [], 0
    for move in moves:
        if move == TICK:
            now += 1
        else:
            lines.append(f"{now}  {move}")
    return tuple(lines)
