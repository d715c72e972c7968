"""Does a queue keep its promises? `verify` generates runs, judges them together, shrinks what it found."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ssq_verify import history as history_module
from ssq_verify.execution import execute, scratch
from ssq_verify.failing import WAYS
from ssq_verify.generation import Effort, generate, keep, replay_kept
from ssq_verify.history import History, joined
from ssq_verify.judge import judge
from ssq_verify.machine import Example
from ssq_verify.repro import repro, save, violations
from ssq_verify.scenario import SEED, Scenario
from ssq_verify.shrink import shrink_scenario
from ssq_verify.subject import Subject
from ssq_verify.verdict import Verdict, Violation


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """How hard to try."""

    effort: Effort
    tries_max: int
    """In shrinking each violation."""
    replays_kept: bool
    """Whether what failed in earlier runs here is tried, too; the runs then depend on more than the seed."""


PROFILES = {
    "quick": Profile(
        effort=Effort(examples=250, steps=20, seconds_max=30.0), tries_max=400, replays_kept=True
    ),
    "ci": Profile(
        effort=Effort(examples=800, steps=30, seconds_max=90.0), tries_max=1_000, replays_kept=False
    ),
    "nightly": Profile(
        effort=Effort(examples=50_000, steps=50, seconds_max=3_600.0), tries_max=10_000, replays_kept=True
    ),
}
"""On two idle cores `quick` takes about 5 s and `ci` about 15 s.

The number of examples ends a run, so that a seed gives the same runs on every machine; the seconds are for a
machine or a queue that is out of the ordinary, and a run that they cut short says so.
"""

KEEP_SECONDS_MAX = 1.0
"""For putting one failing example into Hypothesis' database."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a phase has come."""

    phase: str
    done: int
    total: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that a verification says."""

    subject: str
    seed: int
    profile: str
    ways: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    explored: dict[str, int]
    """How much was tried, by name."""
    out: str
    """The folder with history, verdicts and repros."""


def verify(
    subject: Subject,
    *,
    profile: str,
    seed: int | None,
    only: Collection[str] | None,
    out: Path,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Report:
    """Verify a subject, and write `history.jsonl`, `verdicts.json` and `repros/` in the folder `out`.

    Raises `SubjectFailed` if the subject can not be opened, `OSError` if `out` can not be written.
    """
    chosen, seed = PROFILES[profile], SEED if seed is None else seed
    total = chosen.effort.examples
    examples = generate(
        subject, chosen.effort, seed=seed, tick=lambda done: progress(_at("generating", done, total))
    )
    generated = len(examples)
    if chosen.replays_kept:
        examples += replay_kept(subject, chosen.effort)
    history = joined([example.history for example in examples])
    progress(_at("judging", 0, 1))
    verdicts = judge(history, ways=WAYS, only=only)
    broken = [verdict.invariant for verdict in verdicts if verdict.violation is not None]
    found: dict[str, Verdict] = {}
    for number, verdict in enumerate(verdict for verdict in verdicts if verdict.violation is not None):
        progress(_at(f"shrinking {verdict.invariant}", number, len(broken)))
        run, example = _plainest(history, examples, verdict.invariant)
        if run < generated:
            _keep(subject, chosen, example, verdict, seed)
        found[verdict.invariant] = _shrunk(subject, example.scenario, verdict, chosen, out)
    report = Report(
        subject=subject.reference,
        seed=seed,
        profile=profile,
        ways=WAYS,
        verdicts=tuple(found.get(verdict.invariant, verdict) for verdict in verdicts),
        explored=_explored(examples, total),
        out=str(out),
    )
    _write(report, history, out)
    return report


def _at(phase: str, done: int, total: int) -> Progress:
    return Progress(phase=phase, done=done, total=total)


def _plainest(history: History, examples: list[Example], invariant: str) -> tuple[int, Example]:
    """Return the run with the fewest steps of those that break the invariant."""
    runs = sorted({violation.run for violation in violations(history, invariant)})
    run = min(runs, key=lambda number: len(examples[number].scenario.steps))
    return run, examples[run]


def _shrunk(subject: Subject, scenario: Scenario, verdict: Verdict, profile: Profile, out: Path) -> Verdict:
    def failing(candidates: Sequence[Scenario]) -> Collection[int]:
        history = joined([_executed(subject, candidate) for candidate in candidates])
        return {violation.run for violation in violations(history, verdict.invariant)}

    smallest = shrink_scenario(scenario, failing, tries_max=profile.tries_max)
    history = _executed(subject, smallest)
    violation = _shortest(violations(history, verdict.invariant))
    path = out / "repros" / f"{verdict.invariant}.json"
    save(repro(subject, smallest, violation, history), path)
    return msgspec.structs.replace(verdict, violation=violation, sentence=violation.sentence, repro=str(path))


def _executed(subject: Subject, scenario: Scenario) -> History:
    with scratch() as workdir:
        return execute(scenario, subject, workdir)


def _shortest(found: Sequence[Violation]) -> Violation:
    return min(found, key=lambda violation: len(violation.witness))


def _keep(subject: Subject, profile: Profile, example: Example, verdict: Verdict, seed: int) -> None:
    assert verdict.violation is not None
    effort = replace(profile.effort, seconds_max=KEEP_SECONDS_MAX)
    keep(subject, effort, example.scenario, verdict.violation, seed=seed)


def _explored(examples: list[Example], wanted: int) -> dict[str, int]:
    tally: Counter[str] = Counter({"examples": len(examples)})
    for example in examples:
        tally.update(example.tally)
    if len(examples) < wanted:
        tally["examples cut by time"] = wanted - len(examples)
    return {name: count for name, count in tally.items() if count}


def _write(report: Report, history: History, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    history_module.write(history, out / "history.jsonl")
    encoded = msgspec.json.format(msgspec.json.encode(report), indent=2)
    (out / "verdicts.json").write_bytes(encoded + b"\n")
