"""What does `ssq bench` show? A row a queue and load, the lines that scripts read, and what a gate says."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.text import Text

from ssq_core.queue import BATCH_MAX
from ssq_stress.bench import comparing, task_log
from ssq_stress.bench.comparing import Change, InvalidBaseline
from ssq_stress.bench.figures import result_line
from ssq_stress.bench.load import Load
from ssq_stress.bench.raw import SHORT, limit_of
from ssq_stress.bench.series import Results, Series, timed
from ssq_stress.bench.tiers import TIERS, Judgement, fits, judged
from ssq_stress.command.commands import title
from ssq_stress.command.console import BadInput, bench_shown, say, say_json, width
from ssq_stress.command.door import named_subject, read_file, room_for, writable
from ssq_verify.report.layout import Cell, paragraph, printable, row
from ssq_verify.subject import Subject, safe_name
from ssq_verify.verdict import EXIT_OK, EXIT_VIOLATED
from ssq_verify.whole import write_json

DOCUMENT = "bench.json"
BACKLOGS, WORKERS = (2_000, 20_000), (4,)
HEADS = (
    "queue",
    "backlog",
    "workers",
    "jobs/min",
    "±",
    "p50",
    "p95",
    "p99",
    "p99.9",
    "max",
    "CPU",
    "x first",
)
BATCH_HEAD = "a call"
"""How many jobs: a column where somebody asked for more than one."""
LEFT = 1
"""So many columns are text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What `ssq bench` was asked for."""

    references: Sequence[str]
    backlogs: str | None
    workers: str | None
    claims: int | None
    batches: str | None
    payload_bytes: int
    rate: float | None
    is_filling_shown: bool
    repeat: int
    out: Path
    log_issue: int | None
    tier: int | None
    compare: Path | None
    as_json: bool


def bench(asked: Asked) -> int:
    """Time subjects, and show how fast they were. Raises `BadInput`."""
    subjects, loads = _subjects(asked.references), _loads(asked)
    before = None if asked.compare is None else read_file(asked.compare, comparing.read, InvalidBaseline)
    out = writable(asked.out)
    if not asked.as_json:
        names = ", ".join(label(subject.reference) for subject in subjects)
        often = "once each" if asked.repeat == 1 else f"{asked.repeat} times each"
        say([title("bench", names, often), Text()])
    with room_for(out), bench_shown() as tell:
        results = timed(subjects, loads, repeat=asked.repeat, where=out, tell=tell)
        write_json(results, out / DOCUMENT)
    judgements = _judged(asked.tier, results, subjects)
    changed = _changed(results, before, asked.compare)
    drawn = _drawn(results, out)
    if asked.as_json:
        say_json(_document(results, judgements, changed))
    else:
        say(_lines(results, asked, judgements, changed))
        say(_beyond(subjects, loads))
        say([Text(f"{drawn}: {printable(str(out))}", style="dim")])
    if asked.log_issue is not None:
        logged = _log(asked.log_issue, results, out)
        if not asked.as_json:
            say([Text(f"logged in {printable(logged)}", style="dim")])
    is_red = any(not each.is_passed for each in judgements) or any(each.is_regression for each in changed)
    return EXIT_VIOLATED if is_red or any(each.broken for each in results.series) else EXIT_OK


def label(reference: str) -> str:
    """Return what a subject is called where there is little room."""
    return SHORT.get(reference, reference)


def _subjects(references: Sequence[str]) -> list[Subject]:
    """Return the subjects; one alone is measured against the limit of its backend."""
    subjects = [named_subject(reference) for reference in dict.fromkeys(references)]
    if len(subjects) > 1:
        return subjects
    return [named_subject(limit_of(subjects[0])), subjects[0]]


def _loads(asked: Asked) -> list[Load]:
    tier = None if asked.tier is None else TIERS[asked.tier]
    backlogs = numbers(asked.backlogs, "--backlog", BACKLOGS if tier is None else (tier.backlog,))
    crews = numbers(asked.workers, "--workers", WORKERS if tier is None else (tier.workers,))
    batches = numbers(asked.batches, "--batch", (1,))
    if max(batches) > BATCH_MAX:
        raise BadInput(f"--batch {asked.batches}: a call takes at most {BATCH_MAX:,} jobs")
    loads = [
        Load(
            backlog=backlog,
            workers=workers,
            claims=min(backlog, asked.claims or backlog),
            payload_bytes=asked.payload_bytes,
            batch=batch,
            rate=asked.rate,
        )
        for backlog in backlogs
        for workers in crews
        for batch in batches
    ]
    if tier is not None and not all(fits(tier, load) for load in loads):
        most = f"at most {tier.workers} workers and a backlog of {tier.backlog:,}"
        least = f"at least {tier.workers} workers"
        raise BadInput(
            f"--tier {tier.number} speaks of {most if tier.is_embedded else least}; "
            "leave --workers and --backlog out, or keep to that"
        )
    return loads


def numbers(text: str | None, option: str, default: Sequence[int]) -> Sequence[int]:
    """Return the whole numbers above 0 in a comma-separated list. Raises `BadInput`."""
    if text is None:
        return default
    example = ",".join(map(str, default))
    parts = [part.strip().replace("_", "") for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise BadInput(f"{option} {text}: not a list of numbers above 0; write {option} {example}")
    return [int(part) for part in parts]


def _judged(tier: int | None, results: Results, subjects: Sequence[Subject]) -> list[Judgement]:
    if tier is None:
        return []
    by_name = {subject.reference: subject for subject in subjects}
    return [
        judged(TIERS[tier], series, by_name[series.subject])
        for series in results.series
        if series.subject not in SHORT
    ]


def _changed(results: Results, before: Results | None, path: Path | None) -> list[Change]:
    if before is None:
        return []
    try:
        return comparing.changes(results, before)
    except InvalidBaseline as error:
        raise BadInput(f"{path}: {error}") from error


def _drawn(results: Results, out: Path) -> str:
    """Draw the plots, if that can be done, and say what is then in the folder."""
    from ssq_stress.bench import plots  # noqa: PLC0415 - slow to load

    try:
        plots.draw(results, out)
    except ImportError:
        return "figures (and plots, after pip install 'ssq[report]')"
    return "figures and plots"


def _document(results: Results, judgements: Sequence[Judgement], changed: Sequence[Change]) -> object:
    extra = {"tier": msgspec.to_builtins(judgements), "changes": msgspec.to_builtins(changed)}
    return msgspec.to_builtins(results) | extra


def _lines(
    results: Results, asked: Asked, judgements: Sequence[Judgement], changed: Sequence[Change]
) -> Iterator[Text]:
    yield from table(results.series)
    yield Text()
    yield from paragraph(
        "claim latency in ms, CPU in microseconds of the workers a job; medians of "
        f"{results.repeat}, ± half the spread; {results.environment.sentence}",
        width=width(),
        style="dim",
    )
    yield Text()
    for series in results.series:
        if asked.is_filling_shown:
            figures = series.median
            yield Text(
                f"{_told(series)}: {figures.enqueued:,} enqueued, {figures.enqueues_s:,.0f} a second "
                f"by {series.workers} producers"
            )
        yield Text(f"{_told(series)}: {_result(series)}")
        if series.median.batch < series.batch:
            yield Text(f"{label(series.subject)} takes one job a call, and was measured so", style="dim")
        if series.broken:
            text = f"{label(series.subject)} broke {', '.join(series.broken)}: its figures do not count"
            yield Text(text, style="bold red")
    yield Text()
    yield from _gates(judgements, changed)


def _beyond(subjects: Sequence[Subject], loads: Sequence[Load]) -> Iterator[Text]:
    """Yield a line for each queue that is timed in more processes than it is made for, broken or not."""
    workers = max(load.workers for load in loads)
    for subject in subjects:
        if subject.promises.processes == "one" and workers > 1:
            what = f"it promises to work in one process, and was timed in {workers}: only --workers 1 counts"
            yield Text(f"{label(subject.reference)}: {what}", style="bold red")


def _gates(judgements: Sequence[Judgement], changed: Sequence[Change]) -> Iterator[Text]:
    for each in judgements:
        told = "pass" if each.is_passed else f"fail: {'; '.join(each.missed)}"
        what = f"tier {each.tier}, {each.subject}, {each.workers} workers, backlog {each.backlog:,}: {told}"
        yield Text(what, style="green" if each.is_passed else "bold red")
        if each.advice:
            yield Text(each.advice)
    for change in changed:
        what = (
            f"{label(change.subject)}, backlog {change.backlog:,}, {change.workers} workers: "
            f"{change.before:.3f} of the first before, {change.now:.3f} now"
        )
        yield Text(f"{what}: slower", style="bold red") if change.is_regression else Text(what)


def table(series: Sequence[Series]) -> Iterator[Text]:
    """Yield a head and a row for each series."""
    with_batch = any(each.batch > 1 for each in series)
    heads = [*HEADS[:3], BATCH_HEAD, *HEADS[3:]] if with_batch else list(HEADS)
    rows = [_cells(each, with_batch=with_batch) for each in series]
    widths = [max(len(cells[place]) for cells in [heads, *rows]) for place in range(len(heads))]
    yield _row(heads, widths, "dim")
    for each, cells in zip(series, rows, strict=True):
        yield _row(cells, widths, "red" if each.broken else "")


def _row(cells: list[str], widths: list[int], style: str) -> Text:
    padded = [
        cell.ljust(size) if place < LEFT else cell.rjust(size)
        for place, (cell, size) in enumerate(zip(cells, widths, strict=True))
    ]
    return row([Cell(text=text, style=style) for text in padded], widths)


def _told(series: Series) -> str:
    """Return what a series is called: its subject, and how many jobs a call was about if not one."""
    batch = series.median.batch
    return label(series.subject) if batch == 1 else f"{label(series.subject)}, {batch} a call"


def _cells(series: Series, *, with_batch: bool) -> list[str]:
    figures, claim = series.median, series.median.claim
    spread = (series.fastest_jobs_min - series.slowest_jobs_min) / 2 / (figures.jobs_min or 1.0)
    latencies = (claim.p50_ms, claim.p95_ms, claim.p99_ms, claim.p999_ms, claim.max_ms)
    return [
        label(series.subject),
        f"{series.backlog:,}",
        str(series.workers),
        *([str(figures.batch)] if with_batch else []),
        f"{figures.jobs_min:,.0f}",
        f"{spread:.0%}",
        *(f"{each:.3f}" if each < 1 else f"{each:.1f}" for each in latencies),
        f"{1e6 * figures.cpu_s / max(1, figures.claims):.0f}",
        f"{series.times_first:.2f}",
    ]


def _result(series: Series) -> str:
    load = Load(backlog=series.backlog, workers=series.workers)
    return result_line(series.median, load)


def _log(number: int, results: Results, out: Path) -> str:
    names = ", ".join(label(name) for name in dict.fromkeys(each.subject for each in results.series))
    lines = [str(line).rstrip() for line in table(results.series)]
    results_lines = [f"{_told(each)}: {_result(each)}" for each in results.series]
    verdicts = [f"{label(each.subject)}: {_kept(each)}" for each in results.series]
    text = task_log.block(
        title=f"bench {names}",
        command=["ssq", *sys.argv[1:]],
        key_output=[*lines, "", *results_lines],
        evidence=[results.environment.sentence, *verdicts, f"{safe_name(out.name)}/{DOCUMENT}"],
        at=datetime.now(UTC),
    )
    return str(task_log.append(number, text))


def _kept(series: Series) -> str:
    return f"broke {', '.join(series.broken)}" if series.broken else "each job once, none lost, in every run"
