"""What does the file queue ask of a file system, and which file systems can not give it?

Every step is one plain call of `os`, so that it can be seen, counted, failed and cut off at each of them.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from ssq_core.queue import QueueDataCorruptedError, UnsupportedFilesystem

# Kinds whose rename, link, append or flock is not atomic between hosts, or whose fsync stops at a server's
# memory.
NETWORK_FILESYSTEMS = frozenset(
    {
        "9p", "acfs", "afpfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse.afp", "fuse.beegfs",
        "fuse.blobfuse", "fuse.blobfuse2", "fuse.ceph", "fuse.cephfs", "fuse.curlftpfs", "fuse.davfs",
        "fuse.davfs2", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys", "fuse.grpcfuse", "fuse.juicefs",
        "fuse.mfs", "fuse.moosefs", "fuse.nfs", "fuse.osxfs", "fuse.rclone", "fuse.s3fs", "fuse.seaweedfs",
        "fuse.smbnetfs", "fuse.sshfs", "fuse.vmhgfs-fuse", "gfs", "gfs2", "glusterfs", "gpfs", "lustre",
        "ncpfs", "nfs", "nfs3", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb2", "smb3",
        "smbfs", "sshfs", "vboxsf", "virtiofs", "vmhgfs", "wekafs",
    }
)  # fmt: skip

PASSED_OVER = frozenset({errno.EIO, errno.EACCES, errno.EPERM, errno.EBADMSG, errno.EUCLEAN, errno.ENODATA})
"""Errors of one file or folder, not of the process or the whole disk: they stop only the jobs in it."""

_MOUNTS = "/proc/self/mountinfo"
_MOUNT_POINT = 4
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = _READ | os.O_DIRECTORY
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_COUNTER = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_BYTES = 1 << 20
_AT_ONCE_BYTES = 1 << 14


def refuse_network_filesystem(path: str) -> None:
    """Raise `UnsupportedFilesystem` if a resolved path, existing or not, lies on a network file system.

    Told by type from Linux's table of mounts; where there is no such table, nothing is refused.
    """
    try:
        with open(_MOUNTS, "rb") as file:
            mountinfo = os.fsdecode(file.read())
    except OSError:
        return
    fstype = filesystem_type(mountinfo, path)
    if fstype in NETWORK_FILESYSTEMS:
        raise UnsupportedFilesystem(path, fstype)


def filesystem_type(mountinfo: str, path: str) -> str:
    """Return the type of the mount that holds a resolved path, "" if none: the longest, the last laid."""
    found, length = "", -1
    for line in mountinfo.splitlines():
        fields, _, source = line.partition(" - ")
        columns, kind = fields.split(" "), source.split(" ")[0]
        if len(columns) <= _MOUNT_POINT or not kind:
            continue
        mount = _unescaped(columns[_MOUNT_POINT]).rstrip("/")
        if len(mount) >= length and (path == mount or path.startswith(mount + "/")):
            found, length = kind, len(mount)
    return found


def make_folder(path: str) -> bool:
    """Make a folder that only its owner may enter; False if there is one. Raises `QueueDataCorruptedError`.

    Its permissions are set when it is made and left alone later. A symbolic link is not taken for a folder.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        try:
            status = os.lstat(path)
        except FileNotFoundError:  # an emptied bucket, removed by another handle in between
            return make_folder(path)
        if not stat.S_ISDIR(status.st_mode):
            raise QueueDataCorruptedError(path, "a folder belongs here, and this is none") from None
        return False
    return True


def make_folders(path: str) -> list[str]:
    """Make a folder and the missing ones above it, private to their owner; return those made."""
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    return [folder for folder in reversed(missing) if make_folder(folder)]


def sync_folder(path: str) -> None:
    """Make a folder's entries survive a loss of power."""
    fd = os.open(path, _FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def locked_folder(path: str, *, waits: bool = True) -> Iterator[None]:
    """Hold a folder's lock, which the kernel takes from a dead holder.

    Raises `BlockingIOError` where it is another's and `waits` is False.
    """
    fd = os.open(path, _FOLDER)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            # A child that was forked meanwhile has the same lock, and would keep it.
            fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def write_new(path: str, content: bytes, *, sync: bool) -> None:
    """Create a file with this content, readable by its owner; on any error leave no file behind."""
    fd = os.open(path, _NEW, 0o600)
    try:
        try:
            write_all(fd, content)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
    except OSError:
        discard(path)
        raise


def write_all(fd: int, content: bytes) -> None:
    """Write everything: one call, unless the kernel takes less."""
    written = os.write(fd, content)
    while written < len(content):
        written += os.write(fd, content[written:])


def discard(path: str) -> None:
    """Remove a file that nobody else knows of, if that is possible; left behind, it does no harm."""
    try:
        os.unlink(path)
    except OSError:
        return


def open_regular(path: str) -> tuple[int, os.stat_result]:
    """Open a regular file for reading. Raises `QueueDataCorruptedError` for a link, folder, socket or pipe.

    The caller closes the descriptor. A link is not followed, a pipe's other end is not waited for.
    """
    try:
        fd = os.open(path, _READ | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise QueueDataCorruptedError(path, "a regular file belongs here, and this is none") from None
        raise
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise QueueDataCorruptedError(path, "a regular file belongs here, and this is none")
    return fd, status


def read_regular(path: str) -> bytes:
    """Return a regular file's whole content. Raises `QueueDataCorruptedError` as `open_regular` does."""
    fd, status = open_regular(path)
    try:
        content = os.read(fd, status.st_size + 1)
        while len(content) < status.st_size and (more := os.read(fd, _READ_BYTES)):
            content += more
    finally:
        os.close(fd)
    return content


def read_at_once(path: str) -> bytes:
    """Return what one reading of a file gives: of a regular one that is not large, as a rule the whole."""
    fd = os.open(path, _READ | os.O_NONBLOCK)
    try:
        return os.read(fd, _AT_ONCE_BYTES)
    finally:
        os.close(fd)


def append_byte(path: str) -> int:
    """Append one byte and return the file's length up to it: a counter that no two callers draw alike."""
    return draw(path, 1)[0]


def draw(path: str, count: int) -> range:
    """Append so many bytes at once and return the numbers that they stand for, which nobody else draws.

    A local file system moves an appending writer's offset under the file's lock, so this is fetch-and-add.
    """
    fd = os.open(path, _COUNTER | os.O_APPEND, 0o600)
    try:
        written = os.write(fd, b"." * count)
        end = os.lseek(fd, 0, os.SEEK_CUR)
    finally:
        os.close(fd)
    if written < count:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    return range(end - count + 1, end + 1)


def grow(path: str, length: int) -> None:
    """Make a counter at least so long. It never shrinks, whoever appends meanwhile."""
    fd = os.open(path, _COUNTER, 0o600)
    try:
        if os.fstat(fd).st_size < length:
            os.lseek(fd, length - 1, os.SEEK_SET)
            os.write(fd, b".")
    finally:
        os.close(fd)


def length_of(path: str) -> int:
    """Return a counter's value, 0 if it was never drawn from."""
    try:
        return os.stat(path, follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def _unescaped(field: str) -> str:
    """Return a mount point as it is; the table writes space, tab, newline and backslash in octal."""
    for escaped, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(escaped, plain)
    return field
