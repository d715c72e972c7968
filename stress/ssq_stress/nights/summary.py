"""What stands there in the morning? A page of Markdown: verdicts, failures by rank, commands, strikes."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from ssq_stress.faults import Phase
from ssq_stress.nights.night import FOLDER
from ssq_stress.nights.ranking import Failure
from ssq_stress.nights.standing import Standing
from ssq_stress.nights.watches import conditions
from ssq_stress.nights.watches import seed as seed_of
from ssq_stress.power import powerless
from ssq_stress.processes.effects import PROMISE
from ssq_stress.report import Report
from ssq_verify.report.layout import command_line, printable
from ssq_verify.report.table import finding
from ssq_verify.verdict import Verdict

NAME = "summary.md"
HOUR = 3_600
MARKDOWN = str.maketrans({each: f"\\{each}" for each in "\\`*_|<>[]"})
"""What a queue names may hold anything, and must not become a table's border."""


def summary(report: Report, night: Standing, *, seconds_asked: float, counts: Iterable[str]) -> str:
    """Return the page."""
    lasted = f"{watches(night.watches)} in {_time(night.seconds)} of {_time(seconds_asked)}"
    return "\n".join([
        f"# ssq stress {_plain(report.subject)}: {_outcome(report.verdicts, night)}",
        "",
        f"{lasted} · profile {report.profile} · seed {report.seed}",
        "",
        *_verdicts(report.verdicts),
        *_failures(report, night),
        *_matrix(report),
        "## What was done",
        "",
        *(f"- {count}" for count in counts),
        *(f"- {fault} is not available: {_plain(why)}" for fault, why in report.not_available.items()),
        *_failed(night),
        "",
    ])  # fmt: skip


def commands(failure: Failure, night: Standing, out: Path) -> list[str]:
    """Return what shows a failure again: the surest first."""
    found, again = night.repro_of(failure.invariant), night.again_of(failure.invariant)
    shown = [command_line("ssq", "replay", found)] if found is not None else []
    shown += [command_line("ssq", "replay", again.path)] if again is not None else []
    for sighting in failure.sightings:
        folder = out / FOLDER / f"{sighting.watch:04d}"
        histories = [folder / name for name in ("history.jsonl", powerless.HISTORY)]
        # Side effects are no part of a history.
        which = [] if failure.invariant == PROMISE else ["--invariants", failure.invariant]
        shown += [command_line("ssq", "check", path, *which) for path in histories if path.is_file()]
    return shown


def told(failure: Failure, night: Standing, *, seed: int) -> list[str]:
    """Return what is known of a failure: how often it came, in which watch, and how often it comes again."""
    number = failure.sightings[0].watch
    which = f"{conditions(number).name}, seed {seed_of(seed, number)}"
    times = f"in {failure.count} of {watches(night.watches)}, told by watch {number} ({which})"
    again = night.again_of(failure.invariant)
    return [times, *([] if again is None else [again.told])]


def _outcome(verdicts: Iterable[Verdict], night: Standing) -> str:
    cells = [finding(verdict).text for verdict in verdicts]
    counted = {text: cells.count(text) for text in dict.fromkeys(cells)}
    so_far = "" if night.interrupted is None else "interrupted; "
    return so_far + ", ".join(f"{count} {text}" for text, count in sorted(counted.items()))


def _verdicts(verdicts: Iterable[Verdict]) -> Iterator[str]:
    yield from ("## Verdicts", "", "| invariant | verdict | what was seen |", "| --- | --- | --- |")
    for each in verdicts:
        yield f"| {each.invariant} | {finding(each).text} | {_plain(each.sentence)} |"
    yield ""


def _failures(report: Report, night: Standing) -> Iterator[str]:
    if not night.failures:
        return
    yield from ("## Failures, by rank", "")
    for place, failure in enumerate(night.failures, start=1):
        yield from (f"### {place}. {failure.invariant}", "", _plain(failure.sentence), "")
        yield from (f"- {_plain(line)}" for line in told(failure, night, seed=report.seed))
        yield from (f"- what its witness shows: {', '.join(map(_plain, failure.shape))}", "")
        yield from ("```", *map(printable, commands(failure, night, Path(report.out))), "```", "")


def _matrix(report: Report) -> Iterator[str]:
    able = set(report.applicable)
    yield from (
        "## What struck where",
        "",
        f"| fault | {' | '.join(Phase)} |",
        "| --- |" + " ---: |" * len(Phase),
    )
    for fault in report.faults:
        keys = [f"{fault} while {phase}" for phase in Phase]
        cells = [str(report.matrix.get(key, 0)) if key in able else "-" for key in keys]
        yield f"| {fault} | {' | '.join(cells)} |"
    yield ""


def _failed(night: Standing) -> Iterator[str]:
    if night.failed_count:
        yield from ("", "## Watches that failed", "")
        yield from (f"- {_plain(each)}" for each in night.failed)
        if more := night.failed_count - len(night.failed):
            yield f"- and {more} more"


def watches(count: int) -> str:
    """Return how many there were, in words."""
    return f"{count} watch" if count == 1 else f"{count} watches"


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= HOUR else f"{seconds / 60:.1f} min"


def _plain(text: str) -> str:
    return printable(text).translate(MARKDOWN)
