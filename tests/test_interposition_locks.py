"""Do locks and waits hold between workers as they do between processes, and no further?"""

import fcntl
import os
import queue
import select
import struct
import threading

import pytest

from simulated import refused, together, told
from ssq_verify.execution import scratch
from ssq_verify.simulation import interposition
from ssq_verify.simulation.tape import Replay, Tape
from ssq_verify.simulation.world import World

MODULE_LOCK = threading.Lock()


class Keeper:
    """A class that keeps a lock."""

    lock = threading.Lock()


interposition.install()


def test_an_flock_is_shared_by_copies_of_a_descriptor():
    """Closing one of two copies keeps the lock; closing the last frees it."""
    taken = []

    def holder(worker):
        fd = os.open("lock", os.O_CREAT | os.O_RDWR, dir_fd=worker.own["folder"])
        copy = os.dup(fd)
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.close(fd)
        worker.sleep(10)
        os.close(copy)
        worker.sleep(10)

    def other(worker):
        worker.sleep(1)
        fcntl.flock(os.open("lock", os.O_CREAT | os.O_RDWR, dir_fd=worker.own["folder"]), fcntl.LOCK_EX)
        taken.append(worker.world.time.now_ns // 10**9)

    def with_folder(program):
        def run(worker):
            worker.own["folder"] = os.open(folder, os.O_RDONLY)
            program(worker)

        return run

    with scratch() as folder:
        together(folder, with_folder(holder), with_folder(other))
    assert taken == [10]


@pytest.mark.parametrize(
    "lock",
    [
        lambda fd, first: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, first),
        lambda fd, first: fcntl.fcntl(
            fd, fcntl.F_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, first, 10, 0)
        ),
        lambda fd, first: (os.lseek(fd, first, os.SEEK_SET), os.lockf(fd, os.F_TLOCK, 10)),
    ],
    ids=["fcntl.lockf", "fcntl.fcntl", "os.lockf"],
)
def test_record_locks_hold_their_bytes_and_no_others(lock):
    """Two workers lock different bytes of a file; the same bytes are refused to the second."""
    seen = []

    def holder(worker):
        lock(os.open(f"{worker.world.root}/lock", os.O_CREAT | os.O_RDWR), 0)
        worker.sleep(10)

    def other(worker):
        worker.sleep(1)
        fd = os.open(f"{worker.world.root}/lock", os.O_RDWR)
        for first in (10, 5):
            try:
                lock(fd, first)
                seen.append("taken")
            except OSError:
                seen.append("refused")

    with scratch() as folder:
        together(folder, holder, other)
    assert seen == ["taken", "refused"]


def test_unlocking_the_middle_leaves_both_ends():
    """A range that is taken out of a record lock splits it."""
    free = []

    def holder(worker):
        fd = os.open(f"{worker.world.root}/lock", os.O_CREAT | os.O_RDWR)
        fcntl.lockf(fd, fcntl.LOCK_EX, 30, 0)
        fcntl.lockf(fd, fcntl.LOCK_UN, 10, 10)
        worker.sleep(10)

    def other(worker):
        worker.sleep(1)
        fd = os.open(f"{worker.world.root}/lock", os.O_RDWR)
        for first in (0, 10, 20):
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, first)
                free.append(first)
            except BlockingIOError:
                pass

    with scratch() as folder:
        together(folder, holder, other)
    assert free == [10]


@pytest.mark.scenario("simulation/a-lock-of-the-process")
@pytest.mark.parametrize("where", ["module", "class", "made here"])
def test_a_lock_of_the_process_excludes_no_other_process(where):
    """A module's lock is another lock in each process: both workers hold it at once, and nobody hangs."""
    own = threading.Lock()
    lock = {"module": lambda: MODULE_LOCK, "class": lambda: Keeper.lock, "made here": threading.Lock}[where]
    assert not own.locked()
    inside = []

    def program(worker):
        kept = lock()
        with kept:
            inside.append(kept.locked())
            worker.sleep(10)
            inside.append(kept.acquire(blocking=False))

    with scratch() as folder:
        world = together(folder, program, program)
    assert inside == [True, True, False, False]
    assert world.time.now_ns == 10 * 10**9


WAITS = {
    "a lock that it holds": lambda: (lock := threading.Lock()).acquire() and lock.acquire(timeout=5),
    "a condition": lambda: waited(threading.Condition()),
    "an event": lambda: threading.Event().wait(5),
    "a semaphore": lambda: threading.Semaphore(0).acquire(timeout=5),
    "a queue": lambda: bool(refused(queue.Queue().get, timeout=5)),
    "a simple queue": lambda: bool(refused(queue.SimpleQueue().get, timeout=5)),
    "select": lambda: any(select.select([], [], [], 5)),
}


def waited(condition):
    """Wait for a condition that nobody notifies of."""
    with condition:
        return condition.wait(5)


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_a_wait_that_nobody_ends_takes_virtual_time(wait):
    """Waiting alone, with a timeout, ends after it."""

    def program(worker, _folder):
        return wait(), worker.world.time.now_ns // 10**9

    assert told(program) == (False, 5)


def test_waiting_for_oneself_for_ever_is_a_deadlock():
    """A worker that takes its own lock twice stands still, and the world comes to its end."""

    def program(_worker):
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()

    with scratch() as folder:
        world = World(Tape(Replay(())), str(folder))
        world.add("w1", program)
        world.run()
        assert [worker.name for worker in world.deadlocked] == ["w1"]
        world.close()


def test_locks_that_are_free_work_in_a_worker():
    """Queues, conditions and reentrant locks do what they do in a process with one thread."""

    def program(_worker, _folder):
        items, lock = queue.Queue(), threading.RLock()
        condition = threading.Condition(lock)
        with lock, condition:
            condition.notify_all()
            items.put("item")
        return items.get()

    assert told(program) == "item"
