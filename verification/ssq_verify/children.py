"""What do the processes have in common that we start to work for us? They end when we end, and only then.

A terminal interrupts all processes at once; which of ours goes on is ours to say. And one that waits for work
from a process that was killed would wait for ever.
"""

import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from ssq_verify.lifeline import end_with_parent

INTERRUPTIONS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
"""What ends a command in order."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let no interruption come between the start of a process and its note, nor before it is deaf to that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTIONS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def settle() -> None:
    """Be deaf to the terminal, and end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Held back where it was made.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTIONS)
    end_with_parent()


@contextmanager
def ended_at_once(executor: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """Shut an executor down in the end; who is interrupted, or knows the end, does not wait for its work."""
    try:
        yield executor
    except BaseException:
        killed(executor)
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def killed(executor: ProcessPoolExecutor) -> None:
    """Kill its processes, and wait until they have ended."""
    for process in list((executor._processes or {}).values()):  # noqa: SLF001 - who loops will not listen
        process.kill()
        process.join()
