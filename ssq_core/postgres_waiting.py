"""How is work waited for? By LISTEN in a session of one's own; by looking again and again through a pool's.

A NOTIFY is costly, so it is sent only while somebody waits, and no wait may miss it. Who waits *holds the
lock* of those who wait, then *looks*. Who enqueues *writes*, then *tests* that lock, and tells if it is held.

    the test comes after the lock   the waiter is told
    the test comes before the lock  the row was written, so its transaction was under way when the lock was
                                    taken, or is over: either a look from then on shows it, or it is still
                                    under way in the look's snapshot, and the waiter looks again, soon

A look is final, therefore, once all that was under way when the lock was taken is over. From there on nothing
is asked until the socket says that something has come, or the next lease or rest ends.
"""

import select
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from ssq_core import postgres_schema as schema
from ssq_core.postgres_connection import Connection, OwnConnection, is_direct
from ssq_core.postgres_database import Database

WAIT_SECONDS_MAX = 60.0
"""For so long it is told nothing, and looks again: a wait may be for ever."""
POLL_SECONDS = 0.1
"""How often is looked, where nobody tells."""
UNSETTLED_SECONDS = 0.005
"""How soon is looked again while transactions are under way that may not have seen that somebody waits."""


class Waiting:
    """Waits for work, for one handle; each thread that waits has a connection to itself meanwhile."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._idle: deque[OwnConnection] = deque()

    def wait(self, seconds: float) -> bool:
        """Return True as soon as a job is available, False after so many seconds."""
        deadline = time.monotonic() + seconds
        own = self._taken()
        if own is not None:
            try:
                with own.connection() as connection:
                    if is_direct(connection):
                        return self._told(connection, deadline)
            except psycopg.Error as error:
                raise self._database.unavailable("wait", error) from error
            finally:
                self._idle.append(own)
        return self._polled(deadline)

    def close(self) -> None:
        """Close the connections of those who do not wait just now."""
        while self._idle:
            self._idle.pop().close()

    def _taken(self) -> OwnConnection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return self._database.another()

    def _polled(self, deadline: float) -> bool:
        while True:
            ((is_available, due_in, _),) = self._database.run("wait", schema.LOOK, {})
            left = deadline - time.monotonic()
            if is_available or left <= 0:
                return bool(is_available)
            time.sleep(min(left, POLL_SECONDS, POLL_SECONDS if due_in is None else max(due_in, 0.001)))

    def _told(self, connection: Connection, deadline: float) -> bool:
        table, told = self._database.table, [None]
        look = table.about(schema.LOOK)
        with _registered(connection, table, told):
            ((settled_at,),) = connection.execute(schema.NUMBER).fetchall()
            while True:
                told.clear()
                ((is_available, due_in, oldest),) = connection.execute(look, {}, binary=True)
                left = min(deadline - time.monotonic(), WAIT_SECONDS_MAX)
                if is_available or left <= 0:
                    return bool(is_available)
                # What was told while the look was under way may not be in it.
                if not told:
                    soon = [left] if oldest >= settled_at else [left, UNSETTLED_SECONDS]
                    _until_readable(connection, min(soon + ([] if due_in is None else [due_in])))


@contextmanager
def _registered(connection: Connection, table: schema.Table, told: list[None]) -> Iterator[None]:
    """Be known as one who waits: first listen, then hold the lock; both only meanwhile."""
    ((channel,),) = connection.execute(table.about(schema.CHANNEL), {})
    connection.add_notify_handler(handler := lambda _: told.append(None))
    try:
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)), prepare=False)
        connection.execute(table.about(schema.BEGIN_WAIT), {})
        yield
        connection.execute(table.about(schema.END_WAIT), {})
        connection.execute("UNLISTEN *", prepare=False)
    except BaseException:
        # Whatever it still holds goes with its session.
        connection.close()
        raise
    finally:
        connection.remove_notify_handler(handler)


def _until_readable(connection: Connection, seconds: float) -> None:
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    # Rounded up: what comes due is not looked for before it has.
    poll.poll(max(0.0, seconds) * 1000 + 1)
