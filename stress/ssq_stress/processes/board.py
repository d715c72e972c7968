"""What do the supervisor and its workers tell each other while both run? A small file that all have mapped.

Each worker has a slot of its own, and each field one writer at a time, so that nothing needs a lock: a lock
would be left behind by a kill. A field is 8 bytes, aligned, and written by one copy of that size.
"""

import mmap
import struct
from enum import IntEnum
from pathlib import Path

from ssq_stress.faults import Fault, Order, Phase
from ssq_stress.processes.log import MONOTONIC_NS

FIELD = struct.Struct("=q")
FIELDS_PER_SLOT = 32
TEXT_BYTES = 128
SLOT_BYTES = FIELDS_PER_SLOT * FIELD.size + TEXT_BYTES
HEAD_FIELDS = 8
FAULTS, PHASES = tuple(Fault), tuple(Phase)
MICRO = 1e6


class Stage(IntEnum):
    """What the workers are to do."""

    FILL = 0
    """Producers fill the queue; the others wait."""
    FAULTS = 1
    LULL = 2
    """Each consumer claims once more and leaves it; all leases end before anybody polls again."""
    DRAIN = 3
    """Producers end; the others work off what is there, and end when nothing comes any more."""
    STOP = 4


class Head(IntEnum):
    """The fields that concern everybody."""

    STAGE = 0
    ALIVE_NS = 1
    """When the supervisor was last at work; workers without one end."""
    ORPHANED_NS = 2
    """When the next lease that was left behind ends; 0: none was since the last such job was taken."""
    RECLAIMER = 3
    """The slot, counted from 1, whose worker is to be struck while it takes that job over; 0: none."""


class Field(IntEnum):
    """The fields of a slot."""

    ENQUEUED = 0
    CLAIMED = 1
    RECLAIMED = 2
    ACKED = 3
    OPERATIONS = 4
    BURIED = 5
    """Releases at the last attempt."""
    HELD_UNTIL_NS = 6
    """When the lease of what the worker holds ends; 0: it holds nothing."""
    STOPPED_UNTIL_NS = 7
    """When a worker that stopped itself wants to be continued."""
    CLOCK_VERSION = 8
    CLOCK_SINCE_NS = 9
    CLOCK_OFFSET_NS = 10
    CLOCK_RATE_PPM = 11
    CLOCK_LIMIT_NS = 12
    """How far the offset may drift from 0."""
    ORDER_NUMBER = 13
    """Goes up with each new order."""
    ORDER_FAULT = 14
    ORDER_PHASE = 15
    ORDER_POINT = 16
    ORDER_MICROSECONDS = 17
    ORDER_RATE_PPM = 18
    IS_LATE = 20
    """1 while the worker holds a job for about as long as its lease."""
    IS_READY = 21
    """1 once the worker has finished its first operation."""
    STANDS = 22
    """1 while the worker stands at the place where its server is to be struck."""
    ORDER_DONE = 19
    """The number of the order that was carried out last."""


COUNTERS = (Field.ENQUEUED, Field.CLAIMED, Field.RECLAIMED, Field.ACKED, Field.OPERATIONS, Field.BURIED)


