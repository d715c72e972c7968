"""What does a history say of each promise? One verdict an invariant, by SQL and the exact check."""

from collections.abc import Collection

import duckdb

from ssq_verify import invariants, linearize
from ssq_verify.history import History
from ssq_verify.invariants import INVARIANTS, Invariant
from ssq_verify.verdict import Finding, Verdict

LINEARIZABLE = "linearizable"
NOT_VACUOUS = "not-vacuous"

IDS = (*(known.id for known in INVARIANTS if known.id != NOT_VACUOUS), LINEARIZABLE, NOT_VACUOUS)
"""Every invariant, in the order in which verdicts are given."""

CONCURRENT_WAYS = frozenset({"simulation", "stress"})
"""The ways of making histories that can kill a worker inside an operation, or take the power away."""


def judge(
    history: History, *, ways: tuple[str, ...], only: Collection[str] | None = None
) -> tuple[Verdict, ...]:
    """Return a verdict on each invariant, or on those in `only`, in the order of `IDS`.

    `ways` are the ways in which the history was made ("model", "simulation", "stress", "log"): what none of
    them can show is vacuous, and says what it needs. A check that crashes gives *unknown*, naming the error.
    Raises `KeyError` for an unknown id in `only`, `InvalidHistory` for what no run can have produced.
    """
    unknown = set(only or ()) - set(IDS)
    if unknown:
        raise KeyError(f"{min(unknown)}: no such invariant; name some of {', '.join(IDS)}")
    history.validated()
    return tuple(verdict_on(history, name, ways=ways) for name in IDS if only is None or name in only)


def verdict_on(history: History, invariant_id: str, *, ways: tuple[str, ...]) -> Verdict:
    """Return the verdict on one invariant; *unknown* if its check crashes."""
    try:
        if invariant_id == LINEARIZABLE:
            return linearize.check(history)
        if invariant_id == NOT_VACUOUS:
            return _coverage(history, ways)
        return _verdict(history, invariants.invariant(invariant_id), ways)
    except (duckdb.Error, MemoryError, RecursionError) as error:
        reason = " ".join(str(error).split())
        return Verdict(
            invariant=invariant_id,
            verdict=Finding.UNKNOWN,
            sentence=f"the check itself failed: {type(error).__name__}: {reason}",
        )


def _verdict(history: History, judged: Invariant, ways: tuple[str, ...]) -> Verdict:
    if not invariants.offered(history, judged.id):
        return Verdict(invariant=judged.id, verdict=Finding.NOT_OFFERED, sentence=judged.not_offered)
    found = invariants.violations(history, judged.id, limit=1)
    if found:
        return Verdict(
            invariant=judged.id, verdict=Finding.VIOLATED, sentence=found[0].sentence, violation=found[0]
        )
    limit = invariants.undecided(history, judged.id)
    if limit is not None:
        return Verdict(invariant=judged.id, verdict=Finding.UNKNOWN, sentence=limit)
    seen = invariants.exercised(history, judged.id)
    if seen == 0:
        return Verdict(
            invariant=judged.id,
            verdict=Finding.VACUOUS,
            sentence=judged.vacuous,
            needs=_needed(judged.needs, ways),
        )
    measured = invariants.measured(history, judged.id)
    sentence = judged.holds.format(exercised=f"{seen:,}", measured=measured)
    return Verdict(invariant=judged.id, verdict=Finding.HOLDS, sentence=sentence)


def _coverage(history: History, ways: tuple[str, ...]) -> Verdict:
    stated = invariants.invariant(NOT_VACUOUS)
    counts = invariants.counts(history)
    missing = [what for what, seen, _ in counts if seen == 0]
    if not missing:
        measured = ", ".join(f"{what}: {seen:,}" for what, seen, _ in counts)
        return Verdict(
            invariant=NOT_VACUOUS, verdict=Finding.HOLDS, sentence=stated.holds.format(measured=measured)
        )
    # What only concurrency shows is no reproach to a sequential run.
    reachable = any(seen == 0 and not inside for _, seen, inside in counts)
    return Verdict(
        invariant=NOT_VACUOUS,
        verdict=Finding.VACUOUS,
        sentence=stated.vacuous.format(missing=", ".join(missing)),
        needs=None if reachable else _needed("simulation", ways),
    )


def _needed(way: str | None, ways: tuple[str, ...]) -> str | None:
    # A log is what it is: no other way of making it is to be had.
    return way if way is not None and not CONCURRENT_WAYS & set(ways) and "log" not in ways else None
