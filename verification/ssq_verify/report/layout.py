"""How text is laid out in columns that stay put, on a terminal and in a pipe alike."""

import re
import shlex
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

WIDTH = 100
"""Columns of text, at most; a narrower terminal gets fewer."""
GAP = 2
"""Blanks between two columns."""
_NO_BREAK = "\N{NO-BREAK SPACE}"
_UNIT = re.compile(r"(?<=\d) (?=s\b)")
_TIME = re.compile(r"\b(at|until|before|since|from|for) (\d+(?:\.\d+)?)(?= s\b)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A piece of a row, and how it looks where there is colour."""

    text: str
    style: str = ""


def printable(text: str) -> str:
    """Return the text on one line: a job id may hold anything, a terminal's escape codes too."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def command_line(*words: object) -> str:
    """Return a command that can be copied into a shell, whatever is in the names of its files."""
    return printable(shlex.join(map(str, words)))


def rounded(sentence: str) -> str:
    """Return a sentence with its times cut to tenths of a second, unless two would then look alike."""
    exact = {time for _, time in _TIME.findall(sentence)}
    if len({_cut(time) for time in exact}) < len(exact):
        return sentence
    return _TIME.sub(lambda found: f"{found[1]} {_cut(found[2])}", sentence)


def shortened(text: str, *, length: int) -> str:
    """Return the text, or its beginning and an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


def wrapped(text: str, *, width: int) -> list[str]:
    """Break a text at its blanks into lines of at most `width` characters; a longer word is cut."""
    kept_together = _UNIT.sub(_NO_BREAK, printable(text))
    lines = textwrap.wrap(kept_together, max(width, 12), break_on_hyphens=False)
    return [line.replace(_NO_BREAK, " ") for line in lines] or [""]


def row(cells: Sequence[Cell], widths: Iterable[int]) -> Text:
    """Join cells into one line, each padded to its column's width, with nothing trailing."""
    line = Text(no_wrap=True, overflow="ignore")
    for cell, width in zip(cells, widths, strict=True):
        line.append(cell.text, style=cell.style)
        line.append(" " * (width - cell_len(cell.text) + GAP))
    line.rstrip()
    return line


def _cut(time: str) -> str:
    whole, _, decimals = time.partition(".")
    return f"{whole}.{decimals[:1] or '0'}"


def paragraph(text: str, *, width: int, indent: int = 0, style: str = "") -> list[Text]:
    """Return a text as lines of one style, indented."""
    lines = wrapped(text, width=width - indent)
    return [Text(" " * indent, no_wrap=True, overflow="ignore").append(line, style=style) for line in lines]
