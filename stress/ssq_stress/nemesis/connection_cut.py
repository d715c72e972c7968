"""The connection to a server breaks: a request is lost, the reply to one that was done, or it is reset.

A program stands between workers and the server (`servers/between.py`). A worker that is to lose something
says so to it before the operation, and asks it afterwards what came of that: as many requests as were named
there may not have been. Between two operations, all connections of the worker are closed at once.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TextIO

from ssq_stress.faults import Fault, Order
from ssq_stress.nemesis import Victim
from ssq_stress.servers.between import AT_ONCE, KINDS, OVER

CONTROL = "SSQ_RELAY_CONTROL"
"""The variable that says where orders are taken."""
NOT_BETWEEN = "nothing of ours stands between the workers and the server"
ANSWER_SECONDS_MAX = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """What is to be lost, as it follows from the point of an order."""

    kind: str
    request: int
    """Which one of the operation, counted from 1."""

    @classmethod
    def of(cls, point: int) -> "Loss":
        """Return what a point stands for: each kind of each request in turn."""
        return cls(kind=KINDS[(point - 1) % len(KINDS)], request=(point - 1) // len(KINDS) + 1)

    def point_of(self, request: int) -> int:
        """Return the point that stands for the same of another request."""
        return (request - 1) * len(KINDS) + KINDS.index(self.kind) + 1


def unavailable() -> str | None:
    """Return why no connection can be cut, if none can."""
    return None if os.environ.get(CONTROL) else NOT_BETWEEN


def from_inside(victim: Victim, _order: Order, _where: str) -> None:
    """Cut all connections of this worker, between two operations."""
    with _conversation() as said:
        if int(said(f"{AT_ONCE}\n")):
            victim.log.single(victim.name, Fault.CONNECTION_CUT, value=AT_ONCE)


@contextmanager
def around(victim: Victim, order: Order, operation: str) -> Iterator[None]:
    """Lose something of an operation; if it makes fewer requests, the next one's last is aimed at."""
    loss = Loss.of(order.point)
    with _conversation() as said:
        said(f"{loss.kind}|{loss.request}\n")
        try:
            yield
        finally:
            is_done, seen = map(int, said(OVER.decode()).split())
            if is_done:
                where = f"request {loss.request} of {operation}"
                victim.log.single(victim.name, Fault.CONNECTION_CUT, value=f"{loss.kind}|{where}")
            if seen and not is_done:
                victim.slot.aim(loss.point_of(min(seen, loss.request)))
            else:
                # One that asks for nothing can't be cut off: it must not keep a worker from other orders.
                victim.slot.withdraw()


@contextmanager
def _conversation() -> Iterator[Callable[[str], str]]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS_MAX)
        connection.connect(os.environ[CONTROL])
        with connection.makefile("rw", encoding="ascii") as stream:
            yield partial(_said, stream)


def _said(stream: TextIO, line: str) -> str:
    """Say one line, and return the line that answers it."""
    stream.write(line)
    stream.flush()
    return stream.readline()
