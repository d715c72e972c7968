"""The power fails: of what a queue wrote, only what had reached the disk is left. On a real file system.

What is to lose its power lies on a small ext4 file system of its own, and `FS_IOC_SHUTDOWN` with
`NOLOGFLUSH` cuts that off: from one instant on nothing that is in the kernel's memory reaches the device,
neither data nor the journal's open transaction; a commit under way is torn where it is. Everybody who
lives on it is ended, it is unmounted, and mounted again, whereupon ext4 recovers from its journal as it does
after a power loss. Of the ways that the call knows, the default flushes everything first, and `LOGFLUSH` the
journal: neither is a loss.

What the kernel would have written by itself, every five seconds or thirty, is held back (`commit=`), so that
what was not synced is lost for certain, unless `Disk.sync` stands for that. Not shown: a disk that loses or
changes the order of what it had confirmed, as the device is memory that keeps what it was given.
"""

import errno
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from ssq_stress.nemesis import ext4

SIZE_BYTES = 128 << 20
HELD_BACK = "commit=300"
"""Seconds until the journal commits by itself: longer than anything here takes."""
LET_GO_SECONDS_MAX = 5.0
AT_ONCE = "nodelalloc"
"""Space is given to data when it is written: then a commit waits for the data of new files."""


class NotAvailable(Exception):  # noqa: N818 - it names what is so
    """No file system can lose its power on this machine."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"no file system can lose its power here: {reason}; "
            "run as root on Linux, with loop devices and e2fsprogs"
        )
        self.reason = reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """A mounted file system of which the power can fail."""

    folder: Path
    """Where it is mounted."""
    device: Path
    namespace: Path
    """Whose processes see it; one that was started elsewhere calls `enter`."""

    def enter(self) -> None:
        """See the file system from here on, for a process with one thread."""
        ext4.enter(self.namespace)

    def sync(self) -> None:
        """Make all that was written survive, as the kernel does by itself every few seconds."""
        ext4.sync(self.folder)

    def lose(self) -> None:
        """Let the power fail: nothing that was not on the disk gets there any more. Then end who uses it."""
        ext4.shut_down(self.folder)

    def recover(self, options: str = HELD_BACK) -> None:
        """Mount it again, when nobody has a file of it open any more. Raises `OSError`."""
        _let_go(self.folder)
        ext4.mount(self.device, self.folder, options)


def unavailable() -> str | None:
    """Try it once, and return why this machine can not do it."""
    try:
        _try()
    except NotAvailable as error:
        return error.reason
    return None


@contextmanager
def losable_disk(folder: Path, *, size_bytes: int = SIZE_BYTES, options: str = HELD_BACK) -> Iterator[Disk]:
    """Mount an empty disk at a folder, seen by this thread and whom it starts, for as long as the body lasts.

    Who uses the disk must have ended by then. Raises `NotAvailable`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            namespace = stack.enter_context(ext4.private_mounts())
            device = stack.enter_context(ext4.loop_device(size_bytes))
            ext4.make(device)
            ext4.mount(device, folder, options)
        except OSError as error:
            raise NotAvailable(str(error)) from error
        stack.callback(_let_go, folder)
        yield Disk(folder=folder, device=device, namespace=namespace)


def _let_go(folder: Path) -> None:
    """Unmount, as soon as that is possible: a killed process may be gone, and its files open for a moment."""
    until = time.monotonic() + LET_GO_SECONDS_MAX
    while True:
        try:
            return ext4.unmount(folder)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > until:
                raise
        time.sleep(LET_GO_SECONDS_MAX / 1_000)


@cache
def _try() -> None:
    with TemporaryDirectory(prefix="ssq-") as folder, losable_disk(Path(folder)) as disk:
        try:
            disk.lose()
            disk.recover()
        except OSError as error:
            raise NotAvailable(str(error)) from error
