"""How does a call reach the simulator? A stand-in takes a function's place: a handler gets a worker's calls.

Outside of workers the stand-in passes straight through. A stand-in is a bound method, not a function, so that
a class that keeps one as an attribute does not bind it anew.
"""

import os
import sys
from collections.abc import Callable, Iterator
from types import FrameType, FunctionType, MethodType, ModuleType
from typing import Any, NoReturn

from greenlet import getcurrent

from ssq_verify.simulation.point import Killed, NotSimulatable
from ssq_verify.simulation.world import DEAD, Worker

Call = Callable[..., Any]
Handler = Callable[..., Any]
"""Gets the worker, the real function, and what it was called with."""

REAL: dict[str, Call] = {}
"""The functions as they were before `replace`, by module and name."""

_stand_ins: dict[int, Any] = {}
"""By the identity of what they stand for; `REAL` keeps those alive."""
_spread_to: set[str] = set()

SIMULATOR = os.path.dirname(__file__)  # noqa: PTH120 - a prefix of file names, as frames have them
LIBRARY = os.path.dirname(os.__file__)  # noqa: PTH120 - as above


def replace(module: Any, name: str, handler: Handler) -> None:
    """Put a stand-in in a function's place, if this Python has such a function."""
    real = getattr(module, name, None)
    if real is None:
        return
    if id(real) not in _stand_ins:
        register(f"{module.__name__}.{name}", real, _stand_in(real, handler))
    setattr(module, name, _stand_ins[id(real)])


def register(name: str, real: Any, stand_in: Any) -> None:
    """Note what stands for a function or a class, for `spread`."""
    REAL[name] = real
    _stand_ins[id(real)] = stand_in
    for supporting in (
        os.supports_fd,
        os.supports_dir_fd,
        os.supports_follow_symlinks,
        os.supports_effective_ids,
    ):
        if real in supporting:
            supporting.add(stand_in)


def spread() -> None:
    """Reach code that bound a function before: as a module's name, a class's, or a parameter's default."""
    for name, module in list(sys.modules.items()):
        if name not in _spread_to and is_reached(module):
            _spread_to.add(name)
            _spread_in(module)


HARMLESS = frozenset({"perf_counter", "monotonic", "time", "stat", "getpid", "get_ident"})
"""What the interpreter's own hooks may ask for, in a dead worker's frames that are being torn down."""


def perform(worker: Worker, real: Call, *args: Any, **kwargs: Any) -> Any:
    """Do the real thing at a point; what it calls in its turn is no point of its own."""
    worker.inside += 1
    try:
        return real(*args, **kwargs)
    finally:
        worker.inside -= 1


def refuse(worker: Worker, what: str) -> NoReturn:
    """Say that a worker does what can not be simulated; its run fails even if the subject catches that."""
    frames = list(_frames())
    if any(file.startswith(f"{LIBRARY}/asyncio/") for file, _ in frames):
        what = "an event loop"
    file, line = next((frame for frame in frames if not _is_librarys(frame[0])), frames[0])
    worker.failure = NotSimulatable(what, f"{file}:{line}")
    raise worker.failure


def _stand_in(real: Call, handler: Handler) -> Any:
    def passed(real: Call, /, *args: Any, **kwargs: Any) -> Any:
        # As `current` and `check_alive` have it, without their calls.
        try:
            worker = getcurrent()
        except RuntimeError:
            return real(*args, **kwargs)
        if not isinstance(worker, Worker) or worker.inside:
            return real(*args, **kwargs)
        if worker.state is DEAD:
            if real.__name__ in HARMLESS:
                return real(*args, **kwargs)
            raise Killed
        return handler(worker, real, *args, **kwargs)

    passed.__name__ = passed.__qualname__ = real.__name__
    passed.__doc__ = real.__doc__
    return MethodType(passed, real)


def _frames() -> Iterator[tuple[str, int]]:
    """Yield the file and line of who called the simulator, and of whoever called that."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - to tell where it is
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((SIMULATOR, "<frozen")):
            yield file, frame.f_lineno
        frame = frame.f_back


def _is_librarys(file: str) -> bool:
    return file.startswith(f"{LIBRARY}/") and "-packages/" not in file


def is_reached(module: Any) -> bool:
    """Whether a module is code in Python that workers may run: not the simulator, nor what it rests on."""
    file = getattr(module, "__file__", None)
    return (
        isinstance(module, ModuleType)
        and isinstance(file, str)
        and file.endswith(".py")
        and not file.startswith(SIMULATOR)
        and not module.__name__.startswith(("importlib", "time_machine", "greenlet"))
    )


def _spread_in(module: ModuleType) -> None:
    namespace = vars(module)
    for name, value in list(namespace.items()):
        stand_in = _stand_ins.get(id(value))
        if stand_in is not None:
            namespace[name] = stand_in
        elif isinstance(value, FunctionType):
            _spread_to_defaults(value)
        elif isinstance(value, type) and value.__module__ == module.__name__:
            _spread_in_class(value)


def _spread_in_class(owner: type) -> None:
    for name, value in list(vars(owner).items()):
        stand_in = _stand_ins.get(id(value))
        if stand_in is not None:
            setattr(owner, name, stand_in)
        elif isinstance(value, staticmethod) and (bare := _stand_ins.get(id(value.__func__))) is not None:
            setattr(owner, name, staticmethod(bare))
        elif isinstance(value, FunctionType):
            _spread_to_defaults(value)


def _spread_to_defaults(function: FunctionType) -> None:
    defaults = function.__defaults__
    if defaults and any(id(value) in _stand_ins for value in defaults):
        function.__defaults__ = tuple(_stand_ins.get(id(value), value) for value in defaults)
    by_name = function.__kwdefaults__ or {}
    for name, value in by_name.items():
        if id(value) in _stand_ins:
            by_name[name] = _stand_ins[id(value)]
