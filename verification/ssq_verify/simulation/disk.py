"""What of a real folder tree is not synced yet, and how is it made what a power loss has left of it?"""

import os
import shutil
import stat
from pathlib import Path, PurePath

from ssq_verify.simulation.point import NotSimulatable
from ssq_verify.simulation.surviving import (
    Choose,
    Event,
    Inode,
    Listed,
    Listing,
    Model,
    Past,
    Synced,
    Tree,
    Written,
    surviving,
    walk,
)

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


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
        return surviving(self.past(), model, choose)

    def past(self) -> Past:
        """Return all that `surviving` goes by."""
        return Past(self._durable, tuple(self._events))

    def restore(self, survivors: Tree) -> None:
        """Make the real tree what survived, with hard links, modes and file times; it is durable then."""
        details = {inode: os.fstat(fd) for inode, fd in self._held.items()}
        _empty(self.root)
        placed: dict[Inode, Path] = {survivors.root: self.root}
        for path, inode in walk(survivors.listings, survivors.root):
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