class Board:
    """The mapped file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    @classmethod
    def made(cls, path: Path, *, slots: int) -> "Board":
        """Make the file with so many slots, all fields 0, and map it."""
        path.write_bytes(bytes(HEAD_FIELDS * FIELD.size + slots * SLOT_BYTES))
        return cls(path)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()

    def head(self, field: Head) -> int:
        """Return a field that concerns everybody."""
        return int(FIELD.unpack_from(self._map, field * FIELD.size)[0])

    def set_head(self, field: Head, value: int) -> None:
        """Set one."""
        FIELD.pack_into(self._map, field * FIELD.size, value)

    def orphan(self, slot: "Slot") -> None:
        """Note that a worker left its job behind, if it has one."""
        held_until_ns = slot.get(Field.HELD_UNTIL_NS)
        slot.set(Field.HELD_UNTIL_NS, 0)
        if held_until_ns and self.head(Head.ORPHANED_NS) < MONOTONIC_NS():
            self.set_head(Head.ORPHANED_NS, held_until_ns)

    @property
    def stage(self) -> Stage:
        """What the workers are to do now."""
        return Stage(self.head(Head.STAGE))

    def total(self, field: Field) -> int:
        """Return what a field comes to, all slots together."""
        first = HEAD_FIELDS * FIELD.size + field * FIELD.size
        return sum(FIELD.unpack_from(self._map, at)[0] for at in range(first, len(self._map), SLOT_BYTES))

    @property
    def backlog(self) -> int:
        """About how many jobs wait: a worker that was killed may not have counted its last."""
        return self.total(Field.ENQUEUED) - self.total(Field.CLAIMED)

    def slot(self, number: int) -> "Slot":
        """Return one worker's part of the board."""
        return Slot(self._map, HEAD_FIELDS * FIELD.size + number * SLOT_BYTES)


class Slot:
    """One worker's part of the board."""

    def __init__(self, mapped: mmap.mmap, start: int) -> None:
        self._map = mapped
        self._start = start

    def get(self, field: Field) -> int:
        """Return a field."""
        return int(FIELD.unpack_from(self._map, self._start + field * FIELD.size)[0])

    def set(self, field: Field, value: int) -> None:
        """Set a field."""
        FIELD.pack_into(self._map, self._start + field * FIELD.size, value)

    def add(self, field: Field, count: int = 1) -> None:
        """Count one more, or so many."""
        self.set(field, self.get(field) + count)

    def give(self, order: Order) -> None:
        """Give an order; one that was not carried out yet is withdrawn."""
        self.withdraw()
        self.set(Field.ORDER_FAULT, FAULTS.index(order.fault))
        self.set(Field.ORDER_PHASE, PHASES.index(order.phase))
        self.set(Field.ORDER_POINT, order.point)
        self.set(Field.ORDER_MICROSECONDS, round(order.seconds * MICRO))
        self.set(Field.ORDER_RATE_PPM, round(order.rate * MICRO))
        self.set(Field.ORDER_NUMBER, self.get(Field.ORDER_NUMBER) + 1)

    @property
    def is_ordered(self) -> bool:
        """Whether there is an order that was not carried out yet."""
        return self.get(Field.ORDER_NUMBER) != self.get(Field.ORDER_DONE)

    @property
    def order(self) -> Order | None:
        """The order that was not carried out yet."""
        if not self.is_ordered:
            return None
        return Order(
            fault=FAULTS[self.get(Field.ORDER_FAULT)],
            phase=PHASES[self.get(Field.ORDER_PHASE)],
            point=self.get(Field.ORDER_POINT),
            seconds=self.get(Field.ORDER_MICROSECONDS) / MICRO,
            rate=self.get(Field.ORDER_RATE_PPM) / MICRO,
        )

    def aim(self, point: int) -> None:
        """Let the order strike at another step."""
        self.set(Field.ORDER_POINT, point)

    def withdraw(self) -> None:
        """Take the order back, or note that it is carried out."""
        self.set(Field.ORDER_DONE, self.get(Field.ORDER_NUMBER))

    def tell(self, text: str) -> None:
        """Leave a word for whoever finds this worker dead."""
        start = self._start + FIELDS_PER_SLOT * FIELD.size
        told = text.encode()[: TEXT_BYTES - 1]
        self._map[start : start + TEXT_BYTES] = told.ljust(TEXT_BYTES, b"\0")

    def told(self) -> str:
        """Return the word that was left, and wipe it out."""
        start = self._start + FIELDS_PER_SLOT * FIELD.size
        text = self._map[start : start + TEXT_BYTES].rstrip(b"\0").decode(errors="replace")
        self._map[start : start + TEXT_BYTES] = bytes(TEXT_BYTES)
        return text
