"""What time does unmodified code get? Its worker's, wherever it asks for it and however.

The wall clock is replaced below Python's names by the library time-machine, while a world runs and no longer;
monotonic clocks and `sleep` are replaced by name.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import time_machine

from ssq_verify.simulation.replacement import Call, replace
from ssq_verify.simulation.world import Worker, World, current

SECONDS = ("monotonic", "perf_counter", "process_time", "thread_time")
"""Clocks that show a worker the true virtual time, also in nanoseconds (`monotonic_ns`)."""

_travel = time_machine.travel(0, tick=False)
_running = 0


def install() -> None:
    """Replace the clocks, and let the wall clock be the workers' while a world runs."""
    for name in SECONDS:
        replace(time, name, _monotonic)
        replace(time, f"{name}_ns", _monotonic_ns)
    replace(time, "clock_gettime", _clock_gettime)
    replace(time, "clock_gettime_ns", _clock_gettime_ns)
    replace(time, "sleep", _sleep)
    replace(time, "ctime", _ctime)
    replace(time, "asctime", _asctime)
    World.running = staticmethod(travelling)  # type: ignore[method-assign]


@contextmanager
def travelling() -> Iterator[None]:
    """Let each worker read its own clock, and everybody else the real one."""
    global _running  # noqa: PLW0603 - worlds within a world
    if _running == 0:
        # A traveller reads its destination by this method, from time-machine 2.19 to 3.6 at least.
        _travel.start().time_ns = _now_ns  # type: ignore[method-assign]
    _running += 1
    try:
        yield
    finally:
        _running -= 1
        if _running == 0:
            _travel.stop()


def _now_ns() -> int:
    worker = current()
    return time_machine.escape_hatch.time.time_ns() if worker is None else worker.clock.look_ns()


def _monotonic(worker: Worker, _real: Call) -> float:
    return worker.world.time.look() / 1e9


def _monotonic_ns(worker: Worker, _real: Call) -> int:
    return worker.world.time.look()


def _clock_gettime(worker: Worker, real: Call, clock: int) -> float:
    return real(clock) if clock == time.CLOCK_REALTIME else worker.world.time.look() / 1e9


def _clock_gettime_ns(worker: Worker, real: Call, clock: int) -> int:
    return real(clock) if clock == time.CLOCK_REALTIME else worker.world.time.look()


def _sleep(worker: Worker, _real: Call, seconds: float) -> None:
    worker.sleep(seconds)


def _ctime(_worker: Worker, real: Call, seconds: float | None = None) -> Any:
    return real(time.time() if seconds is None else seconds)


def _asctime(_worker: Worker, real: Call, moment: Any = None) -> Any:
    return real(time.localtime() if moment is None else moment)
