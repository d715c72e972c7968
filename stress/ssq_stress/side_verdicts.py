"""Which verdicts does stress add to the judge's? Did side effects clash, and did every fault strike?"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ssq_stress import coverage
from ssq_stress.faults import Fault
from ssq_stress.judging import Judged
from ssq_stress.processes.effects import PROMISE
from ssq_verify.history import Terms
from ssq_verify.verdict import Finding, Verdict

COVERAGE = "coverage"


def side_effects_verdict(judged: Sequence[Judged]) -> Verdict:
    """Return whether every execution was of a claim that was given, and no job was done twice at once."""
    clashes = [clash for each in judged for clash in each.clashes]
    executions, outlived = sum(each.executions for each in judged), sum(each.outlived for each in judged)
    if clashes:
        more = sum(each.clash_count for each in judged) - 1
        others = f" (and {more:,} more)" if more else ""
        return Verdict(invariant=PROMISE, verdict=Finding.VIOLATED, sentence=f"{clashes[0].sentence}{others}")
    if not executions:
        return Verdict(invariant=PROMISE, verdict=Finding.VACUOUS, sentence="no job was worked on")
    late = f"; {outlived:,} outlived their lease while another worked, as they may" if outlived else ""
    return Verdict(
        invariant=PROMISE,
        verdict=Finding.HOLDS,
        sentence=f"executions: {executions:,}; each of a claim that was given, none twice at once{late}",
    )


def coverage_verdict(
    judged: Sequence[Judged],
    faults: frozenset[Fault],
    terms: Terms,
    not_available: Mapping[str, str],
    *,
    profile: str,
) -> Verdict:
    """Return whether every fault struck wherever it can; what is missing is named."""
    matrix = summed(each.matrix for each in judged)
    missing = [f"{fault} is not available: {reason}" for fault, reason in sorted(not_available.items())]
    if not faults and not missing:
        missing = ["no fault that strikes single workers was asked for"]
    if empty := coverage.empty(matrix, faults, terms, profile=profile):
        names = ", ".join(coverage.cell(*each) for each in empty)
        missing.append(f"{_seldom(coverage.NEEDED[profile])}: {names}")
    if missing:
        return Verdict(invariant=COVERAGE, verdict=Finding.VACUOUS, sentence="; ".join(missing))
    struck, cells = sum(matrix.values()), len(coverage.applicable(faults, terms))
    return Verdict(
        invariant=COVERAGE,
        verdict=Finding.HOLDS,
        sentence=f"faults that struck: {struck:,}, in each of {cells} combinations of fault and phase",
    )


def short_of(verdict: Verdict, jobs: int, enqueued: int) -> Verdict:
    """Return the verdict on coverage of a run that was to put so many jobs through, and could not."""
    if enqueued >= jobs or verdict.verdict is Finding.VIOLATED:
        return verdict
    sentence = f"only {enqueued:,} of {jobs:,} jobs could be enqueued; {verdict.sentence}"
    return msgspec.structs.replace(verdict, verdict=Finding.VACUOUS, sentence=sentence)


def _seldom(needed: int) -> str:
    return "never struck" if needed == 1 else f"struck less than {needed} times"


def summed(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Return what several counts come to together."""
    total = Counter[str]()
    for each in counts:
        total.update(each)
    return dict(sorted(total.items()))
