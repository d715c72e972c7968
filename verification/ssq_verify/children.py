"""What do the processes have in common that we start to work for us? They end when we end, and only then.

A terminal interrupts all processes at once; which of ours goes on is ours to say. And one that waits for work
from a process that was killed would wait for ever.
"""

import ctypes
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import parent_process

PR_SET_PDEATHSIG = 1


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let no interruption come between the start of a process and its note, nor before it is deaf to that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """Let the kernel end this process when the one ends that started it."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def settle() -> None:
    """Be deaf to the terminal, and end with the parent, also if that has ended by now."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    parent = parent_process()
    if parent is not None and not parent.is_alive():
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def ended_at_once(executor: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """Shut an executor down in the end; who is interrupted does not wait for what it still does."""
    try:
        yield executor
    except KeyboardInterrupt:
        for process in list((executor._processes or {}).values()):  # noqa: SLF001 - it has no other door
            process.kill()
            process.join()
        raise
    finally:
        executor.shutdown(cancel_futures=True)
