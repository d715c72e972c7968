"""How does a file queue give its jobs away? Its folder stays where it is, and nobody gets into it any more.

The fence, step by step; whoever is killed in between does the rest when he starts again:

1. `version` says that the queue is being moved: no new handle is opened.
2. `ids/`, then `queue/`, are renamed into `migrated/`, and a plain file takes the place of each. From the
   first on an enqueue of an open handle fails, from the second on everything else: `ENOTDIR`, a
   `QueueIOError`. A handle that was being opened meanwhile can't make the folders anew: it finds the file.
   Should it come between rename and file, its folder is empty, as nobody has an identity to link, and goes.
3. The leases are looked at once more. One that is held still is a worker's: all is put back, and refused.

So no job changes, comes or goes while it is copied. A pending entry is a job if it has an identity: its
enqueue may have been answered, as of a queue that syncs nothing it does not see that the last rename missed.
Two movers exclude each other by a lock on the folder.
"""

# One os call a step, each visible to what counts, fails or cuts off steps:

import contextlib
import fcntl
import os
from collections.abc import Iterator

from ssq_core.file_layout import SCHEMA, Layout
from ssq_core.file_mark import parsed, written
from ssq_core.file_record import Entry, State, decode, new_nonce
from ssq_core.filesystem import make_folder, read_regular, refuse_network_filesystem, sync_folder, write_new
from ssq_core.microseconds import to_datetime, to_micros
from ssq_core.queue import Clock, QueueDataCorruptedError, QueueIOError, UnsupportedSchema, utc_now
from ssq_core.stored import DamagedJob, Mark, MoveRefused, StoredJob

_PARTS = ("ids", "queue")
_IN_PLACE = b"the jobs are moving, or have moved, to where the file 'version' says\n"


