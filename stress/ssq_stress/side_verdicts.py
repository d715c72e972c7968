"""Which verdicts does stress give? The judge's on all that real processes did, and two of its own.

Did side effects clash, and did every fault strike? Of what a run must have seen, it is asked only for what
the chosen faults bring about; what was not chosen is told.
"""

from collections.abc import Collection, Iterator

from msgspec.structs import replace

from ssq_stress.faults import Fault
from ssq_stress.power import powerless
from ssq_stress.processes.effects import PROMISE
from ssq_stress.record import Record
from ssq_verify import judge
from ssq_verify.verdict import Evidence, Finding, Verdict

WAYS = ("stress",)
COVERAGE = "coverage"
TAKES = {"runs with skewed clocks": Fault.SKEW, "workers dead between operations": Fault.KILL}
"""What a run should have seen and only this fault brings about; besides, the kills inside each operation."""


def verdicts(record: Record, *, needed: int, jobs: int | None = None) -> tuple[Verdict, ...]:
    """Return what is to be said of each promise, and of what struck.

    Each cell needs so many strikes; and so many jobs were to be put through, if a number was asked for.
    """
    gate = coverage_verdict(record, needed=needed)
    if jobs is not None:
        gate = short_of(gate, jobs, record.jobs)
    return (*_judged(record), side_effects_verdict(record), gate)


def _judged(record: Record) -> Iterator[Verdict]:
    for each in record.evidence:
        if each.invariant == judge.NOT_VACUOUS:
            yield exercised(each, {*record.faults, *record.not_available})
        else:
            verdict = judge.verdict(each, ways=WAYS)
            yield powerless.resting(verdict, record.power_losses, record.not_available)


def exercised(found: Evidence, chosen: Collection[str]) -> Verdict:
    """Return whether the run saw all that the chosen faults can bring about; the others are told."""
    not_chosen = {what: fault for what in found.seen if (fault := _takes(what)) and fault not in chosen}
    seen = {what: count for what, count in found.seen.items() if count or what not in not_chosen}
    verdict = judge.verdict(replace(found, seen=seen), ways=WAYS)
    left_out = [what for what in not_chosen if what not in seen]
    if not left_out:
        return verdict
    faults = " and ".join(sorted({not_chosen[what].value for what in left_out}))
    told = f"{verdict.sentence}; {faults} not chosen, so not asked for: {', '.join(left_out)}"
    return replace(verdict, sentence=told)


def _takes(what: str) -> Fault | None:
    return Fault.KILL if what.startswith("kills inside") else TAKES.get(what)


def side_effects_verdict(record: Record) -> Verdict:
    """Return whether every execution was of a claim that was given, and no job was done twice at once."""
    if record.clashes:
        more = record.clash_count - 1
        others = f" (and {more:,} more)" if more else ""
        sentence = f"{record.clashes[0].sentence}{others}"
        return Verdict(invariant=PROMISE, verdict=Finding.VIOLATED, sentence=sentence)
    if not record.executions:
        return Verdict(invariant=PROMISE, verdict=Finding.VACUOUS, sentence="no job was worked on")
    outlived = record.outlived
    late = f"; {outlived:,} outlived their lease while another worked, as they may" if outlived else ""
    held = f"executions: {record.executions:,}; each of a claim that was given, none twice at once{late}"
    return Verdict(invariant=PROMISE, verdict=Finding.HOLDS, sentence=held)


def coverage_verdict(record: Record, *, needed: int) -> Verdict:
    """Return whether every fault struck wherever it can, so often; what is missing is named."""
    reasons = sorted(record.not_available.items())
    missing = [f"{fault} is not available: {reason}" for fault, reason in reasons]
    if not record.faults and not missing:
        missing = ["no fault that strikes single workers was asked for"]
    if empty := [cell for cell in record.applicable if record.matrix.get(cell, 0) < needed]:
        missing.append(f"{_seldom(needed)}: {', '.join(empty)}")
    if record.faults and not record.applicable:
        missing.append("no round was ended")
    if missing:
        return Verdict(invariant=COVERAGE, verdict=Finding.VACUOUS, sentence="; ".join(missing))
    struck, cells = sum(record.matrix.values()), len(record.applicable)
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
    return replace(verdict, verdict=Finding.VACUOUS, sentence=sentence)


def _seldom(needed: int) -> str:
    return "never struck" if needed == 1 else f"struck less than {needed} times"
