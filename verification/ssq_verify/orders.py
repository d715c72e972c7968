"""Which orders of one job's operations does the contract accept? The search of the exact check.

The search is Wing and Gong's (1993) with Lowe's (2017) memory of what was tried: next in the order may
come any operation that was called before any other remaining one returned; what `model.step` accepts is
followed, and a set of operations that led to the same state once is not tried twice. Two deviations:
operations whose outcome is not known are tried only after all others, for they may never have happened;
and the state carries the earliest instant that the order so far allows (see `model`), which decides what a
lease's end permits.

Intervals are closed: an operation that returns at the very instant at which another is called is
concurrent with it. Were they half-open, this correct run would be accused, on a clock that ticks in
milliseconds:

    w1  claim j1  called 0 ms,  returned 5 ms: c1
    w1  ack c1    called 9 ms,  returned 9 ms: ok       took effect within the tick
    w2  ack c1    called 9 ms,  returned 9 ms: LeaseLost    within the same tick, after it
    the recorder writes down w2 first: a rule that took "9 ms, then 9 ms" for an order would say that w2 was
    refused while c1 was current. Equal times order nothing.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from ssq_verify.history import NEVER_NS, Operation
from ssq_verify.model import ON_CLAIMS, JobState, step, step_idle
from ssq_verify.pieces import Piece


class Place(NamedTuple):
    """A node of the search: which operations are in the order so far, and where that leads."""

    first: int
    """All definite operations before this one are in the order."""
    done: int
    """And of those from `first` on, the ones with a bit set."""
    indefinite: int
    """The indefinite operations that took effect, as bits."""
    strays: int
    """How many of the run's stray claims took this job: always the earliest, for they can do whatever
    later ones can."""
    state: JobState

    @property
    def depth(self) -> int:
        """How many definite operations are in the order."""
        return self.first + self.done.bit_count()

    def has(self, index: int) -> bool:
        """Whether a definite operation is in the order."""
        return index < self.first or bool(self.done >> (index - self.first) & 1)


class BudgetSpent(Exception):  # noqa: N818 - it names the limit
    """The search tried as many steps as it may."""


class Search:
    """All orders of one piece that the contract accepts, found depth first."""

    def __init__(self, piece: Piece, *, budget_steps: int, without: Operation | None = None) -> None:
        self.deepest = Place(0, 0, 0, 0, JobState())
        """The first of the longest orders that do not have the operation `without` in them."""
        self._without = None if without is None else piece.definite.index(without)
        self._piece = piece
        self._steps_left = budget_steps
        self._claim_of = _claims_in_touch(piece)

    def orders(self) -> Iterator[JobState]:
        """Yield the state after each order, none twice. Raises `BudgetSpent`."""
        stack = [iter((Place(0, 0, 0, 0, JobState()),))]
        tried: set[Place] = set()
        while stack:
            place = next(stack[-1], None)
            if place is None:
                stack.pop()
            elif place not in tried:
                tried.add(place)
                if place.first == len(self._piece.definite):
                    yield place.state
                else:
                    stack.append(self._next(place))

    def _next(self, place: Place) -> Iterator[Place]:
        """Yield where the order may go on, definite operations first, in the order of their calls.

        One at a time: of most jobs the first leads to the end, and what may have happened is never tried.
        """
        candidates, return_ns = self._window(place)
        if place.depth > self.deepest.depth and not (self._without is not None and place.has(self._without)):
            self.deepest = place
        for index in candidates:
            for state in reversed(self._after(place.state, self._piece.definite[index])):
                yield _advanced(place, index, state)
        if self._piece.stray_claims or self._piece.indefinite:
            yield from reversed(self._with_indefinite(place, return_ns))

    def _window(self, place: Place) -> tuple[list[int], int]:
        """Return the definite operations that may come next, and when the first remaining one returned."""
        definite = self._piece.definite
        return_ns = NEVER_NS
        done = place.done
        window = []
        for index in range(place.first, len(definite)):
            if not done & 1:
                operation = definite[index]
                if operation.inv_ns > return_ns:
                    break
                window.append(index)
                return_ns = min(return_ns, operation.ret_ns)
            done >>= 1
        if len(window) > 1:
            window = [index for index in window if definite[index].inv_ns <= return_ns]
        if self._claim_of:
            window = [index for index in window if self._is_claimed(place, definite[index])]
        return window, return_ns

    def _is_claimed(self, place: Place, operation: Operation) -> bool:
        index = self._claim_of.get(operation.inv_index)
        return index is None or place.has(index)

    def _with_indefinite(self, place: Place, return_ns: int) -> list[Place]:
        strays, indefinite = self._piece.stray_claims, self._piece.indefinite
        found = []
        if place.strays < len(strays) and strays[place.strays].inv_ns <= return_ns:
            states = self._after(place.state, strays[place.strays])
            found += [place._replace(strays=place.strays + 1, state=state) for state in states]
        for index, operation in enumerate(indefinite):
            if operation.inv_ns > return_ns:
                break
            if not place.indefinite >> index & 1 and self._is_claimed(place, operation):
                taken = place.indefinite | 1 << index
                states = self._after(place.state, operation)
                changed = [state for state in states if not same_but_for_time(state, place.state)]
                found += [place._replace(indefinite=taken, state=state) for state in changed]
        return found

    def _after(self, state: JobState, operation: Operation) -> tuple[JobState, ...]:
        self._steps_left -= 1
        if self._steps_left < 0:
            raise BudgetSpent
        after = step(state, operation, self._piece.contract)
        states = () if after is None else (after,)
        if self._piece.contract.terms.fencing:
            return states
        idle = step_idle(state, operation, self._piece.contract)
        return states if idle is None else (*states, idle)


def same_but_for_time(one: JobState, other: JobState) -> bool:
    """Whether two states differ in nothing but the instant at which they were reached."""
    return one == msgspec.structs.replace(other, instant_ns=one.instant_ns)


def _claims_in_touch(piece: Piece) -> dict[int, int]:
    """Return the claims that operations must come after although their intervals do not say so.

    Nobody uses a claim before it was made. Where an ack is called at the very instant at which its claim
    returned, closed intervals would allow for it.
    """
    claims: dict[str, tuple[int, int]] = {}
    for index, operation in enumerate(piece.definite):
        if operation.f == "claim" and operation.claim_id is not None:
            claims.setdefault(operation.claim_id, (index, operation.ret_ns))
    in_touch = {}
    for operation in (*piece.definite, *piece.indefinite):
        if operation.f in ON_CLAIMS and operation.claim_id in claims:
            index, returned_ns = claims[operation.claim_id]
            if operation.inv_ns <= returned_ns:
                in_touch[operation.inv_index] = index
    return in_touch


def _advanced(place: Place, index: int, state: JobState) -> Place:
    first = place.first
    done = place.done | 1 << (index - first)
    while done & 1:
        done >>= 1
        first += 1
    return Place(first, done, place.indefinite, place.strays, state)
