"""How does a worker write down what it does, so that a kill loses at most the line being written?

Each process appends to a file of its own, one `os.write` a line. An operation without a completion stays in
the history as one of unknown outcome. All recorders share CLOCK_MONOTONIC, the one true clock of the host.
"""

import os
import time
from pathlib import Path

import msgspec

from ssq_core.queue import Clock
from ssq_verify.history import Event, EventType
from ssq_verify.recording import Recorder

WRITE = os.write
"""Taken before anything counts or fails a worker's writes."""
MONOTONIC_NS = time.monotonic_ns

APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
SUFFIX = ".jsonl"


class EventLog(Recorder):
    """A recorder whose events go to a file at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(true_time_ns=MONOTONIC_NS)
        self._fd = os.open(path, APPEND, 0o644)
        self._encode = msgspec.json.Encoder().encode

    def record(
        self, worker: str, type_: EventType, f: str, *, clock: Clock | None = None, **fields: object
    ) -> None:
        """Write one event down, at the present instant unless `time_ns` says another."""
        super().record(worker, type_, f, clock=clock, **fields)
        WRITE(self._fd, self._encode(self.events.pop()) + b"\n")

    def single(self, worker: str, f: str, *, value: str | None = None, time_ns: int | None = None) -> None:
        """Write down a fault or an observation."""
        moment = MONOTONIC_NS() if time_ns is None else time_ns
        event = Event(index=0, time_ns=moment, worker=worker, type=EventType.INFO, f=f, value=value)
        WRITE(self._fd, self._encode(event) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def lines(path: Path) -> list[bytes]:
    """Return a file's whole lines: a kill may have cut the last one short."""
    content = path.read_bytes()
    whole, _, _ = content.rpartition(b"\n")
    return whole.split(b"\n") if whole else []


def events(path: Path) -> list[Event]:
    """Return the events of one process, in order."""
    decode = msgspec.json.Decoder(Event).decode
    return [decode(line) for line in lines(path)]
