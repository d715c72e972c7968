"""Is what a real power loss left one of the states that a model of a disk allows?

All states are those that `surviving` gives for some answers. Which entries are left is tried out answer by
answer; what is in the files is not, for each file's content is chosen by itself.
"""

import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssq_verify.simulation.surviving import Model, Past, Tree, surviving, walk

PART = 2
"""The last of the three extents of a loss, of which the other two are special cases."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What is in a folder: each path with its content, None for a folder, and which paths name one file."""

    contents: dict[str, bytes | None]
    links: frozenset[frozenset[str]]


def found(folder: Path) -> Found:
    """Return what is in a real folder."""
    contents: dict[str, bytes | None] = {}
    names: defaultdict[int, set[str]] = defaultdict(set)
    for path in folder.rglob("*"):
        name, details = str(path.relative_to(folder)), path.lstat()
        names[details.st_ino].add(name)
        contents[name] = None if stat.S_ISDIR(details.st_mode) else _content(path)
    return Found(contents=contents, links=frozenset(map(frozenset, names.values())))


def left(tree: Tree) -> Found:
    """Return what is in a tree that a model has left."""
    names: defaultdict[int, set[str]] = defaultdict(set)
    for name, inode in walk(tree.listings, tree.root):
        names[inode].add(name)
    return Found(contents=tree.tree(), links=frozenset(map(frozenset, names.values())))


def allows(past: Past, model: Model, state: Found) -> bool:
    """Whether the model may leave this of that past: paths, contents, and which paths are one file."""
    return any(
        each.links == state.links and _fits(past, model, answers, state)
        for answers, each in _entries(past, model)
    )


def _entries(past: Past, model: Model) -> Iterator[tuple[Sequence[int], Found]]:
    """Yield answers for all that may be left of the entries, with what is left then."""
    answers: list[int] | None = []
    while answers is not None:
        chooser = _Chooser(answers)
        state = left(surviving(past, model, chooser.choose))
        yield chooser.answers, state
        answers = chooser.following()


def _fits(past: Past, model: Model, answers: Sequence[int], state: Found) -> bool:
    """Whether, with these entries, each file may have the content that it has."""
    possible: defaultdict[str, set[bytes | None]] = defaultdict(set)
    place, places = 0, 1
    while place < places:
        chooser = _Chooser(answers, content=place)
        for path, content in surviving(past, model, chooser.choose).tree().items():
            possible[path].add(content)
        places = chooser.contents_max
        place += 1
    return all(content in possible[path] for path, content in state.contents.items())


class _Chooser:
    """Answers what is left of the entries in turn, and of each file takes the content at one place."""

    def __init__(self, answers: Sequence[int], *, content: int = 0) -> None:
        self.answers: list[int] = []
        self.contents_max = 1
        self._given, self._content = answers, content
        self._widths: list[int] = []

    def choose(self, kind: str, options: Sequence[str]) -> int:
        """Return one of the options."""
        if kind == "power loss":
            return PART
        if kind == "content":
            self.contents_max = max(self.contents_max, len(options))
            return min(self._content, len(options) - 1)
        if kind == "folder":
            return 0  # A folder as it was before a change is one of which that and all later ones are undone.
        place = len(self.answers)
        self._widths.append(len(options))
        self.answers.append(self._given[place] if place < len(self._given) else 0)
        return self.answers[place]

    def following(self) -> list[int] | None:
        """Return the answers to try next; None after the last."""
        answers = [*self.answers]
        while answers and answers[-1] + 1 == self._widths[len(answers) - 1]:
            answers.pop()
        return [*answers[:-1], answers[-1] + 1] if answers else None


def _content(path: Path) -> bytes:
    return os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
