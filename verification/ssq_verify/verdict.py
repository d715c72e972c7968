"""What the judge says: one verdict for each invariant, and for a violation the few events that show it."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from ssq_verify.history import Event


class Finding(StrEnum):
    """The five things that can be said of an invariant; never green by silence."""

    HOLDS = "holds"
    VIOLATED = "violated"
    NOT_OFFERED = "not offered"
    """The queue does not promise it."""
    VACUOUS = "vacuous"
    """The run could not have shown a violation."""
    UNKNOWN = "unknown"
    """A limit was reached; the sentence names it."""


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which a history breaks an invariant."""

    invariant: str
    run: int
    job_id: str | None
    sentence: str
    """What happened, in plain words: job, workers, seconds."""
    witness: tuple[Event, ...]
    """The few events that show it, in order."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What some runs say of one invariant; evidence from many is put together before a verdict is given."""

    invariant: str
    is_offered: bool = True
    violation: Violation | None = None
    limit: str | None = None
    """What left it open."""
    seen: dict[str, int] = {}
    """In how many situations a violation could have shown, by name where there are several kinds."""
    inside: tuple[str, ...] = ()
    """Those of the kinds that take concurrency."""
    most: int | None = None
    """The largest of what is measured besides."""


def together(evidence: Sequence[Evidence]) -> Evidence:
    """Put evidence on one invariant together: the violation with the shortest witness, the first limit."""
    seen: dict[str, int] = {}
    for each in evidence:
        for what, count in each.seen.items():
            seen[what] = seen.get(what, 0) + count
    violations = [each.violation for each in evidence if each.violation is not None]
    measured = [each.most for each in evidence if each.most is not None]
    return Evidence(
        invariant=evidence[0].invariant,
        is_offered=any(each.is_offered for each in evidence),
        violation=min(violations, key=lambda violation: len(violation.witness), default=None),
        limit=next((each.limit for each in evidence if each.limit is not None), None),
        seen=seen,
        inside=evidence[0].inside,
        most=max(measured, default=None),
    )


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a run says of one invariant."""

    invariant: str
    verdict: Finding
    sentence: str
    violation: Violation | None = None
    """The one with the shortest witness, if violated."""
    needs: str | None = None
    """The way of making histories that could show more: "simulation" or "stress"."""
    repro: str | None = None
    """The file that replays the violation."""
    also: tuple[str, ...] = ()
    """Files that replay violations with other causes."""


def refused(found: Evidence) -> Verdict:
    """Return the verdict of evidence that has a violation, or else a limit."""
    if found.violation is None:
        assert found.limit is not None
        return Verdict(invariant=found.invariant, verdict=Finding.UNKNOWN, sentence=found.limit)
    return Verdict(
        invariant=found.invariant,
        verdict=Finding.VIOLATED,
        sentence=found.violation.sentence,
        violation=found.violation,
    )


EXIT_OK, EXIT_VIOLATED, EXIT_UNDECIDED, EXIT_USAGE, EXIT_HARNESS = 0, 1, 3, 64, 70


def exit_code(verdicts: tuple[Verdict, ...], *, by_name: bool = False) -> int:
    """Return the process's exit code: 1 if any is violated, else 3 if any is undecided, else 0.

    A verdict that needs another way of testing is stated, and does not count as undecided; it does where
    the invariants were asked for `by_name`: an answer of 0 to that question would be green by silence.
    """
    findings = {
        verdict.verdict
        for verdict in verdicts
        if by_name or verdict.needs is None or verdict.verdict is Finding.VIOLATED
    }
    if Finding.VIOLATED in findings:
        return EXIT_VIOLATED
    return EXIT_UNDECIDED if findings & {Finding.VACUOUS, Finding.UNKNOWN} else EXIT_OK
