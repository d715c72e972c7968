"""How are rows drawn so that it can be seen who did what when? In a column for each worker, if they fit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.text import Text

from ssq_verify.report.layout import GAP, WIDTH, Cell, row, shortened

MARK = "✗ here"
COLUMN_MIN = 12
FIRST, LAST = "setup", "drain"
"""Who prepares the queue, and who comes when all is over, have the first and the last column."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One thing that one worker did, and what came of it."""

    time_ns: int
    """When it returned, since the run began."""
    worker: str
    text: str
    is_witness: bool
    is_break: bool = False
    """Here the promise broke."""
    reaches: bool = False
    """It may be longer than its column is wide."""
    short: str = ""
    """The text with no more of an error than its type."""


def drawn(told: Sequence[Row], *, width: int = WIDTH) -> list[Text]:
    """Draw rows in a column for each worker; where that's too wide, in one column with the workers' names.

    What is told of a stop or a fault may reach into the columns to its right: nobody else is told of there.
    """
    shortened_ones = [replace(each, text=each.short or each.text) for each in told]
    in_columns = _drawn_in_columns(told, width) or _drawn_in_columns(shortened_ones, width)
    return in_columns or _drawn_narrow(told, width)


def _drawn_in_columns(told: Sequence[Row], width: int) -> list[Text] | None:
    """Draw rows in columns, None if they are too wide for that."""
    workers = sorted({each.worker for each in told}, key=_column)
    columns = [_width(worker, [each for each in told if each.worker == worker]) for worker in workers]
    times = [seconds(each.time_ns) for each in told]
    time_width = max((len(time) for time in times), default=0)
    starts = [time_width + GAP + sum(columns[:place]) + GAP * place for place in range(len(workers) + 1)]
    reach = [starts[workers.index(each.worker)] + len(each.text) + GAP for each in told]
    mark_at = max([starts[-1], *(end for each, end in zip(told, reach, strict=True) if each.is_break)])
    if max([mark_at + len(MARK), *(end - GAP for end in reach)]) > width:
        return None
    heading = [Cell(text=""), *(Cell(text=worker, style="dim") for worker in workers)]
    lines = [row(heading, (time_width, *columns))]
    for each, time in zip(told, times, strict=True):
        line = Text(no_wrap=True, overflow="ignore").append(time.rjust(time_width), style="dim")
        line.append(" " * (starts[workers.index(each.worker)] - time_width))
        line.append(each.text, style=_style(each))
        if each.is_break:
            line.append(" " * (mark_at - cell_len(line.plain))).append(MARK, style="bold red")
        lines.append(line)
    return lines


def _column(worker: str) -> tuple[bool, bool, int, str]:
    """Return what orders the columns."""
    return worker == LAST, worker != FIRST, len(worker), worker


def _width(worker: str, told: Sequence[Row]) -> int:
    """Return how wide a worker's column is: what may reach further does not count."""
    return max(len(worker), COLUMN_MIN, *(0 if each.reaches else len(each.text) for each in told))


def seconds(time_ns: int) -> str:
    """Return a time in seconds to one decimal, cut and not rounded: what came before 60 s stays before."""
    return f"{time_ns // 100_000_000 / 10:.1f} s"


def _drawn_narrow(told: Sequence[Row], width: int) -> list[Text]:
    times = [seconds(each.time_ns) for each in told]
    time_width = max((len(time) for time in times), default=0)
    name_width = max((len(each.worker) for each in told), default=0)
    text_width = width - time_width - name_width - len(MARK) - 3 * GAP
    widths = (time_width, name_width, text_width, len(MARK))
    return [
        row(
            (
                Cell(text=time.rjust(time_width), style="dim"),
                Cell(text=each.worker, style="dim"),
                Cell(text=shortened(each.text, length=text_width), style=_style(each)),
                Cell(text=MARK if each.is_break else "", style="bold red"),
            ),
            widths,
        )
        for each, time in zip(told, times, strict=True)
    ]


def _style(each: Row) -> str:
    if each.is_break:
        return "bold red"
    return "" if each.is_witness else "dim"
