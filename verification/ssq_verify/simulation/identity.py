"""Who is a worker, to itself and to others? A process with a number of its own, on a host that all share."""

import errno
import os
import platform
import signal
import socket
import threading
from typing import Any

from ssq_verify.simulation.point import Point
from ssq_verify.simulation.replacement import Call, refuse, replace
from ssq_verify.simulation.world import State, Worker

HOST = "host"
PARENT = 999
"""The process that all of them were started by."""
_HANDLERS = "signal handlers"


def install() -> None:
    """Replace who and where one is."""
    replace(os, "getpid", lambda worker, _real: worker.pid)
    replace(os, "getppid", lambda _worker, _real: PARENT)
    replace(os, "uname", _uname)
    replace(os, "kill", _kill)
    replace(threading, "get_ident", lambda worker, _real: worker.pid)
    replace(threading, "get_native_id", lambda worker, _real: worker.pid)
    replace(threading, "current_thread", lambda _worker, _real: threading.main_thread())
    for module, name in ((socket, "gethostname"), (socket, "getfqdn"), (platform, "node")):
        replace(module, name, lambda _worker, _real, *_name: HOST)
    replace(signal, "signal", _signal)
    replace(signal, "getsignal", lambda worker, _real, number: _handler(worker, number))


def _uname(_worker: Worker, real: Call) -> os.uname_result:
    told = real()
    return os.uname_result((told.sysname, HOST, told.release, told.version, told.machine))


def _kill(worker: Worker, _real: Call, pid: int, number: int) -> None:
    """Tell whether a process lives, as `kill` with signal 0 does."""
    if number != 0:
        refuse(worker, "a signal")
    worker.reach(Point("os.kill", f"is {pid} alive?", reads=frozenset((f"process:{pid}",))))
    alive = (other for other in worker.world.workers if other.state not in {State.DONE, State.DEAD})
    if pid not in {PARENT, *(other.pid for other in alive)}:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))


def _signal(worker: Worker, _real: Call, number: int, handler: Any) -> Any:
    """Keep the handler, which nothing will call: the only signal in a simulation is a kill."""
    before = _handler(worker, number)
    worker.own.setdefault(_HANDLERS, {})[number] = handler
    return before


def _handler(worker: Worker, number: int) -> Any:
    default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    return worker.own.get(_HANDLERS, {}).get(number, default)
