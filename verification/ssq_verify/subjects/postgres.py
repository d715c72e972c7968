"""The PostgreSQL queue of this package: one table, one statement a transition, the server's clock."""

import atexit
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from ssq_core.postgres import PostgresWorkerQueue  # before its driver, which may be missing

import psycopg  # isort: skip
from psycopg import sql  # isort: skip

from ssq_core.queue import LeaseQueue
from ssq_verify import server_time, servers
from ssq_verify.server_time import InServerTime
from ssq_verify.servers import BY_SQL, Place
from ssq_verify.subject import Policy, Promises, subject


class InTurns:
    """One connection for all the workers of this process, a table for each queue, and a clock for all."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._connection: psycopg.Connection[Any] | None = None
        self._tables: dict[Path, str] = {}

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend the connection, as a pool would."""
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._place.url, autocommit=True, prepare_threshold=None)
            if self._place.area is not None:
                # First of all there: a function that tells another time.
                area = sql.Identifier(self._place.area)
                self._connection.execute(sql.SQL("SET search_path TO {}, pg_catalog").format(area))
        yield self._connection

    def table(self, workdir: Path) -> str:
        """Return a queue's table, and drop those whose queue's folder has gone: nobody will ask for them."""
        if workdir not in self._tables:
            for gone in [known for known in self._tables if not known.exists()]:
                self._drop(self._tables.pop(gone))
            self._tables[workdir] = table_of(workdir, self._place)
        return self._tables[workdir]

    def move(self, now: datetime) -> None:
        """Set the server's clock."""
        if self._place.clock == BY_SQL:
            with self.connection() as connection:
                connection.execute("SELECT set_config('ssq.now', %s, false)", [now.isoformat()])
        elif self._place.clock is not None:
            server_time.show(Path(self._place.clock), now)

    def close(self) -> None:
        """Close the connection; the next operation makes another."""
        if self._connection is not None:
            self._connection.close()

    def _drop(self, table: str) -> None:
        with self.connection() as connection:
            name = sql.Identifier(*table.split("."))
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))


def table_of(workdir: Path, place: Place) -> str:
    """Return the table of the queue that a folder stands for, the same in each process."""
    name = f"ssq_{hashlib.sha256(bytes(workdir)).hexdigest()[:16]}"
    return f"{place.area}.{name}" if place.area else name


_in_turns: dict[tuple[int, Place], InTurns] = {}
"""By process: a forked one has none of its parent's."""


PROMISES = Promises(order="fifo-relaxed", max_clock_skew_seconds=None)
"""What an operation that returned ok survives is the server's to say; by its defaults, power loss."""


@subject(promises=PROMISES, server="postgres")
def open_queue(workdir: Path, policy: Policy) -> LeaseQueue:
    """Open the queue for one worker, in a table of its own."""
    place = servers.place("postgres")
    if place.clock is None:
        return PostgresWorkerQueue(
            place.url,
            table=table_of(workdir, place),
            lease_ttl_seconds=policy.lease_ttl_seconds,
            retry=policy.retry,
        )
    shared = _in_turns.get((os.getpid(), place))
    if shared is None:
        shared = _in_turns[os.getpid(), place] = InTurns(place)
        atexit.register(shared.close)
    queue = PostgresWorkerQueue(
        pool=shared,
        table=shared.table(workdir),
        lease_ttl_seconds=policy.lease_ttl_seconds,
        retry=policy.retry,
    )
    return InServerTime(queue, move=shared.move, time=policy.server_time)
