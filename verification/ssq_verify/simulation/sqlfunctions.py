"""What do SQL's own functions tell a worker? The time of its clock, and random numbers of its own."""

import sqlite3
from functools import partial
from typing import Any

from ssq_verify.simulation.world import Worker, current

TIME_FUNCTIONS = ("date", "time", "datetime", "julianday", "strftime", "unixepoch")
CONSTANTS = {"current_timestamp": "datetime", "current_date": "date", "current_time": "time"}

_plain = sqlite3.connect(":memory:", check_same_thread=False)
"""A connection whose functions are SQLite's own."""


def give(connection: sqlite3.Connection) -> None:
    """Let the functions be the worker's."""
    # As SQLite's own, they may stand in an index; within one statement it asks them once.
    for name in TIME_FUNCTIONS:
        connection.create_function(name, -1, _FUNCTIONS[name], deterministic=True)
    for constant in CONSTANTS:
        connection.create_function(constant, 0, _FUNCTIONS[constant], deterministic=True)
    connection.create_function("random", 0, _random)
    connection.create_function("randomblob", 1, _randomblob)


def _evaluated(name: str, *args: Any) -> Any:
    told = list(args)
    if not told or (name == "strftime" and len(told) == 1):
        told.append("now")
    if any(isinstance(arg, str) and arg.lower() == "now" for arg in told):
        now = f"{_worker().clock():%Y-%m-%d %H:%M:%S.%f}"
        told = [now if isinstance(arg, str) and arg.lower() == "now" else arg for arg in told]
    return _plain.execute(f"SELECT {name}({', '.join('?' * len(told))})", told).fetchone()[0]


def _random() -> int:
    return _worker().random.getrandbits(64) - 2**63


def _randomblob(size: int) -> bytes:
    return _worker().random.randbytes(max(1, size))


def _worker() -> Worker:
    worker = current()
    assert worker is not None, "a worker's connection is used outside of it"
    return worker


_FUNCTIONS = {name: partial(_evaluated, name) for name in TIME_FUNCTIONS} | {
    constant: partial(_evaluated, name) for constant, name in CONSTANTS.items()
}
