"""Who is at work, and until what? The workers are threads of which one moves at a time."""

import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from ssq_verify.standalone.answers import run

Steps = Callable[[], None]
Turn = tuple[str, float, str, int, str, str]
"""Who goes on, at which second, until it makes a call for the n-th time, what befalls it there, and where."""
resting = threading.Semaphore(0)
deaths: list[Callable[["Worker"], None]] = []
"""What the kernel does when a process has ended."""


class Worker(threading.Thread):
    """A process, as far as the queue can tell."""

    def __init__(self, name: str, steps: Steps) -> None:
        super().__init__(name=name, daemon=True)
        self.steps, self.goes, self.passed = steps, threading.Semaphore(0), Counter[str]()
        self.until, self.is_over, self.owned = ("", 0), False, list[Any]()

    def run(self) -> None:
        """Do the steps, when it is this worker's turn."""
        self.goes.acquire()
        try:
            self.steps()
        finally:
            self.end()
            resting.release()

    def end(self) -> None:
        """Give back what the kernel takes from a process that has ended."""
        self.is_over = True
        for death in deaths:
            death(self)


def point(call: str) -> None:
    """Stop here if this is where the turn ends."""
    me = threading.current_thread()
    if isinstance(me, Worker):
        me.passed[call] += 1
        if me.until == (call, me.passed[call]):
            rest()
        if (code := run.errors.get(point_now(call))) is not None:
            raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))


def point_now(call: str) -> tuple[str, str, int]:
    """Return a worker, a call, and for which time it is made."""
    me = threading.current_thread()
    return (me.name, call, me.passed[call]) if isinstance(me, Worker) else ("", call, 0)


def rest() -> None:
    """Let others go on until it is this worker's turn again."""
    me = threading.current_thread()
    assert isinstance(me, Worker)
    resting.release()
    me.goes.acquire()


def take_turns(turns: Iterable[Turn], programs: dict[str, Steps]) -> None:
    """Let the workers move as they did in the run; then whoever is left, one after the other."""
    workers = {key: Worker(key, steps) for key, steps in programs.items()}
    for worker in workers.values():
        worker.start()
    for key, seconds, call, number, fate, where in turns:
        worker = workers[key]
        if not worker.is_over:
            run.now_ns = round(seconds * 1e9)
            go(worker, call, number)
            if where and not worker.is_over:
                run.tell(f"{run.now_ns / 1e9:8.1f} s  {key}  {fate or 'is stopped'} {where}")
        if fate == "is killed" and not worker.is_over:
            worker.end()
    for _ in workers:
        for worker in workers.values():
            if not worker.is_over:
                go(worker, "", 0)


def go(worker: Worker, call: str, number: int) -> None:
    """Let a worker move until it is about to do the call for the n-th time."""
    run.process, run.worker = worker.name, worker.name.partition(" again")[0]
    worker.until = call, number
    worker.goes.release()
    resting.acquire()
