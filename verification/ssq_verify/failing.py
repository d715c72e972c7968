"""What does a test say when a queue broke a promise? One exception type per invariant, with the story.

Hypothesis tells failures apart by the type of their exception, and so shrinks each invariant's by itself.
"""

from functools import cache
from pathlib import Path

from ssq_verify.history import History
from ssq_verify.judge import judge
from ssq_verify.report.layout import command_line
from ssq_verify.report.story import story
from ssq_verify.repro import repro, save
from ssq_verify.scenario import Scenario
from ssq_verify.subject import Subject, safe_name
from ssq_verify.verdict import Violation

REPROS = Path(".ssq/repros")
"""Where a failing test leaves its repro, under the folder that it runs in."""

WAYS = ("model",)


class InvariantViolated(AssertionError):  # noqa: N818 - it names what is violated
    """The queue broke a promise; the message is the story and how to replay it."""

    def __init__(self, violation: Violation, message: str) -> None:
        super().__init__(message)
        self.violation = violation


def raise_violated(subject: Subject, scenario: Scenario, history: History, *, folder: Path = REPROS) -> None:
    """Judge a history; raise the `InvariantViolated` of the first broken invariant, its repro written."""
    for verdict in judge(history, ways=WAYS):
        violation = verdict.violation
        if violation is None:
            continue
        path = folder / safe_name(subject.reference) / f"{violation.invariant}.json"
        save(repro(subject, scenario, violation, history), path)
        told = "\n".join(line.plain.rstrip() for line in story(history, violation))
        raise violated(violation.invariant)(violation, f"{told}\n\n{command_line('ssq', 'replay', path)}")


def judged(history: History) -> None:
    """Raise the bare `InvariantViolated` of the first invariant that a history breaks; writes no repro."""
    for verdict in judge(history, ways=WAYS):
        if verdict.violation is not None:
            raise violated(verdict.invariant)(verdict.violation, verdict.sentence)


@cache
def violated(invariant: str) -> type[InvariantViolated]:
    """Return the exception type of an invariant: `FencingViolated` for `fencing`."""
    words = "".join(word.capitalize() for word in invariant.split("-"))
    return type(f"{words}Violated", (InvariantViolated,), {"__doc__": f"The queue broke `{invariant}`."})
