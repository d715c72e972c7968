"""Is a job id live, and may its name be used again? The part of the file queue that no single step can do.

`ids/<key>` and the job's entry are two names of one file. Two links: the job is live, or pending. One link:
the entry is gone (acked), the identity is stale, and whoever comes next clears it. To unlink a name that
another process may meanwhile have made anew would remove the new one; so only the holder of the *file's* lock
removes its identity, and a new identity can be linked only once the old one is gone. The kernel frees a dead
holder's lock. So nobody else may link the queue's files: to back the folder up, copy it.
"""

import contextlib
import fcntl
import logging
import os

from ssq_core.file_layout import Layout
from ssq_core.file_record import (
    HEADER_BYTES_MAX,
    Header,
    decode_header,
    encode,
    entry_key,
    new_nonce,
    parse_name,
)
from ssq_core.filesystem import (
    PASSED_OVER,
    append_byte,
    discard,
    make_folder,
    open_regular,
    read_regular,
    write_new,
)
from ssq_core.queue import QueueDataCorruptedError, printable_path

logger = logging.getLogger(__name__)

_NAME_BYTES_MAX = 200
_LIVE_LINKS = 2


def add(layout: Layout, job_id: str, key: str, payload: bytes) -> None:
    """Add a job, unless its id is live. An `OSError` leaves the id usable."""
    if settle(layout, key):
        return
    header = Header(
        job_id=job_id, sequence=append_byte(layout.order), nonce=new_nonce(), payload_bytes=len(payload)
    )
    pending = layout.entry(header.pending)
    _write_pending(layout, pending, encode(header, payload))
    try:
        linked = _link(layout, pending, key)
    except OSError:
        discard(pending)
        raise
    if linked:
        place(layout, header)
    else:
        discard(pending)


def settle(layout: Layout, key: str) -> bool:
    """Return whether a job id is live, having finished what an earlier enqueue or ack of it left undone."""
    path = layout.identity(key)
    try:
        fd, status = open_regular(path)
    except FileNotFoundError:
        return False
    except QueueDataCorruptedError as error:
        _move_aside(layout, path, error)
        return False
    try:
        header = _header(fd, path, key)
        if status.st_nlink >= _LIVE_LINKS:
            place(layout, header)
            return True
        # Its ack may not have synced yet: a new entry, and the old one brought back by a loss of power, and
        # the job has two holders.
        layout.sync(layout.bucket(header.sequence))
        if _links_under_lock(path, fd, fcntl.LOCK_EX) == 1:
            os.unlink(path)
    except QueueDataCorruptedError as error:
        _free_damaged(layout, path, fd, error)
    finally:
        os.close(fd)
    return False


def place(layout: Layout, header: Header) -> None:
    """Make a pending job claimable, by one rename, and let it survive a loss of power.

    Anyone may do this for anyone: who finds the pending entry gone was helped. The identity is synced before
    the rename, so that no entry is ever claimable without one: a second enqueue would add the job twice.
    """
    layout.sync(layout.ids)
    with contextlib.suppress(FileNotFoundError):
        os.rename(layout.entry(header.pending), layout.entry(header.enqueued))
    # The folder of buckets too, always: another process may have made this bucket and not have synced it yet.
    layout.sync(layout.bucket(header.sequence), layout.queue)


def clear_acked(layout: Layout, key: str) -> None:
    """Remove an acked job's identity, if that is possible now; the id's next enqueue does it otherwise."""
    path = layout.identity(key)
    with contextlib.suppress(OSError, QueueDataCorruptedError):
        fd, _ = open_regular(path)
        try:
            if _links_under_lock(path, fd, fcntl.LOCK_EX | fcntl.LOCK_NB) == 1:
                os.unlink(path)
        finally:
            os.close(fd)


def read_header(layout: Layout, key: str) -> Header | None:
    """Return the header of a live job id's record; None if the id is not live, or its record damaged."""
    path = layout.identity(key)
    try:
        fd, _ = open_regular(path)
    except (FileNotFoundError, QueueDataCorruptedError):
        return None
    try:
        return _header(fd, path, key)
    except QueueDataCorruptedError:
        return None
    finally:
        os.close(fd)


def set_aside(layout: Layout, path: str, error: QueueDataCorruptedError) -> None:
    """Move what can not be read out of everyone's way, its job id free again. It is never deleted.

    The identity goes first: a kill in between leaves an entry that the next claim sets aside in its turn.
    """
    try:
        for key in _keys(path):
            _free_shared(path, layout.identity(key))
        _move_aside(layout, path, error)
    except FileNotFoundError:
        return
    except OSError as refusal:
        if refusal.errno not in PASSED_OVER:
            raise
        logger.warning("can not set aside %s: %s", printable_path(path), refusal.strerror)


def _write_pending(layout: Layout, path: str, content: bytes) -> None:
    while True:
        try:
            write_new(path, content, sync=layout.durable)
        except FileNotFoundError:
            # A bucket's first entry; or the bucket was emptied and removed since the number was drawn.
            make_folder(os.path.dirname(path))
        else:
            return


def _link(layout: Layout, pending: str, key: str) -> bool:
    """Make the pending entry the id's own; False if the id became live meanwhile."""
    while True:
        try:
            os.link(pending, layout.identity(key))
        except FileExistsError:
            if settle(layout, key):
                return False
        else:
            return True


def _header(fd: int, path: str, key: str) -> Header:
    header = decode_header(os.read(fd, HEADER_BYTES_MAX), path)
    if entry_key(header.job_id.encode()) != key:
        raise QueueDataCorruptedError(path, "it is the record of another job")
    return header


def _links_under_lock(path: str, fd: int, lock: int) -> int:
    """Lock an identity's file and return how many names it has; 0 if the path names it no longer."""
    fcntl.flock(fd, lock)
    status = os.fstat(fd)
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return status.st_nlink if os.path.samestat(named, status) else 0


def _free_damaged(layout: Layout, path: str, fd: int, error: QueueDataCorruptedError) -> None:
    """Free the id of a damaged record: its entry, if there is one, is set aside when a claim comes to it."""
    links = _links_under_lock(path, fd, fcntl.LOCK_EX)
    if links >= _LIVE_LINKS:
        os.unlink(path)
    elif links == 1:
        _move_aside(layout, path, error)


def _free_shared(path: str, identity: str) -> None:
    """Free the id whose identity is the same file as a damaged entry."""
    try:
        fd, status = open_regular(identity)
    except (FileNotFoundError, QueueDataCorruptedError):
        return
    try:
        if os.path.samestat(os.lstat(path), status) and _links_under_lock(identity, fd, fcntl.LOCK_EX):
            os.unlink(identity)
    finally:
        os.close(fd)


def _keys(path: str) -> set[str]:
    """Return the keys that a damaged entry may have its identity under: its name's, and its record's."""
    entry = parse_name(os.path.basename(path))
    keys = set() if entry is None else {entry.key}
    with contextlib.suppress(OSError, QueueDataCorruptedError):
        keys.add(decode_header(read_regular(path), path).pending.key)
    return keys


def _move_aside(layout: Layout, path: str, error: QueueDataCorruptedError) -> None:
    name = os.fsdecode(os.fsencode(os.path.basename(path))[:_NAME_BYTES_MAX])
    os.rename(path, f"{layout.damaged}/{new_nonce()}.{name}")
    logger.warning("set aside in %s: %s", printable_path(layout.damaged), error)
