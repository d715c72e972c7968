"""What remains of a server whose starter is gone? Nothing: this program waits for that, and cleans up.

It is started as a script by the process that starts a server, with the server's folder as its argument, and
waits for the end of its standard input, which comes when that process closes it or dies, however it dies. It
needs the standard library alone, so that it is quick to start.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

GRACE_SECONDS = 5.0
"""A server that is told to stop at once gives back what outlives processes, such as shared memory."""
POLL_SECONDS = 0.005
STOPPED = frozenset("TtZX")
"""The letters by which the kernel shows processes that stand still, or have ended."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the kernel keeps it; nothing is made there


def members(folder: Path) -> Iterator[int]:
    """Yield the processes that work in a folder: a server works in its own, and so do its children.

    Their groups tell less: each process that PostgreSQL forks leads a group of its own.
    """
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            # One that has just ended, or is another user's, is not the server's.
            with suppress(OSError):
                if (process / "cwd").readlink().is_relative_to(folder):
                    yield int(process.name)


def signal_all(folder: Path, what: signal.Signals, *, but: frozenset[int] = frozenset()) -> set[int]:
    """Send a signal to each process in a folder, but to these, and return whom it reached."""
    reached = set()
    for pid in members(folder):
        if pid not in but:
            with suppress(ProcessLookupError):
                os.kill(pid, what)
                reached.add(pid)
    return reached


def stop_all(folder: Path) -> None:
    """Stop each process in a folder, also those that are forked meanwhile, and wait until none moves."""
    stopped: set[int] = set()
    while reached := signal_all(folder, signal.SIGSTOP, but=frozenset(stopped)):
        stopped |= reached
    while any(_moves(pid) for pid in stopped):
        time.sleep(POLL_SECONDS)


def kill_all(folder: Path) -> None:
    """Kill each process in a folder, also those that are forked meanwhile, and wait until none is there."""
    while reached := signal_all(folder, signal.SIGKILL):
        for pid in reached:
            forget_fake_time(pid)
        time.sleep(POLL_SECONDS)


def end_all(folder: Path, polite: signal.Signals) -> None:
    """Ask each process in a folder to end at once, kill those that do not, and remove the folder."""
    asked = signal_all(folder, polite)
    signal_all(folder, signal.SIGCONT)
    deadline = time.monotonic() + GRACE_SECONDS
    while any(members(folder)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for pid in asked:
        forget_fake_time(pid)
    kill_all(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _moves(pid: int) -> bool:
    """Whether a process that was sent a signal to stop has not yet come to where it is obeyed."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0]
    except FileNotFoundError:
        return False
    return state not in STOPPED


def forget_fake_time(pid: int) -> None:
    """Remove what libfaketime shares with a process's children, for the process itself can't any more."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        with suppress(OSError):
            (SHARED_MEMORY / name).unlink()


def main(arguments: list[str]) -> None:
    """Wait for the end of the input, then end what is in the folder."""
    folder, polite = arguments
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end_all(Path(folder), signal.Signals(int(polite)))


if __name__ == "__main__":
    main(sys.argv[1:])
