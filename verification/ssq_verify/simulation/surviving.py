"""What of a small folder tree is left when the power fails? A legal part of what was not synced is undone.

The states are those that ALICE names (Pillai et al., All File Systems Are Not Created Equal, OSDI 2014): what
a program did is a series of changes of folder entries and of file contents, and a file system may let some of
them reach the disk without others. Two models of it, between which real ones lie:

- *ordered*, as ext4's journal: changes of entries, and truncations, survive as a prefix of their order, a
  rename between folders as a whole; any fsync makes all earlier ones durable (ext4 asks that what is synced
  has changed since the last commit). Written data come later, if at all.
- *posix*, what the standard promises and no more: each folder is at any of its versions since its own last
  fsync, and of that version each change may be missing; a rename within a folder is one change. Two folders
  know nothing of each other, so of a rename between them either half may be missing. A change survives
  only if the entries that it was made on did: of two renames in a row the second alone would be half of one.

In both, what was written to a file since its last fsync survives up to any write, the next one torn, or there
in size alone (see `torn`). Each state offered must be legal, or a correct queue would be accused; so some
legal ones are left out: writes of one file that change places, garbage in place of data, tears at each byte.
Not followed: extended attributes, owners, `O_SYNC`, and a file that was synced before it had a name.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import takewhile
from typing import NamedTuple

from ssq_verify.simulation.torn import possible_contents

Inode = int
Listing = dict[str, Inode]
Listings = dict[Inode, Listing]
Choose = Callable[[str, Sequence[str]], int]
"""Answers a choice: its kind, its options in words, the plainest first -> the index of one."""


class Model(StrEnum):
    """What a file system promises of what was not synced."""

    ORDERED = "ordered"
    POSIX = "posix"


class Listed(NamedTuple):
    """One call changed entries of one folder; they survive together or not at all."""

    call: int
    folder: Inode
    names: Mapping[str, tuple[Inode | None, Inode | None]]
    """Each name with what it led to before and after; None where there was no such name."""
    text: str
    """For people: `todo: -a +b`."""


class Written(NamedTuple):
    """One call changed the content of a file."""

    call: int
    file: Inode
    content: bytes
    shrinks: bool = False
    """A truncation is a change of the inode: a journal keeps it in order with the entries."""


class Synced(NamedTuple):
    """An fsync of a file or folder has returned."""

    call: int
    inode: Inode


Event = Listed | Written | Synced
Versions = Callable[[Inode], Sequence[Written]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Folders and files, with or without a name."""

    root: Inode
    listings: Listings = field(default_factory=dict)
    contents: dict[Inode, bytes] = field(default_factory=dict)
    """What is in each file; of a symbolic link, its target."""

    def tree(self) -> dict[str, bytes | None]:
        """Return each path within the root with its content, None for a folder; a folder comes first."""
        return {path: self.contents.get(inode) for path, inode in walk(self.listings, self.root)}


class Past(NamedTuple):
    """A durable tree, to which folders and files that came later are added empty, and all that befell it."""

    durable: Tree
    events: Sequence[Event]


def surviving(past: Past, model: Model, choose: Choose) -> Tree:
    """Pick one of the states that a power loss may leave; if all was synced, there is nothing to choose.

    First comes the choice between all, only what was synced, and a part of the rest.
    """
    lose = _ordered if model is Model.ORDERED else _posix
    widths: list[int] = []

    def plainest(_kind: str, options: Sequence[str]) -> int:
        widths.append(len(options))
        return 0

    everything = lose(past, plainest)
    if max(widths, default=1) == 1:
        return everything
    extents = ("all survives", "only what was synced survives", "a part of the rest survives")
    answers: tuple[Choose, ...] = (plainest, lambda _kind, options: len(options) - 1, choose)
    return lose(past, answers[choose("power loss", extents)])


def _ordered(past: Past, choose: Choose) -> Tree:
    """Lose all changes of entries from one call on."""
    durable = max((event.call for event in past.events if isinstance(event, Synced)), default=0)
    pending = _pending(past, durable)
    options = ["all entries", *(f"entries as before {text}" for text in reversed(pending.values()))]
    lost_from = (math.inf, *reversed(pending))[choose("journal", options)]
    kept = [event for event in past.events if isinstance(event, Listed) and event.call < lost_from]
    listings = _applied(past.durable.listings, kept)
    return _named(past, listings, choose, lambda file: _journaled(past, file, lost_from), lost_from)


