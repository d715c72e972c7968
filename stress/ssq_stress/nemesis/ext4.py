"""How is a small ext4 file system made, mounted where nobody else sees it, and cut off?

It lies in memory: a file without a name behind a loop device that frees itself when the last process that has
it open is gone. It is mounted in a private namespace, which the kernel clears away with its last process. So
nothing is left behind, whoever is killed.
"""

import ctypes
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNS = 0x20000
_MS_NOSUID, _MS_NODEV, _MS_NOATIME, _MS_REC, _MS_PRIVATE = 0x2, 0x4, 0x400, 0x4000, 0x40000
_LOOP_CTL_GET_FREE, _LOOP_CONFIGURE, _LO_FLAGS_AUTOCLEAR = 0x4C82, 0x4C0A, 4
_LOOP_CONFIG = struct.Struct("=II 52xI 176x 64x")
"""struct loop_config: the file, the block size, of struct loop_info64 only its flags, reserved."""
_FS_IOC_SHUTDOWN = 0x8004587D
"""_IOR('X', 125, __u32)"""
NO_LOG_FLUSH = 2
"""Write nothing more, not even the journal; 0 would flush the whole file system first, 1 the journal."""
_FREE_TRIES_MAX = 20
_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
_MAKE = (
    *("-q", "-F", "-b", "4096", "-E"),
    # Nothing is to be written in the background later.
    "lazy_itable_init=0,lazy_journal_init=0,nodiscard",
)
"""With blocks as large file systems have them."""

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def private_mounts() -> Iterator[Path]:
    """Let this thread, and whom it starts, see mounts of its own; yields the way into that namespace.

    What is mounted inside is seen by nobody else, and ends with the last process inside. Raises `OSError`.
    """
    here = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/mnt")
    outside = os.open(here, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("unshare", _libc.unshare(_CLONE_NEWNS))
        try:
            _mount(None, Path("/"), None, _MS_REC | _MS_PRIVATE, "")
            yield here
        finally:
            _enter(outside)
    finally:
        os.close(outside)


def enter(namespace: Path) -> None:
    """See the mounts of a namespace from here on, for a process with one thread. Raises `OSError`."""
    fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(fd)
    finally:
        os.close(fd)


def _enter(namespace: int) -> None:
    """Change over and stay in the same folder: by itself, entering leads to the namespace's root."""
    folder = Path.cwd()
    _call("setns", _libc.setns(namespace, _CLONE_NEWNS))
    os.chdir(folder)


@contextmanager
def loop_device(size_bytes: int) -> Iterator[Path]:
    """Give a block device that lies in memory, for as long as the body lasts. Raises `OSError`."""
    backing = os.memfd_create(f"ssq-disk-{os.getpid()}")
    try:
        os.ftruncate(backing, size_bytes)
        device, fd = _attached(backing)
    finally:
        os.close(backing)
    try:
        yield device
    finally:
        os.close(fd)


def make(device: Path) -> None:
    """Make an empty ext4 file system. Raises `OSError`."""
    program = shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}")
    if program is None:
        raise FileNotFoundError(errno.ENOENT, "mkfs.ext4 is not installed; install e2fsprogs")
    done = subprocess.run([program, *_MAKE, str(device)], capture_output=True, text=True, check=False)  # noqa: S603 - constants
    if done.returncode != 0:
        raise OSError(errno.EIO, f"mkfs.ext4: {' '.join(done.stderr.split())}")


def mount(device: Path, folder: Path, options: str) -> None:
    """Mount an ext4 file system, after recovery from its journal if it needs that. Raises `OSError`."""
    _mount(device, folder, "ext4", _MS_NOSUID | _MS_NODEV | _MS_NOATIME, options)


def unmount(folder: Path) -> None:
    """Take a file system out of the tree; no process may have a file of it open. Raises `OSError`."""
    _call(f"umount {folder}", _libc.umount2(os.fsencode(folder), 0))


def shut_down(folder: Path) -> None:
    """Let no byte more of a mounted file system reach its disk. Raises `OSError`."""
    with _opened(folder) as fd:
        fcntl.ioctl(fd, _FS_IOC_SHUTDOWN, struct.pack("=I", NO_LOG_FLUSH))


def sync(folder: Path) -> None:
    """Bring all that a file system has in memory to its disk. Raises `OSError`."""
    with _opened(folder) as fd:
        _call(f"syncfs {folder}", _libc.syncfs(fd))


def _attached(backing: int) -> tuple[Path, int]:
    """Put a file behind a free loop device, which is freed with its last descriptor."""
    with _opened(Path("/dev/loop-control"), os.O_RDWR) as control:
        for _ in range(_FREE_TRIES_MAX):
            device = Path(f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}")
            fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(fd, _LOOP_CONFIGURE, _LOOP_CONFIG.pack(backing, 0, _LO_FLAGS_AUTOCLEAR))
            except OSError as error:
                os.close(fd)
                if error.errno != errno.EBUSY:  # else somebody was quicker
                    raise
            else:
                return device, fd
    raise OSError(errno.EBUSY, "no loop device is free")


@contextmanager
def _opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _mount(device: Path | None, folder: Path, kind: str | None, flags: int, options: str) -> None:
    source = b"none" if device is None else os.fsencode(device)
    mounted = _libc.mount(
        source, os.fsencode(folder), kind and kind.encode(), ctypes.c_ulong(flags), options.encode()
    )
    _call(f"mount {os.fsdecode(source)} at {folder}", mounted)


def _call(what: str, result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
