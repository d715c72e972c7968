"""Where does somebody else's queue keep its tables in our PostgreSQL? In a schema of its own, for each queue.

Such a package has names of its own for its tables, and is driven by an event loop. In turns one process
opens thousands of queues, so a schema whose queue's folder has gone is emptied and used again.
"""

import asyncio
import atexit
import hashlib
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import psycopg
from psycopg import conninfo, sql

from ssq_verify import server_time, servers
from ssq_verify.servers import Place

T = TypeVar("T")

LOCK = 7_355_117
"""Held while a schema is made: two processes may open a queue at once."""
EMPTY = """
SELECT 'TRUNCATE ' || string_agg(format('%%I.%%I', schemaname, tablename), ', ')
    || ' RESTART IDENTITY CASCADE'
FROM pg_tables WHERE schemaname = %s
"""


class OwnServerOnly(Exception):  # noqa: N818 - it names what is asked for
    """A queue with tables of fixed names was given a database that is not all ours."""

    def __init__(self) -> None:
        super().__init__("it is tried on a server of its own; unset SSQ_POSTGRES_URL")


class Tenant(Protocol):
    """A package's objects for one schema."""

    def install(self) -> None:
        """Make the package's tables."""

    def close(self) -> None:
        """Close its connections."""


TenantT = TypeVar("TenantT", bound=Tenant)


class Schemas(Generic[TenantT]):
    """The schemas of one process, what is open in each, and the event loop for all."""

    def __init__(self, place: Place, opened: Callable[["Schemas[TenantT]", str], TenantT]) -> None:
        if place.area is not None:
            raise OwnServerOnly
        self._place = place
        self._opened = opened
        self._names: dict[Path, str] = {}
        self._tenants: dict[str, TenantT] = {}
        self._runner = asyncio.Runner()
        atexit.register(self._close)

    def tenant(self, workdir: Path) -> TenantT:
        """Return what is open in the schema of the queue that a folder stands for; open it if nothing is."""
        name = self._name(workdir)
        if name not in self._tenants:
            tenant = self._opened(
                self, conninfo.make_conninfo(self._place.url, options=f"-csearch_path={name}")
            )
            self._make(name, tenant)
            self._tenants[name] = tenant
        return self._tenants[name]

    def run(self, work: Awaitable[T]) -> T:
        """Do it in the event loop."""

        async def done() -> T:
            return await work

        return self._runner.run(done())

    def move(self, now: datetime) -> None:
        """Set the server's clock, where that is done by hand."""
        if self._place.clock is not None:
            server_time.show(Path(self._place.clock), now)

    def _name(self, workdir: Path) -> str:
        """Return one name in all processes; in turns, where there is one, that of a queue that has gone."""
        if workdir not in self._names:
            is_alone = self._place.clock is not None
            gone = next((known for known in self._names if is_alone and not known.exists()), None)
            own = f"ssq_{hashlib.sha256(bytes(workdir)).hexdigest()[:16]}"
            self._names[workdir] = own if gone is None else self._emptied(gone)
        return self._names[workdir]

    def _make(self, name: str, tenant: TenantT) -> None:
        """Make a schema and its tables, unless they are there."""
        with psycopg.connect(self._place.url, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            known = connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = %s LIMIT 1", [name])
            if known.fetchone() is None:
                schema = sql.Identifier(name)
                connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
                tenant.install()

    def _emptied(self, gone: Path) -> str:
        name = self._names.pop(gone)
        with psycopg.connect(self._place.url, autocommit=True) as connection:
            statement = connection.execute(EMPTY, [name]).fetchone()
            if statement is not None and statement[0] is not None:
                connection.execute(statement[0])
        return name

    def _close(self) -> None:
        for tenant in self._tenants.values():
            with suppress(psycopg.Error):
                tenant.close()
        self._runner.close()


def schemas(
    known: dict[tuple[int, Place], Schemas[TenantT]], opened: Callable[[Schemas[TenantT], str], TenantT]
) -> Schemas[TenantT]:
    """Return this process's schemas on the present server: a forked one has none of its parent's."""
    key = os.getpid(), servers.place("postgres")
    if key not in known:
        known[key] = Schemas(key[1], opened)
    return known[key]
