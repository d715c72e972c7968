"""Where does the file queue keep what, and what has to reach the disk before what?

`version` (schema), `order` and `returns` (counters), `ids/` (one name for each live job id),
`queue/<bucket>/<entry>` (one entry for each job), `damaged/` (what could not be read). Folders are made 0700,
files 0600.
"""

import contextlib
import logging
import os
import stat
from collections.abc import Iterable, Iterator
from itertools import groupby

from ssq_core import file_mark
from ssq_core.file_record import ABREAST, BUCKET_SIZE, Entry, new_nonce, parse_name
from ssq_core.filesystem import (
    PASSED_OVER,
    grow,
    length_of,
    make_folder,
    make_folders,
    read_regular,
    sync_folder,
    write_new,
)
from ssq_core.queue import QueueDataCorruptedError, UnsupportedSchema, printable_path
from ssq_core.stored import QueueMigrated

logger = logging.getLogger(__name__)

SCHEMA = 1

_BUCKET_DIGITS = 14
_DIGITS = frozenset("0123456789abcdef")


class Layout:
    """The paths of one queue folder, and the order to the disk that its durability asks for."""

    def __init__(self, root: str, *, durable: bool) -> None:
        self.root = root
        self.durable = durable
        """Whether anything is synced at all: survive power loss, or only the death of a process."""
        self.ids = f"{root}/ids"
        self.queue = f"{root}/queue"
        self.damaged = f"{root}/damaged"
        self.order = f"{root}/order"
        """Its length is the number of the latest enqueue: the order of jobs needs no clock."""
        self.returns = f"{root}/returns"
        """Its length changes with each job that is given back, which tells other handles to look again."""

    def bucket(self, sequence: int) -> str:
        """Return the one folder in which a job's entry stays for all its life."""
        row = sequence // (ABREAST * BUCKET_SIZE)
        return f"{self.queue}/{row * ABREAST + sequence % ABREAST:014x}"

    def entry(self, entry: Entry) -> str:
        """Return an entry's path."""
        return f"{self.bucket(entry.sequence)}/{entry.name}"

    def identity(self, key: str) -> str:
        """Return the path that exists while a job id is live."""
        return f"{self.ids}/{key}"

    def rows(self) -> list[list[str]]:
        """Return the paths of the buckets, oldest first, those together that are filled together.

        Other things in the folder are none of ours.
        """
        names = sorted(
            name
            for name in os.listdir(self.queue)
            if len(name) == _BUCKET_DIGITS and _DIGITS.issuperset(name)
        )
        rows = groupby(names, key=lambda name: int(name, 16) // ABREAST)
        return [[f"{self.queue}/{name}" for name in row] for _, row in rows]

    def buckets(self) -> list[str]:
        """Return the paths of all buckets."""
        return [bucket for row in self.rows() for bucket in row]

    def entry_at(self, path: str) -> Entry | None:
        """Return the entry that a path in a bucket states, None if it is not one or not of this bucket."""
        bucket, _, name = path.rpartition("/")
        return self.parse(bucket, name)

    def parse(self, bucket: str, name: str) -> Entry | None:
        """Return the entry that a name in a bucket states, None if it is not one or not of this bucket."""
        entry = parse_name(name)
        return entry if entry is not None and bucket == self.bucket(entry.sequence) else None

    def listed(self, bucket: str) -> Iterator[Entry]:
        """Yield the entries in a bucket."""
        for name in list_bucket(bucket):
            if entry := self.parse(bucket, name):
                yield entry

    def sync(self, *folders: str) -> None:
        """Make the folders' entries survive a loss of power, in this order, if the queue is to be durable.

        Of a bucket that is gone, it is the removal that has to survive.
        """
        if not self.durable:
            return
        for folder in folders:
            try:
                sync_folder(folder)
            except FileNotFoundError:
                sync_folder(self.queue)

    def sync_buckets(self, sequences: Iterable[int]) -> None:
        """Make what happened in sequence numbers' buckets survive, as `sync`."""
        if self.durable:
            self.sync(*dict.fromkeys(self.bucket(sequence) for sequence in sequences))

    def remove_emptied(self, bucket: str) -> None:
        """Remove a bucket found empty, unless enqueues still fill it. One that comes too late makes it anew.

        Synced first: were the removal of the folder and of its last entries both taken back by a loss of
        power, an acked job would return.
        """
        if bucket < self.bucket(length_of(self.order) // ABREAST * ABREAST):
            self.sync(bucket)
            with contextlib.suppress(OSError):
                os.rmdir(bucket)

    def open(self) -> None:
        """Make what is missing, and check what is there. Cheap once the queue exists.

        The version is written last, after all else was synced, so that who finds it need not sync again.
        Raises `UnsupportedSchema`, `QueueMigrated`, `QueueDataCorruptedError`, `OSError`.
        """
        # First: of a queue whose jobs have moved, no folder may be made anew.
        found = self._read_version()
        if found not in {None, SCHEMA}:
            raise UnsupportedSchema(self.root, found, SCHEMA)
        made = make_folders(self.root)
        for folder in (self.ids, self.queue, self.damaged):
            make_folder(folder)
        if found is None:
            self.sync(self.root)
            self._sync_parents(made)
            self._write_version()
        self._restore_order()

    def _sync_parents(self, made: list[str]) -> None:
        for folder in made or [self.root]:
            # One that we may not read was there before us, and so was its entry for ours.
            with contextlib.suppress(PermissionError):
                self.sync(os.path.dirname(folder))

    def _read_version(self) -> int | None:
        path = f"{self.root}/version"
        try:
            content = read_regular(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if (mark := file_mark.parsed(content)) is not None:
            raise QueueMigrated(self.root, mark)
        try:
            return int(content)
        except ValueError:
            raise QueueDataCorruptedError(path, "a schema version belongs here") from None

    def _write_version(self) -> None:
        scratch = f"{self.root}/version.{new_nonce()}"
        write_new(scratch, f"{SCHEMA}\n".encode(), sync=self.durable)
        os.rename(scratch, f"{self.root}/version")
        self.sync(self.root)

    def _restore_order(self) -> None:
        """Raise the order above all entries: it is not synced, so a loss of power may set it back."""
        for row in reversed(self.rows()):
            sequences = [entry.sequence for bucket in row for entry in self.listed(bucket)]
            if sequences:
                grow(self.order, max(sequences))
                return


def list_bucket(bucket: str) -> list[str]:
    """Return a bucket's names, none if it is gone, is no folder of ours, or can not be read."""
    try:
        if stat.S_ISDIR(os.lstat(bucket).st_mode):
            return os.listdir(bucket)
        logger.warning("passing over %s: it is not a folder", printable_path(bucket))
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in PASSED_OVER:
            raise
        logger.warning("passing over %s: %s", printable_path(bucket), error.strerror)
    return []
