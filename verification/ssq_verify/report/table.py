"""The table of verdicts: one row for each invariant, and a line that counts them."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.text import Text

from ssq_verify.report.layout import GAP, WIDTH, Cell, paragraph, rounded, row, wrapped
from ssq_verify.verdict import Finding, Verdict

STYLES = {
    Finding.HOLDS: "green",
    Finding.VIOLATED: "bold red",
    Finding.NOT_OFFERED: "dim",
    Finding.VACUOUS: "yellow",
    Finding.UNKNOWN: "yellow",
}
HEADINGS = (
    Cell(text="invariant", style="dim"),
    Cell(text="verdict", style="dim"),
    Cell(text="what was seen", style="dim"),
)
EXPLORED = (
    "examples",
    "operations",
    "claims",
    "reclaims",
    "dead letters",
    "crashes",
    "wrong clocks",
    "examples cut by time",
)
RACED = ("schedules", "different histories")
FAULTS = ("kills", "power losses", "pauses", "I/O errors")
"""What of a run's counts is told; the others are finer than a person wants."""
INVARIANT_WIDTH, VERDICT_WIDTH = 17, 16


def verdict_table(verdicts: Sequence[Verdict], *, width: int = WIDTH) -> list[Text]:
    """Return the table's lines, in the order of the verdicts, at most `width` wide."""
    sentence_width = width - INVARIANT_WIDTH - VERDICT_WIDTH - 2 * GAP
    widths = (INVARIANT_WIDTH, VERDICT_WIDTH, sentence_width)
    lines = [row(HEADINGS, widths)]
    for verdict in verdicts:
        first, *rest = wrapped(rounded(verdict.sentence), width=sentence_width)
        quiet = "dim" if is_for_another_way(verdict) or verdict.verdict is Finding.NOT_OFFERED else ""
        lines.append(
            row((Cell(text=verdict.invariant), finding(verdict), Cell(text=first, style=quiet)), widths)
        )
        lines.extend(
            row((Cell(text=""), Cell(text=""), Cell(text=line, style=quiet)), widths) for line in rest
        )
    return lines


def finding(verdict: Verdict) -> Cell:
    """Return what a verdict says in a word or two; one that this way can't reach names the way that can."""
    if is_for_another_way(verdict):
        return Cell(text=f"needs {verdict.needs}", style="dim")
    return Cell(text=verdict.verdict.value, style=STYLES[verdict.verdict])


def is_for_another_way(verdict: Verdict) -> bool:
    """Whether the run could not have shown it, and names the way of testing that can."""
    return verdict.needs is not None and verdict.verdict in {Finding.VACUOUS, Finding.UNKNOWN}


def summary(verdicts: Sequence[Verdict]) -> Text:
    """Return the line under the table: how many invariants got which verdict."""
    cells = [finding(verdict) for verdict in verdicts]
    counted = Counter(cell.text for cell in cells)
    style = {cell.text: cell.style for cell in cells}
    line = Text(no_wrap=True, overflow="ignore")
    for text, count in sorted(counted.items(), key=lambda item: _rank(item[0])):
        line.append(" · " if line else "").append(f"{count} {text}", style=style[text])
    return line


def explored_lines(
    explored: Mapping[str, int], raced: Mapping[str, int], *, width: int = WIDTH
) -> list[Text]:
    """Return how much was tried in turns and in races, as lines; the JSON document has the rest."""
    in_turns = {name: explored.get(name, 0) for name in EXPLORED}
    racing = {name: raced.get(name, 0) for name in RACED} | _faults(raced)
    lines = []
    for way, counts in (("in turns: ", in_turns), ("racing: ", racing)):
        told = " · ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        lines += paragraph(way + told, width=width, style="dim") if told else []
    return lines


def _faults(raced: Mapping[str, int]) -> Counter[str]:
    """Return how many faults of each kind struck."""
    faults = Counter[str]()
    for name, count in sorted(raced.items()):
        kind = name.partition(" inside ")[0]
        if kind in FAULTS:
            faults[kind] += count
    return faults


def _rank(text: str) -> int:
    order = [Finding.VIOLATED, Finding.UNKNOWN, Finding.VACUOUS, Finding.HOLDS, Finding.NOT_OFFERED]
    return order.index(Finding(text)) if text in set(order) else len(order)
