"""The limits that a sweep over clocks and pauses found, beside what was promised."""

import math
from collections.abc import Iterator

from rich.text import Text

from ssq_verify.report.layout import WIDTH, Cell, paragraph, row
from ssq_verify.report.table import STYLES
from ssq_verify.skew import Limit, SkewReport
from ssq_verify.verdict import Finding

MILLI = 1_000
NAME_WIDTH, NUMBER_WIDTH = 30, 17


def skew_lines(report: SkewReport, *, width: int = WIDTH) -> list[Text]:
    """Return the results as lines, at most `width` wide."""
    if report.not_measured is not None:
        return paragraph(f"not measured: {report.not_measured}", width=width, style="yellow")
    return [
        *paragraph("How far may two workers' clocks differ, before one job has two holders?", width=width),
        Text(),
        *_clock_rows(report),
        Text(),
        *_verdict(report, width),
        *_told(report, width),
        Text(),
        *paragraph("How long may a holder stand still, before another worker gets its job?", width=width),
        Text(),
        *_pause_lines(report, width),
    ]


def _clock_rows(report: SkewReport) -> Iterator[Text]:
    yield _cells("", "one holder up to", "two from", "schedules", style="dim")
    for each in report.clocks:
        yield _cells(each.direction, *_bounds(each.limit), f"{each.schedules:,}")
    promised = report.promised_seconds
    formula = f"the formula, with E = {_seconds(report.asked_seconds)}"
    yield _cells("promised", "any" if promised is None else _floor(promised), style="dim")
    yield _cells(formula, _floor(report.asked_seconds), style="dim")


def _verdict(report: SkewReport, width: int) -> Iterator[Text]:
    measured, promised = report.measured_seconds, report.promised_seconds
    if measured is None:
        yield from _finding(Finding.VIOLATED, "not even with right clocks has a job one holder", width)
    elif not report.holds_as_promised:
        owed = "any difference" if promised is None else _floor(promised)
        what = f"single-claimer holds up to {_floor(measured)}; promised is {owed}"
        yield from _finding(Finding.VIOLATED, what, width)
    elif promised is None:
        yield from _finding(Finding.HOLDS, "single-claimer, whatever the difference", width)
    else:
        more = measured - promised
        further = f", and {_floor(more)} further" if more >= 2 / MILLI else ", and no further"
        yield from _finding(Finding.HOLDS, f"single-claimer, as far as promised{further}", width)
    if report.broken:
        yield from _finding(Finding.VIOLATED, f"{_listed(report.broken)}; no clock excuses that", width)


def _told(report: SkewReport, width: int) -> Iterator[Text]:
    """Say how it breaks, where it first does, and what the formula is."""
    broken = [each for each in report.clocks if each.sentence is not None]
    for each in broken[:1]:
        at = _ceiling(each.limit.breaks or 0.0)
        yield from paragraph(f"With {each.direction} by {at}: {each.sentence}.", width=width, style="dim")
    if broken and not report.broken:
        far = _seconds(report.tried_seconds)
        beyond = f"Beyond, up to {far}, nothing is lost, and only the current holder's ack counts."
        yield from paragraph(beyond, width=width, style="dim")
    formula = "The formula: a claimer waits until its own clock is past the end of the lease by E."
    yield from paragraph(formula, width=width, style="dim")


def _pause_lines(report: SkewReport, width: int) -> Iterator[Text]:
    pause = report.pause
    assert pause is not None
    yield _cells("", "its own up to", "another's from", "schedules", style="dim")
    yield _cells("the holder paused", *_bounds(pause.limit), f"{pause.schedules:,}")
    yield _cells("lease + E", _floor(report.lease_ttl_seconds + report.asked_seconds), style="dim")
    yield Text()
    if pause.broken:
        yield from _finding(Finding.VIOLATED, f"{_listed(pause.broken)}; no pause excuses that", width)
        return
    refused = f": the late ack is refused ({pause.refused:,} times)" if pause.refused else ""
    rest = "Paused at each point inside their operations, workers broke nothing."
    yield from _finding(Finding.HOLDS, f"after that the job is another's, as it should be{refused}", width)
    yield from paragraph(rest, width=width, style="dim")


def _finding(finding: Finding, text: str, width: int) -> Iterator[Text]:
    for number, line in enumerate(paragraph(f"{finding.value}: {text}", width=width)):
        if number == 0:
            line.stylize(STYLES[finding], 0, len(finding.value))
        yield line


def _cells(name: str, *numbers: str, style: str = "") -> Text:
    padded = [Cell(text=f"{number:>{NUMBER_WIDTH}}", style=style) for number in numbers]
    return row([Cell(text=f"  {name}", style=style), *padded], [NAME_WIDTH, *(NUMBER_WIDTH for _ in padded)])


def _bounds(limit: Limit) -> tuple[str, str]:
    return (
        "none" if limit.holds is None else _floor(limit.holds),
        "not found" if limit.breaks is None else _ceiling(limit.breaks),
    )


def _floor(seconds: float) -> str:
    return f"{math.floor(round(seconds * MILLI, 3)) / MILLI:.3f} s"


def _ceiling(seconds: float) -> str:
    return f"{math.ceil(round(seconds * MILLI, 3)) / MILLI:.3f} s"


def _seconds(seconds: float) -> str:
    return f"{seconds:g} s"


def _listed(names: tuple[str, ...]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
