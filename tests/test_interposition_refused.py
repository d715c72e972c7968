"""Is what no simulation controls refused by name, and a process that simulates nothing left alone?"""

# Each call is asked for in its plainest form:
# ruff: noqa: S605, S606, S607, SIM105

import asyncio
import concurrent.futures
import ctypes
import fcntl
import gc
import io
import mmap
import multiprocessing
import os
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from simulated import points, told
from ssq_verify.simulation import interposition
from ssq_verify.simulation.point import NotSimulatable

interposition.install()


async def nothing():
    """Do nothing, asynchronously."""


REFUSED = {
    "thread": ("a thread", lambda _f: threading.Thread(target=int).start()),
    "timer": ("a thread", lambda _f: threading.Timer(1, int).start()),
    "pool of threads": ("a thread", lambda _f: concurrent.futures.ThreadPoolExecutor().submit(int)),
    "event loop": ("an event loop", lambda _f: asyncio.new_event_loop()),
    "subprocess": ("a subprocess", lambda _f: subprocess.run(["true"], check=True)),
    "spawned process": (
        "a (subprocess|semaphore)",
        lambda _f: multiprocessing.get_context("spawn").Process(target=int).start(),
    ),
    "semaphore of processes": ("a semaphore", lambda _f: multiprocessing.get_context("spawn").Lock()),
    "fork": ("a fork", lambda _f: os.fork()),
    "system": ("a subprocess", lambda _f: os.system("true")),
    "exec": ("another program", lambda _f: os.execv("/bin/true", ["true"])),
    "socket": ("a socket", lambda _f: socket.socket()),
    "alarm": ("a signal", lambda _f: signal.alarm(1)),
    "poll": ("a wait for descriptors", lambda _f: select.poll()),
    "select": ("a wait for descriptors", lambda _f: select.select([0], [], [], 0)),
    "memory map": ("a memory map", lambda f: mmap.mmap(os.open(f / "there", os.O_RDWR), 0)),
    "C library": ("C code", lambda _f: ctypes.CDLL("libc.so.6")),
    "named pipe": ("a named pipe", lambda f: os.mkfifo(f / "pipe")),
    "raw file": ("a file that is opened", lambda f: io.FileIO(f / "there")),
    "ioctl": ("a descriptor's control", lambda f: fcntl.ioctl(os.open(f / "there", os.O_RDWR), 0)),
    "lock that is asked for": (
        "a lock by fcntl",
        lambda f: fcntl.fcntl(os.open(f / "there", os.O_RDWR), fcntl.F_GETLK, bytes(32)),
    ),
    "own connection": ("an SQLite connection", lambda f: sqlite3.Connection.__mro__[1](f / "db")),
}


@pytest.mark.scenario("simulation/what-no-simulation-controls")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("what", "call"), REFUSED.values(), ids=REFUSED)
def test_what_no_simulation_controls_is_refused(what, call):
    """It is named with the line of the subject's own that led to it, even if the subject catches that."""

    def program(folder):
        try:
            call(folder)
        except Exception:  # noqa: BLE001, S110 - as many a queue does
            pass

    with pytest.raises(NotSimulatable, match=what) as refused:
        points(program)
    where = refused.value.where
    # A loop or a process that is half made complains when it goes: here, where that is expected.
    del refused
    gc.collect()
    assert Path(where.rpartition(":")[0]).name == Path(__file__).name


def test_a_memory_map_of_no_file_is_ones_own_business():
    """Anonymous memory is seen by nobody else."""
    assert told(lambda _worker, _folder: len(mmap.mmap(-1, 10))) == 10


def test_a_process_that_simulates_nothing_is_left_as_it_is():
    """Importing the harness replaces nothing: only a simulation does."""
    program = (
        "import os, time, sqlite3, ssq_verify.verify, ssq_verify.simulation.interposition\n"
        "from ssq_verify.simulation.replacement import REAL\n"
        "print(type(os.rename).__name__, type(time.sleep).__name__, len(REAL))\n"
    )
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert shown.split() == ["builtin_function_or_method", "builtin_function_or_method", "0"]
