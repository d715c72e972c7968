"""How does a night stand? All of its watches put together; no larger for there being more of them."""

from collections.abc import Mapping

import msgspec

from ssq_stress.back_to_simulation import SAME, with_repros
from ssq_stress.following import Again
from ssq_stress.nights.ledger import Watch
from ssq_stress.nights.ranking import Failure, folded, seen_in
from ssq_stress.record import Record, added
from ssq_stress.side_verdicts import verdicts
from ssq_verify.verdict import Finding, Verdict

WATCHES = "watches"
FAILED_TOLD_MAX = 5
SEARCHES_MAX = 2
"""How often what a promise broke by is gone after, until it is found: a night is there to see more."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a night came to so far."""

    record: Record = Record()
    watches: int = 0
    seconds: float = 0.0
    """All in all, of all of them."""
    failures: tuple[Failure, ...] = ()
    """In the order of their rank."""
    repros: dict[str, str] = {}
    searches: dict[str, int] = {}
    """How often each was gone after."""
    again: dict[str, Again] = {}
    failed: tuple[str, ...] = ()
    failed_count: int = 0
    in_a_row: int = 0
    """How many of the last watches failed."""
    interrupted: str | None = None
    """In what somebody ended it."""

    @property
    def known(self) -> set[str]:
        """What is not gone after any more."""
        return {name for name, times in self.searches.items() if times >= SEARCHES_MAX} | set(self.repros)

    def verdicts(self, *, needed: int) -> tuple[Verdict, ...]:
        """Return what is to be said of each promise, of what struck, and of the watches themselves."""
        judged = verdicts(self.record, needed=needed)
        return (*with_repros(judged, self.repros), self._of_watches())

    def _of_watches(self) -> Verdict:
        if self.failed_count:
            what = f"watches that failed: {self.failed_count} of {self.watches}; {self.failed[0]}"
            return Verdict(invariant=WATCHES, verdict=Finding.UNKNOWN, sentence=what)
        if not self.record.rounds:
            return Verdict(invariant=WATCHES, verdict=Finding.VACUOUS, sentence="no watch was ended")
        ended = f"; interrupted in {self.interrupted}" if self.interrupted else ""
        what = f"watches to their end: {self.watches}, rounds: {self.record.rounds:,}{ended}"
        return Verdict(invariant=WATCHES, verdict=Finding.HOLDS, sentence=what)

    def repro_of(self, invariant: str) -> str | None:
        """Return the file that replays it, each time alike."""
        return self.repros.get(SAME.get(invariant, invariant))

    def again_of(self, invariant: str) -> Again | None:
        """Return how often it broke again."""
        return self.again.get(SAME.get(invariant, invariant))


def after(standing: Standing, watch: Watch) -> Standing:
    """Return how the night stands when another watch is over."""
    failed = (f"watch {watch.number}: {watch.failed}",) if watch.failed is not None else ()
    return Standing(
        record=added([standing.record, watch.record]),
        watches=standing.watches + 1,
        seconds=standing.seconds + watch.seconds,
        failures=folded(standing.failures, seen_in(watch.record, watch.number)),
        repros=watch.repros | standing.repros,
        searches=_more(standing.searches, watch.sought),
        again=standing.again | {each.invariant: each for each in watch.again},
        failed=(*standing.failed, *failed)[:FAILED_TOLD_MAX],
        failed_count=standing.failed_count + len(failed),
        in_a_row=standing.in_a_row + 1 if failed else 0,
        interrupted=None if watch.interrupted is None else f"{watch.interrupted} of watch {watch.number}",
    )


def _more(searches: Mapping[str, int], sought: tuple[str, ...]) -> dict[str, int]:
    return dict(searches) | {name: searches.get(name, 0) + 1 for name in sought}
