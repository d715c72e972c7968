"""How do a stopped queue's jobs get into another queue, each once, however often that is cut short?

First the source is fenced, then pieces are copied, each together with the note how far the destination is,
and only when that note accounts for every job the source says for good that they are elsewhere. Whatever is
killed in between: the same call again reads what source and destination say, and goes on from there.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from ssq_core.stored import DamagedJob, Destination, Mark, Moved, MoveRefused, Piece, Source, StoredJob

PIECE_JOBS_MAX = 500
"""Few enough that a Redis server, which serves nobody else meanwhile, is soon done with them."""
PIECE_BYTES_MAX = 8 * 1024 * 1024

Told = Callable[[int, int], None]
"""Is told after each piece how many jobs have moved, and of how many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Migration:
    """What came of it."""

    moved: Moved
    was_complete: bool
    """Whether an earlier run had moved everything already."""


def source_at(url: str, *, skew_seconds: float = 0) -> Source:
    """Find the queue at `file:///folder` or `sqlite:///path`. Raises `ValueError`, and as the sources do."""
    scheme, _, path = url.partition("://")
    if scheme not in {"file", "sqlite"}:
        raise ValueError(f"{scheme}: can not be moved from; jobs move from file:///folder or sqlite:///path")
    if not path.startswith("/") or not path.strip("/"):
        raise ValueError(f"{url!r} has no absolute path; write {scheme}:///path, with three slashes")
    path = unquote(path, errors="surrogateescape")
    # Imported when asked for: nobody needs the other's driver.
    if scheme == "file":
        from ssq_core.file_migration import FileSource  # noqa: PLC0415 - as above

        return FileSource(path, skew_seconds=skew_seconds)
    from ssq_core.sqlite_migration import SqliteSource  # noqa: PLC0415 - as above

    return SqliteSource(path, skew_seconds=skew_seconds)


def destination_at(url: str, *, name: str | None = None) -> Destination:
    """Open the queue at `postgresql://…` or `redis://…`; the name is its table's, or its keys'.

    Raises `ValueError`, and as the destinations do.
    """
    scheme = url.partition("://")[0]
    named = {} if name is None else {"table": name}
    if scheme in {"postgresql", "postgres"}:
        from ssq_core.postgres_migration import PostgresDestination  # noqa: PLC0415 - as above

        return PostgresDestination(url, **named)
    if scheme in {"redis", "rediss", "unix"}:
        from ssq_core.redis_migration import RedisDestination  # noqa: PLC0415 - as above

        return RedisDestination(url, name=name or "ssq")
    # Not shown whole: it may hold a password.
    raise ValueError(f"{scheme}: can not be moved to; jobs move to postgresql://… or redis://…")


def migrate(source: Source, destination: Destination, *, tell: Told = lambda _done, _of: None) -> Migration:
    """Move all jobs, or those that an earlier run did not. Raises `MoveRefused`, and as the two queues do."""
    mark = source.mark()
    moved = destination.moved(mark.token) if mark is not None else None
    if mark is not None and mark.is_complete:
        return _was_complete(source, mark, moved)
    if moved is None or mark is None:
        mark = _fenced(source, destination, mark)
        moved = _begun(source, destination, mark)
    total = source.count()
    tell(moved.seen, total)
    for further in _copied(source, destination, mark.token, moved):
        moved = further
        tell(moved.seen, total)
    if moved.seen != total:
        raise MoveRefused(
            source.where, f"{moved.seen:,} of {total:,} jobs are accounted for; it is kept as it is"
        )
    source.retire(Mark(token=mark.token, destination=mark.destination, is_complete=True))
    return Migration(moved=moved, was_complete=False)


def pieces(stored: Iterable[StoredJob | DamagedJob], *, after: int) -> Iterator[Piece]:
    """Cut a queue's jobs into pieces that fit into one transaction."""
    jobs: list[StoredJob] = []
    damaged, last, size = 0, after, 0
    for job in stored:
        if isinstance(job, DamagedJob):
            damaged += 1
        else:
            jobs.append(job)
            size += len(job.payload)
        last = job.position
        if len(jobs) + damaged >= PIECE_JOBS_MAX or size >= PIECE_BYTES_MAX:
            yield Piece(after=after, last=last, jobs=jobs, damaged=damaged)
            jobs, damaged, after, size = [], 0, last, 0
    if last != after:
        yield Piece(after=after, last=last, jobs=jobs, damaged=damaged)


def _fenced(source: Source, destination: Destination, mark: Mark | None) -> Mark:
    """Fence the source, unless the destination is not fit for it."""
    if mark is not None and mark.destination != destination.where:
        raise MoveRefused(
            source.where, f"its jobs are on their way to {mark.destination}; go on with that destination"
        )
    if not destination.is_empty():
        if mark is not None:
            source.unfence()
        raise _not_empty(destination)
    mark = mark or Mark(token=secrets.token_hex(8), destination=destination.where)
    source.fence(mark)
    if source.mark() != mark:
        raise _another(source)
    return mark


def _begun(source: Source, destination: Destination, mark: Mark) -> Moved:
    moved = destination.begin(mark.token)
    if moved is None:
        source.unfence()
        raise _not_empty(destination)
    return moved


def _copied(source: Source, destination: Destination, token: str, moved: Moved) -> Iterator[Moved]:
    """Copy what is beyond that, and yield how far it is after each piece.

    A piece that a mover sent before it was killed may arrive only now. Then the next one does not begin where
    the note ends, nothing is taken of it, and the note is read again.
    """
    is_whole = False
    while not is_whole:
        is_whole = True
        for piece in pieces(source.stored(after=moved.position), after=moved.position):
            taken = destination.adopt(token, piece)
            moved = taken or _noted(destination, token)
            yield moved
            if taken is None:
                is_whole = False
                break


def _noted(destination: Destination, token: str) -> Moved:
    moved = destination.moved(token)
    if moved is None:
        raise MoveRefused(destination.where, "it knows nothing of this move any more; name an empty queue")
    return moved


def _was_complete(source: Source, mark: Mark, moved: Moved | None) -> Migration:
    if moved is None:
        raise MoveRefused(source.where, f"its jobs were moved to {mark.destination} already")
    return Migration(moved=moved, was_complete=True)


def _not_empty(destination: Destination) -> MoveRefused:
    return MoveRefused(
        destination.where, "it has jobs already, and theirs would come first; name an empty queue (--table)"
    )


def _another(source: Source) -> MoveRefused:
    return MoveRefused(source.where, "another `ssq migrate` is moving it; let that one end")
