"""What the judge says: one verdict for each invariant, and for a violation the few events that show it."""

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
