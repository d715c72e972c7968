"""What do the locks of `threading` do in a worker? They are its own, as if it were a process with one thread.

A lock that a module or a class keeps is in each real process another lock: workers never stand in each
other's way with it. Who waits for one that it holds itself waits for ever, or until its timeout, in virtual
time. Reentrant locks are left as they are: the real one's owner is the thread that all workers share.
"""

import _thread
import queue
import sys
import threading
from types import ModuleType
from typing import Any

from ssq_verify.simulation.replacement import Call, is_reached, refuse, register, replace
from ssq_verify.simulation.world import Worker, current

_HELD = "held locks"
_own_to: set[str] = set()
_allocate_real = _thread.allocate_lock
_Real = type(_allocate_real())


class _Kind(type):
    def __instancecheck__(cls, one: object) -> bool:
        return isinstance(one, _Real) or type.__instancecheck__(cls, one)


class Lock(metaclass=_Kind):
    """A lock of the process: each worker has its own, and outside of workers it is the real one.

    Stands for `threading.Lock`: where no worker runs, that gives a real lock and nothing else.
    """

    _real: Any

    def __new__(cls, real: Any = None) -> Any:
        """Make one; from a real lock, one that each worker has for itself."""
        if real is None:
            real = _allocate_real()
            if current() is None:
                return real
        lock = object.__new__(cls)
        lock._real = real
        return lock

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001, FBT002 - as the real one
        """Take the lock; who can not waits in virtual time."""
        worker = current()
        if worker is None:
            return self._real.acquire(blocking, timeout)  # type: ignore[no-any-return]
        held = worker.own.setdefault(_HELD, set())
        if self in held:
            until_ns = None if timeout < 0 else worker.world.time.now_ns + round(timeout * 1e9)
            if not blocking or not worker.wait(lambda: self not in held, until_ns):
                return False
        held.add(self)
        return True

    def release(self) -> None:
        """Let it go."""
        worker = current()
        if worker is None:
            self._real.release()
        elif self in (held := worker.own.get(_HELD, ())):
            held.remove(self)
        else:
            raise RuntimeError("release unlocked lock")

    def locked(self) -> bool:
        """Whether it is taken."""
        worker = current()
        return bool(self._real.locked() if worker is None else self in worker.own.get(_HELD, ()))

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()

    def __deepcopy__(self, _memo: object) -> "Lock":
        """Be what a fork's child has in its place: each worker has its own as it is."""
        return self

    def _at_fork_reinit(self) -> None:
        self._real._at_fork_reinit()  # noqa: SLF001 - the real one's


class SimpleQueue(queue.SimpleQueue[Any]):
    """A queue whose `get` lets a worker wait in virtual time."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002 - as the real one
        """Take the oldest item. Raises `queue.Empty`."""
        worker = current()
        if worker is None or not block or not self.empty():
            return super().get(block, timeout)
        until_ns = None if timeout is None else worker.world.time.now_ns + round(timeout * 1e9)
        worker.wait(lambda: not self.empty(), until_ns)
        return super().get(block=False)


def install() -> None:
    """Let locks made in a worker be the worker's, and refuse threads."""
    register("_thread.allocate_lock", _allocate_real, Lock)
    threading.Lock = threading._allocate_lock = _thread.allocate_lock = Lock  # type: ignore[attr-defined]  # noqa: SLF001 - where it looks for locks
    register("queue.SimpleQueue", queue.SimpleQueue, SimpleQueue)
    queue.SimpleQueue = SimpleQueue  # type: ignore[misc]
    for module in (_thread, threading):
        for name in ("start_new_thread", "start_joinable_thread"):
            replace(module, "_" * (module is threading) + name, _refused)


def spread() -> None:
    """Let locks that modules and classes have made already be each worker's own."""
    for name, module in list(sys.modules.items()):
        if name not in _own_to and is_reached(module):
            _own_to.add(name)
            if name.partition(".")[0] not in sys.stdlib_module_names:
                _spread_in(module)


def _refused(worker: Worker, _real: Call, *_args: Any, **_kwargs: Any) -> None:
    refuse(worker, "a thread")


def _spread_in(module: ModuleType) -> None:
    for name, value in list(vars(module).items()):
        if isinstance(value, _Real):
            setattr(module, name, Lock(value))
        elif isinstance(value, type) and value.__module__ == module.__name__:
            for attribute, kept in list(vars(value).items()):
                if isinstance(kept, _Real):
                    setattr(value, attribute, Lock(kept))