class FileSource:
    """A queue folder whose jobs move elsewhere. Every method may raise `QueueIOError`."""

    def __init__(
        self, path: str | os.PathLike[str], *, skew_seconds: float = 0, clock: Clock = utc_now
    ) -> None:
        """Find the queue, and keep other movers away. Raises `MoveRefused`, `UnsupportedSchema`."""
        self.where = os.path.realpath(path)
        self._skew_micros = round(skew_seconds * 1_000_000)
        self._clock = clock
        self._kept = f"{self.where}/migrated"
        refuse_network_filesystem(self.where)
        self._lock = self._locked()
        try:
            self.mark()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let other movers have it."""
        os.close(self._lock)

    def mark(self) -> Mark | None:
        """Return what `version` says of a move, None if there was none. Raises `MoveRefused` for no queue."""
        with self._typed("open"):
            try:
                content = read_regular(f"{self.where}/version")
            except FileNotFoundError:
                raise MoveRefused(self.where, "no queue there; name a queue's folder") from None
        mark = parsed(content)
        if mark is None and content.strip() != str(SCHEMA).encode():
            if content.strip().isdigit():
                raise UnsupportedSchema(self.where, int(content), SCHEMA)
            raise QueueDataCorruptedError(f"{self.where}/version", "a schema version belongs here")
        return mark

    def fence(self, mark: Mark) -> None:
        """Let every operation of everybody fail from now on. Raises `MoveRefused` if a lease is held."""
        with self._typed("fence"):
            if self.mark() is None:
                self._refuse_live()
                self._say(written(mark))
            if make_folder(self._kept):
                sync_folder(self.where)
            for part in _PARTS:
                self._close_part(part)
            try:
                self._refuse_live()
            except MoveRefused:
                self.unfence()
                raise

    def unfence(self) -> None:
        """Undo that: the queue is as it was."""
        with self._typed("unfence"):
            make_folder(self._kept)
            for part in reversed(_PARTS):
                self._reopen_part(part)
            self._say(f"{SCHEMA}\n".encode())

    def count(self) -> int:
        """Return how many jobs there are, damaged ones too."""
        with self._typed("count"):
            return sum(1 for _ in self._entries())

    def stored(self, *, after: int = 0) -> Iterator[StoredJob | DamagedJob]:
        """Yield the jobs beyond a position, oldest first."""
        with self._typed("read"):
            for entry in self._entries():
                if entry.sequence > after:
                    yield self._stored(entry)

    def retire(self, mark: Mark) -> None:
        """Say for good that the jobs are elsewhere; what they were made of stays in `migrated/`."""
        with self._typed("retire"):
            self._say(written(mark))

    def _locked(self) -> int:
        try:
            lock = os.open(self.where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise MoveRefused(self.where, "no such folder; check the path") from None
        except NotADirectoryError:
            raise MoveRefused(self.where, "not a folder; name a queue's folder") from None
        except OSError as error:
            raise QueueIOError("open", self.where, error.strerror or str(error)) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise MoveRefused(self.where, "another `ssq migrate` is moving it; let that one end") from None
        return lock

    def _entries(self) -> Iterator[Entry]:
        """Yield the jobs' entries wherever they are by now, and while nothing is fenced, where they were."""
        root = self._kept if os.path.isdir(f"{self._kept}/queue") else self.where
        layout = Layout(root, durable=True)
        for row in layout.rows():
            # What can not be listed is an error here, and passed over by a claim only.
            parsed_names = (layout.parse(bucket, name) for bucket in row for name in os.listdir(bucket))
            for entry in sorted(entry for entry in parsed_names if entry is not None):
                if entry.state is not State.PENDING or _has_identity(layout.entry(entry)):
                    yield entry

    def _refuse_live(self) -> None:
        now = to_micros(self._clock())
        held = [
            entry
            for entry in self._entries()
            if entry.state is State.CLAIMED and entry.micros + self._skew_micros >= now
        ]
        if held:
            ends = to_datetime(max(entry.micros for entry in held) + self._skew_micros)
            raise MoveRefused(
                self.where,
                f"{len(held):,} of its jobs are held by workers; stop them, and wait until {ends:%F %T} UTC "
                "if they do not give back what they hold",
            )

    def _stored(self, entry: Entry) -> StoredJob | DamagedJob:
        path = Layout(self._kept, durable=True).entry(entry)
        try:
            header, payload = decode(read_regular(path), path)
        except QueueDataCorruptedError:
            return DamagedJob(position=entry.sequence)
        is_dead = entry.state is State.DEAD
        is_resting = entry.state is State.QUEUED and entry.micros > to_micros(self._clock())
        return StoredJob(
            position=entry.sequence,
            job_id=header.job_id,
            payload=payload,
            attempts=entry.attempt,
            available_at=to_datetime(entry.micros) if is_resting else None,
            died_at=to_datetime(entry.micros) if is_dead else None,
        )

    def _close_part(self, part: str) -> None:
        path, kept = f"{self.where}/{part}", f"{self._kept}/{part}"
        if os.path.isdir(path) and not os.path.isdir(kept):
            os.rename(path, kept)
        while not os.path.isfile(path):
            try:
                write_new(path, _IN_PLACE, sync=True)
            except FileExistsError:
                # Made by whoever was opening the queue.
                os.rmdir(path)
        sync_folder(self._kept)
        sync_folder(self.where)

    def _reopen_part(self, part: str) -> None:
        path, kept = f"{self.where}/{part}", f"{self._kept}/{part}"
        if os.path.isfile(path):
            os.unlink(path)
        if os.path.isdir(kept):
            os.rename(kept, path)
        sync_folder(self.where)
        sync_folder(self._kept)

    def _say(self, content: bytes) -> None:
        """Replace what `version` says, whole or not at all."""
        scratch = f"{self.where}/version.{new_nonce()}"
        write_new(scratch, content, sync=True)
        os.rename(scratch, f"{self.where}/version")
        sync_folder(self.where)

    @contextlib.contextmanager
    def _typed(self, operation: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            path = error.filename if isinstance(error.filename, str) else self.where
            raise QueueIOError(operation, path, error.strerror or str(error)) from error


def _has_identity(path: str) -> bool:
    try:
        return os.stat(path, follow_symlinks=False).st_nlink > 1
    except FileNotFoundError:
        return False
