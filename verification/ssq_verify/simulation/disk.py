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

In both, what was written to a file since its last fsync survives up to any write, the next one torn. Each
state offered must be legal, or a correct queue would be accused; so some legal ones are left out: writes of
one file that change places, garbage in place of data, tears at each byte. Not followed: extended attributes,
owners, `O_SYNC`, and a file that was synced before it had a name (`O_TMPFILE`).
"""

import math
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise, takewhile
from pathlib import Path, PurePath
from typing import NamedTuple

from ssq_verify.simulation.point import NotSimulatable

Inode = int
Listing = dict[str, Inode]
Listings = dict[Inode, Listing]
Choose = Callable[[str, Sequence[str]], int]
"""Answers a choice: its kind, its options in words, the plainest first -> the index of one."""

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


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
        return {path: self.contents.get(inode) for path, inode in _walk(self.listings, self.root)}


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
    return _named(past, listings, Model.ORDERED, choose, lambda file: _journaled(past, file, lost_from))


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
    return _named(past, listings, Model.POSIX, choose, lambda file: _versions(past, file))


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


def _contents(versions: Sequence[Written], model: Model) -> list[bytes]:
    """Return what a file may contain, the newest first, the last synced content last."""
    states = [versions[0].content]
    for before, after in pairwise(versions):
        states += [*_torn(before.content, after.content, model), after.content]
    return list(dict.fromkeys(reversed(states)))


def _torn(before: bytes, after: bytes, model: Model) -> Iterator[bytes]:
    """Yield contents that half of a write may leave: its first half, all but its last byte.

    In posix also its size without its data: the two reach the disk in any order, and a hole reads as zeros.
    """
    if len(after) < len(before):
        return
    if model is Model.POSIX:
        yield before + bytes(len(after) - len(before))
    pairs = enumerate(zip(before, after, strict=False))
    common = next((place for place, (old, new) in pairs if old != new), len(before))
    for end in ((common + len(after)) // 2, len(after) - 1):
        yield after[:end] + before[end:]


def _named(past: Past, listings: Listings, model: Model, choose: Choose, versions: Versions) -> Tree:
    """Choose the content of each file that still has a name."""
    contents: dict[Inode, bytes] = {}
    for path, inode in _walk(listings, past.durable.root):
        if inode not in listings and inode not in contents:
            states = _contents(versions(inode), model)
            shown = [f"{path}: {len(state)} bytes, {state[:24]!r}" for state in states]
            contents[inode] = states[choose("content", shown)]
    return Tree(root=past.durable.root, listings=listings, contents=contents)


def _applied(listings: Listings, changes: Iterable[Listed]) -> Listings:
    changed = dict(listings)
    for change in changes:
        changed[change.folder] = _after(changed[change.folder], change)
    return changed


def _after(listing: Listing, change: Listed) -> Listing:
    changed = {**listing, **{name: after for name, (_, after) in change.names.items()}}
    return {name: inode for name, inode in changed.items() if inode is not None}


def _walk(listings: Listings, root: Inode) -> Iterator[tuple[str, Inode]]:
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


class Disk:
    """Follows a small folder tree, durable as it is found, and takes away what a power loss may take.

    Tell it of each change when it is done, one call at a time, and of each fsync. It keeps each file and
    folder that it has seen open, so that an inode's number is not given to another and what has lost its name
    can be read: close it at the end.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._begin()

    def close(self) -> None:
        """Let go of all files and folders."""
        for fd in self._held.values():
            os.close(fd)
        self._held.clear()

    def changed(self, *touched: Inode | str) -> None:
        """Look at what a call has changed: the contents of files, by inode, the entries of folders, by path.

        Paths are within the root, itself ""; without any, or where one is no folder's, look at everything.
        """
        self._call += 1
        folders = {path: self._folder(path) for path in touched if isinstance(path, str)}
        if touched and None not in folders.values():
            for path, folder in sorted(folders.items()):
                self._look(f"{path}/" if path else "", folder or self._root, deep=False)
            self._read(*(inode for inode in touched if isinstance(inode, int)))
        else:
            self._look("", self._root, deep=True)
            self._read(*self._now.contents)

    def synced(self, inode: Inode) -> None:
        """Note that an fsync of a file or a folder has returned."""
        self._call += 1
        self._events.append(Synced(call=self._call, inode=inode))

    def lose(self, model: Model, choose: Choose) -> Tree:
        """Pick one of the states that a power loss now may leave; nothing is done to the real tree yet."""
        return surviving(Past(self._durable, tuple(self._events)), model, choose)

    def restore(self, survivors: Tree) -> None:
        """Make the real tree what survived, with hard links, modes and file times; it is durable then."""
        details = {inode: os.fstat(fd) for inode, fd in self._held.items()}
        _empty(self.root)
        placed: dict[Inode, Path] = {survivors.root: self.root}
        for path, inode in _walk(survivors.listings, survivors.root):
            if inode in placed:
                (self.root / path).hardlink_to(placed[inode])
            else:
                placed[inode] = self.root / path
                _make(placed[inode], details[inode], survivors.contents.get(inode))
        for inode, place in reversed(placed.items()):
            _dress(place, details[inode])
        self.close()
        self._begin()

    def _begin(self) -> None:
        self._events: list[Event] = []
        self._call = 0
        fd = os.open(self.root, _READ)
        self._root = os.fstat(fd).st_ino
        self._held = {self._root: fd}
        self._durable, self._now = (Tree(root=self._root, listings={self._root: {}}) for _ in range(2))
        self.changed()
        self._events.clear()
        self._durable.listings.update(self._now.listings)
        self._durable.contents.update(self._now.contents)

    def _folder(self, path: str) -> Inode | None:
        inode = self._root
        for name in PurePath(path).parts:
            inode = self._now.listings.get(inode, {}).get(name, 0)
        return inode if inode in self._now.listings else None

    def _look(self, path: str, folder: Inode, *, deep: bool) -> None:
        """Note a folder's entries if they are not those last seen, and what is in new folders, or in all."""
        before, after = self._now.listings[folder], self._listing(folder)
        self._now.listings[folder] = after
        if before != after:
            self._events.append(_listed(self._call, path or "./", folder, before, after))
        for name, inode in after.items():
            if inode in self._now.listings and (deep or before.get(name) != inode):
                self._look(f"{path}{name}/", inode, deep=deep)

    def _listing(self, folder: Inode) -> dict[str, Inode]:
        with os.scandir(self._held[folder]) as entries:
            found = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
        for name, details in found:
            if details.st_ino not in self._held:
                self._hold(folder, name, details)
            if details.st_size != len(self._now.contents.get(details.st_ino, b"")):
                self._read(details.st_ino)  # `open` and `truncate` change entries and contents
        return {name: details.st_ino for name, details in found}

    def _hold(self, folder: Inode, name: str, details: os.stat_result) -> None:
        """Begin to follow a file or folder. Raises `NotSimulatable` for a FIFO, a socket or a device."""
        inode, kind, parent = details.st_ino, stat.S_IFMT(details.st_mode), self._held[folder]
        if kind not in (stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK):
            raise NotSimulatable("a file that is neither regular, a folder nor a link", name)
        self._held[inode] = os.open(name, _LINK if kind == stat.S_IFLNK else _READ, dir_fd=parent)
        if kind == stat.S_IFDIR:
            self._durable.listings[inode] = self._now.listings[inode] = {}
        elif kind == stat.S_IFREG:
            self._now.contents[inode] = b""
        else:
            self._durable.contents[inode] = os.fsencode(os.readlink(name, dir_fd=parent))

    def _read(self, *inodes: Inode) -> None:
        for file in filter(self._now.contents.__contains__, inodes):
            fd, before = self._held[file], self._now.contents[file]
            after = os.pread(fd, os.fstat(fd).st_size, 0)
            if before != after:
                self._now.contents[file] = after
                shrinks = len(after) < len(before)
                self._events.append(Written(call=self._call, file=file, content=after, shrinks=shrinks))


def _listed(call: int, path: str, folder: Inode, before: Listing, after: Listing) -> Listed:
    differing = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    names = {name: (before.get(name), after.get(name)) for name in differing}
    marks = " ".join(f"{'-' if after is None else '+'}{name}" for name, (_, after) in names.items())
    return Listed(call=call, folder=folder, names=names, text=f"{path}: {marks}")


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _make(path: Path, details: os.stat_result, content: bytes | None) -> None:
    """Make a folder, a symbolic link or a file."""
    if content is None:
        path.mkdir()
    elif stat.S_ISLNK(details.st_mode):
        path.symlink_to(os.fsdecode(content))
    else:
        path.write_bytes(content)


def _dress(path: Path, details: os.stat_result) -> None:
    """Give a file or folder the mode and times that it had; a folder after what is in it."""
    if not path.is_symlink():
        path.chmod(stat.S_IMODE(details.st_mode))
    os.utime(path, ns=(details.st_atime_ns, details.st_mtime_ns), follow_symlinks=False)