def _pending(past: Past, durable: int) -> dict[int, str]:
    """Return the calls after the durable one whose order a journal keeps, oldest first, in words."""
    calls: dict[int, list[str]] = {}
    for event in past.events:
        if isinstance(event, Listed) and event.call > durable:
            calls.setdefault(event.call, []).append(event.text)
        elif isinstance(event, Written) and event.shrinks and event.call > durable:
            calls.setdefault(event.call, []).append("a truncation")
    return {call: ", ".join(texts) for call, texts in calls.items()}


def _journaled(past: Past, file: Inode, lost_from: float) -> Sequence[Written]:
    """Return a file's versions from the last truncation that survived to before the first that did not."""
    versions = _versions(past, file)
    kept = list(takewhile(lambda version: not version.shrinks or version.call < lost_from, versions))
    last = max((index for index, version in enumerate(kept) if version.shrinks), default=0)
    return kept[last:]


def _posix(past: Past, choose: Choose) -> Tree:
    """Lose changes of entries folder by folder."""
    listings = past.durable.listings
    changes = [event for event in past.events if isinstance(event, Listed)]
    for folder in dict.fromkeys(change.folder for change in changes):
        own = [change for change in changes if change.folder == folder]
        durable = [change for change in own if change.call <= _synced_at(past, folder)]
        listings = _applied(listings, durable)
        listings = _applied(listings, _some(own[len(durable) :], listings[folder], choose))
    return _named(past, listings, choose, lambda file: _versions(past, file), None)


def _some(changes: Sequence[Listed], now: Listing, choose: Choose) -> Iterator[Listed]:
    """Yield those of a folder's changes that survive: of one of its versions, each that is not undone."""
    options = ["all entries", *(f"entries as before {change.text}" for change in reversed(changes))]
    lost = choose("folder", options)
    for change in changes[: len(changes) - lost]:
        possible = all(now.get(name) == before for name, (before, _) in change.names.items())
        if possible and choose("entry", (f"{change.text} survives", f"{change.text} is undone")) == 0:
            now = _after(now, change)
            yield change


def _synced_at(past: Past, inode: Inode) -> int:
    syncs = (event for event in past.events if isinstance(event, Synced) and event.inode == inode)
    return max((sync.call for sync in syncs), default=0)


def _versions(past: Past, file: Inode) -> list[Written]:
    """Return a file's last synced content and all later ones; a new file is empty until it is synced."""
    begin = Written(call=0, file=file, content=past.durable.contents.get(file, b""))
    written = [event for event in past.events if isinstance(event, Written) and event.file == file]
    synced = _synced_at(past, file)
    durable = sum(version.call <= synced for version in written)
    return [begin, *written][durable:]


def _named(
    past: Past, listings: Listings, choose: Choose, versions: Versions, lost_from: float | None
) -> Tree:
    """Choose the content of each file that still has a name; a journal, if any, lost all from a call on."""
    contents: dict[Inode, bytes] = {}
    for path, inode in walk(listings, past.durable.root):
        if inode not in listings and inode not in contents:
            states = _contents(versions(inode), lost_from)
            shown = [f"{path}: {len(state)} bytes, {state[:24]!r}" for state in states]
            contents[inode] = states[choose("content", shown)]
    return Tree(root=past.durable.root, listings=listings, contents=contents)


def _contents(versions: Sequence[Written], lost_from: float | None) -> list[bytes]:
    """Return what a file may contain; its size is in the journal, if there is one."""
    sized = sum(lost_from is None or version.call < lost_from for version in versions)
    states = [version.content for version in versions]
    return possible_contents(states, sized=sized, journaled=lost_from is not None)


def _applied(listings: Listings, changes: Iterable[Listed]) -> Listings:
    changed = dict(listings)
    for change in changes:
        changed[change.folder] = _after(changed[change.folder], change)
    return changed


def _after(listing: Listing, change: Listed) -> Listing:
    changed = {**listing, **{name: after for name, (_, after) in change.names.items()}}
    return {name: inode for name, inode in changed.items() if inode is not None}


def walk(listings: Listings, root: Inode) -> Iterator[tuple[str, Inode]]:
    """Yield what is below the root; a half-moved folder that has two names, under one, as fsck leaves it."""
    met = {root}
    ahead = [("", root)]
    while ahead:
        path, folder = ahead.pop()
        for name, inode in sorted(listings[folder].items()):
            if inode in listings and inode in met:
                continue
            met.add(inode)
            yield f"{path}{name}", inode
            if inode in listings:
                ahead.append((f"{path}{name}/", inode))
