"""The server that a queue lives in dies, or stands still, and is back a moment later: it strikes all at once.

It comes at any moment, or when a worker is inside a certain operation: that worker stands at its beginning
until the blow falls. By the order either its request then meets a server that does not move any more, and is
cut off with it; or the two race, and the request may be done, its answer lost, or the connection be refused.
"""

import time
from typing import Protocol

from ssq_stress.faults import Fault, Order
from ssq_stress.nemesis import Victim
from ssq_stress.processes.board import Field, Slot
from ssq_stress.processes.log import MONOTONIC_NS, EventLog

BACK = "server-back"
"""Its event: the server is there again."""
NOT_OURS = "the server is not ours"
REQUEST_SECONDS = 0.003
"""For so long a worker that was let go has to make its request, before the server is killed."""
STAND_SECONDS_MAX = 1.0
"""A worker stands no longer for a blow, such as when the server is down already."""
POLL_SECONDS = 0.0005


class Strikable(Protocol):
    """What a server lets be done to it."""

    @property
    def name(self) -> str:
        """What it is called in a history."""
        ...

    def start(self) -> None:
        """Start it on the data that it has."""
        ...

    def kill(self) -> None:
        """Kill all its processes."""
        ...

    def pause(self) -> None:
        """Let all its processes stand still."""
        ...

    def resume(self) -> None:
        """Let them go on."""
        ...


def from_inside(victim: Victim, _order: Order, _where: str) -> None:
    """Stand here until the server is struck."""
    victim.slot.set(Field.STANDS, 1)
    until_ns = MONOTONIC_NS() + round(STAND_SECONDS_MAX * 1e9)
    while victim.slot.get(Field.STANDS) and MONOTONIC_NS() < until_ns:
        time.sleep(POLL_SECONDS)
    victim.slot.set(Field.STANDS, 0)


class Outages:
    """Strikes a server, one blow after the other, and brings it back when its time has come."""

    def __init__(self, server: Strikable, log: EventLog) -> None:
        self._server = server
        self._log = log
        self._down: Fault | None = None
        self._back_ns = 0

    @property
    def is_up(self) -> bool:
        """Whether it can be struck."""
        return self._down is None

    def strike(self, order: Order, stands: Slot | None = None, where: str | None = None) -> None:
        """Strike it; who stands for the blow goes on as it falls."""
        assert self.is_up, "it is down already"
        self._down = order.fault
        self._log.single(self._server.name, order.fault, value=where)
        is_race = stands is not None and order.point % 2 == 1
        if is_race:
            _let_go(stands)
        else:
            self._server.pause()
            _let_go(stands)
        self._fall(order.fault, is_race=is_race)
        self._back_ns = MONOTONIC_NS() + round(order.seconds * 1e9)

    def tick(self) -> None:
        """Bring it back, if it is time. Raises `ServerFailed`."""
        if self._down is not None and MONOTONIC_NS() > self._back_ns:
            self.heal()

    def heal(self) -> None:
        """Bring it back now, if it is down. Raises `ServerFailed`."""
        if self._down is None:
            return
        if self._down is Fault.SERVER_KILL:
            self._server.start()
        else:
            self._server.resume()
        self._down = None
        self._log.single(self._server.name, BACK)

    def _fall(self, fault: Fault, *, is_race: bool) -> None:
        if fault is Fault.SERVER_KILL:
            if not is_race:
                time.sleep(REQUEST_SECONDS)
            self._server.kill()
        elif is_race:
            self._server.pause()


def _let_go(stands: Slot | None) -> None:
    if stands is not None:
        stands.set(Field.STANDS, 0)
