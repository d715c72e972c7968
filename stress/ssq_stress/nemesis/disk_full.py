"""There is no room left: the queue lies on a small file system in memory, and somebody fills it.

A worker fills it before an exact step, and the supervisor makes room again shortly after. It takes the right
to mount; where that is missing, the fault is not available.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ssq_stress.faults import Order
from ssq_stress.nemesis import Victim
from ssq_stress.processes import host

SIZE_BYTES = 24 << 20
MOUNT = ("mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES},mode=0700", "ssq-stress")
FILLER = "filler"
FULL_SECONDS = 0.05
DISK_FULL = "disk full"
"""How its event begins."""


def unavailable(folder: Path) -> str | None:
    """Try, and return why this machine can not do it."""
    try:
        with small_disk(folder):
            pass
    except OSError as error:
        return f"no small file system can be mounted: {error}"
    else:
        return None
    finally:
        with suppress(FileNotFoundError):
            folder.rmdir()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small file system at a folder, made if it is missing, for as long as the body lasts.

    Nobody but this process and those it makes from now on sees it.
    """
    host.keep_mounts()
    folder.mkdir(parents=True, exist_ok=True)
    _run(*MOUNT, str(folder))
    try:
        yield folder
    finally:
        _run("umount", "--lazy", str(folder))


def from_inside(victim: Victim, _order: Order, where: str) -> None:
    """Take all the room that is left, unless somebody just did."""
    if victim.disk is None:
        return
    room = os.statvfs(victim.disk)
    fd = os.open(victim.disk / FILLER, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.posix_fallocate(fd, os.fstat(fd).st_size, max(1, room.f_bavail * room.f_frsize))
    except OSError:
        # Others write at the same time: that there is no room is what was wanted.
        pass
    finally:
        os.close(fd)
    victim.log.single(victim.name, "io-error", value=f"{DISK_FULL}|{where}")


def is_filled(disk: Path) -> bool:
    """Whether somebody filled it a little while ago: long enough for others to have met it."""
    try:
        filled = (disk / FILLER).stat().st_mtime
    except FileNotFoundError:
        return False
    return time.time() - filled > FULL_SECONDS


def make_room(disk: Path) -> None:
    """Give the room back."""
    (disk / FILLER).unlink(missing_ok=True)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - constants
    except FileNotFoundError as error:
        raise OSError(f"{command[0]} is not installed") from error
    if done.returncode != 0:
        raise OSError(" ".join((done.stderr or f"{command[0]} failed").split()))
