"""Who decides? Every choice of a run goes through `choose`; all answers together are its tape.

A tape is a list of small integers in which 0 is always the plainest choice: the running worker goes on,
no fault strikes, the first of the orders is taken. Replaying a tape repeats the run; a shorter or smaller
tape is a plainer run, so one shrinker minimises everything.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ssq_verify.recording import plain
from ssq_verify.simulation.point import Point


class Deviation(NamedTuple):
    """An answer that was not the plainest."""

    cell: int
    """Its place on the tape."""
    kind: str
    chosen: str
    """The option, in words."""
    worker: str = ""
    """Who was at work."""
    at: str = ""
    """What it was about to do."""
    event: int = 0
    """How many events the history had by then."""


class Strategy(Protocol):
    """Answers the choices of one run after another."""

    def choose(self, kind: str, options: Sequence[str]) -> int:
        """Return the index of one option; 0 is the plainest. A single option is asked about, too."""
        ...


class Redundant(Exception):  # noqa: N818 - it names what the run is
    """Raised by a strategy that has seen, in another order, all that the rest of a run could show."""


class Tape:
    """Records the answers of a strategy, and for each the step of the scenario that it belongs to."""

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self.cells: list[int] = []
        self.owners: list[int] = []
        self.deviations: list[Deviation] = []
        self.owner = -1
        """The step that is at work; -1 between steps."""

    def choose(self, kind: str, options: Sequence[str]) -> int:
        """Return the strategy's answer and keep it."""
        answer = self._strategy.choose(kind, options)
        assert 0 <= answer < len(options), (kind, options, answer)
        if answer:
            self.deviations.append(Deviation(len(self.cells), kind, options[answer]))
        self.cells.append(answer)
        self.owners.append(self.owner)
        return answer

    def told(self, worker: str, point: Point | None, event: int) -> None:
        """Add to the last deviation where it was taken."""
        at = "" if point is None else plain(f"{point.call} {point.detail}")
        self.deviations[-1] = self.deviations[-1]._replace(worker=worker, at=at, event=event)


class Untold:
    """A strategy that is always plain, on a tape that stays empty: for what goes on alone."""

    def __init__(self) -> None:
        self.cells: list[int] = []
        self.owner = -1

    def choose(self, _kind: str, _options: Sequence[str]) -> int:
        """Return the plainest answer."""
        return 0


class Replay:
    """Answers from a tape; past its end, or where an answer no longer fits, the plainest choice."""

    def __init__(self, cells: Sequence[int]) -> None:
        self.cells = cells
        self._next = 0
        self.diverged = False
        """Whether an answer did not fit its options: the code under test changed since the tape was made."""

    def choose(self, kind: str, options: Sequence[str]) -> int:  # noqa: ARG002 - the interface's
        """Return the next cell."""
        if self._next >= len(self.cells):
            return 0
        answer = self.cells[self._next]
        self._next += 1
        if answer >= len(options):
            self.diverged = True
            return 0
        return answer
