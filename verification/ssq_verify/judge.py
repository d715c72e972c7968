"""What does a history say of each promise? One verdict an invariant, by SQL and the exact check."""

from collections.abc import Collection

import duckdb

from ssq_verify import invariants, linearize
from ssq_verify.history import History
from ssq_verify.invariants import INVARIANTS
from ssq_verify.verdict import Evidence, Finding, Verdict, Violation, refused

LINEARIZABLE = "linearizable"
NOT_VACUOUS = "not-vacuous"

IDS = (*(known.id for known in INVARIANTS if known.id != NOT_VACUOUS), LINEARIZABLE, NOT_VACUOUS)
"""Every invariant, in the order in which verdicts are given."""

VIOLATIONS_MAX = 10_000
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
    return tuple(verdict(each, ways=ways) for each in evidence(history, only=only))


def evidence(history: History, *, only: Collection[str] | None = None) -> tuple[Evidence, ...]:
    """Return what a history says of each invariant, in the order of `IDS`. Raises as `judge` does."""
    unknown = set(only or ()) - set(IDS)
    if unknown:
        raise KeyError(f"{min(unknown)}: no such invariant; name some of {', '.join(IDS)}")
    history.validated()
    return tuple(evidence_on(history, name) for name in IDS if only is None or name in only)


def verdict_on(history: History, invariant_id: str, *, ways: tuple[str, ...]) -> Verdict:
    """Return the verdict on one invariant; *unknown* if its check crashes."""
    return verdict(evidence_on(history, invariant_id), ways=ways)


def evidence_on(history: History, invariant_id: str) -> Evidence:
    """Return what a history says of one invariant; a check that crashes is a limit, too."""
    try:
        if invariant_id == LINEARIZABLE:
            return linearize.evidence(history)
        if invariant_id == NOT_VACUOUS:
            return _coverage(history)
        return _evidence(history, invariant_id)
    except (duckdb.Error, MemoryError, RecursionError) as error:
        reason = " ".join(str(error).split())
        limit = f"the check itself failed: {type(error).__name__}: {reason}"
        return Evidence(invariant=invariant_id, limit=limit)


def verdict(found: Evidence, *, ways: tuple[str, ...]) -> Verdict:
    """Return what the evidence comes to: violated before unknown before holds; nothing seen is vacuous."""
    name = found.invariant
    if not found.is_offered:
        sentence = invariants.invariant(name).not_offered
        return Verdict(invariant=name, verdict=Finding.NOT_OFFERED, sentence=sentence)
    if found.violation is not None or found.limit is not None:
        return refused(found)
    if name == LINEARIZABLE:
        return linearize.verdict(found)
    return _covered(found, ways) if name == NOT_VACUOUS else _held(found, ways)


def violations(history: History, invariant_id: str) -> tuple[Violation, ...]:
    """Return how the history breaks one invariant, be it judged by a query or by the exact check."""
    if invariant_id == LINEARIZABLE:
        return linearize.violations(history)
    return invariants.violations(history, invariant_id, limit=VIOLATIONS_MAX)


def _held(found: Evidence, ways: tuple[str, ...]) -> Verdict:
    name = found.invariant
    stated, seen = invariants.invariant(name), sum(found.seen.values())
    if seen == 0:
        needs = _needed(stated.needs, ways)
        return Verdict(invariant=name, verdict=Finding.VACUOUS, sentence=stated.vacuous, needs=needs)
    sentence = stated.holds.format(exercised=f"{seen:,}", measured=found.most)
    return Verdict(invariant=name, verdict=Finding.HOLDS, sentence=sentence)


def _evidence(history: History, name: str) -> Evidence:
    if not invariants.offered(history, name):
        return Evidence(invariant=name, is_offered=False)
    found = invariants.violations(history, name, limit=1)
    return Evidence(
        invariant=name,
        violation=found[0] if found else None,
        limit=invariants.undecided(history, name),
        seen={"": invariants.exercised(history, name)},
        most=invariants.measured(history, name),
    )


def _coverage(history: History) -> Evidence:
    counts = invariants.counts(history)
    return Evidence(
        invariant=NOT_VACUOUS,
        seen={what: seen for what, seen, _ in counts},
        inside=tuple(what for what, _, inside in counts if inside),
    )


def _covered(found: Evidence, ways: tuple[str, ...]) -> Verdict:
    stated = invariants.invariant(NOT_VACUOUS)
    missing = [what for what, seen in found.seen.items() if seen == 0]
    if not missing:
        measured = ", ".join(f"{what}: {seen:,}" for what, seen in found.seen.items())
        sentence = stated.holds.format(measured=measured)
        return Verdict(invariant=NOT_VACUOUS, verdict=Finding.HOLDS, sentence=sentence)
    # What only concurrency shows is no reproach to a sequential run.
    reachable = any(what not in found.inside for what in missing)
    return Verdict(
        invariant=NOT_VACUOUS,
        verdict=Finding.VACUOUS,
        sentence=stated.vacuous.format(missing=", ".join(missing)),
        needs=None if reachable else _needed("simulation", ways),
    )


def _needed(way: str | None, ways: tuple[str, ...]) -> str | None:
    # A log is what it is: no other way of making it is to be had.
    return way if way is not None and not CONCURRENT_WAYS & set(ways) and "log" not in ways else None
