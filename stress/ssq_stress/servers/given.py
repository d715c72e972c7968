"""What may be used of somebody else's server? A schema of our own, which goes when the work is done.

Its clock can't be set. Where virtual time is wanted, the schema has a `clock_timestamp()` of its own, which
an adapter puts before PostgreSQL's in the search path of its connection.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ssq_core.queue import MissingDriver, QueueError
from ssq_stress.servers.process import ServerFailed, ServerNotInstalled
from ssq_verify.servers import BY_SQL, Place
from ssq_verify.subject import without_password

MAKE = "CREATE SCHEMA {area}"
DROP = "DROP SCHEMA IF EXISTS {area} CASCADE"
TELL_TIME = """
CREATE FUNCTION {area}.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql
AS $$ SELECT pg_catalog.current_setting('ssq.now')::timestamptz $$
"""


UNREACHED = "is the server up, and are user, password and database right?"
REFUSED = "name a database in which this user may make a schema"


@contextmanager
def given_postgres(url: str, *, has_clock: bool) -> Iterator[Place]:
    """Make a schema in a given database, and drop it afterwards with all in it. Raises `ServerFailed`."""
    area = f"ssq_verify_{secrets.token_hex(4)}"
    _run(url, MAKE, area)
    with _left_as_it_was(lambda: _run(url, DROP, area), f"DROP SCHEMA {area} CASCADE"):
        if has_clock:
            _run(url, TELL_TIME, area)
        yield Place(url=url, area=area, clock=BY_SQL if has_clock else None)


@contextmanager
def given_redis(url: str, *, has_clock: bool) -> Iterator[Place]:
    """Name queues of our own in a given server, and remove their keys afterwards. Raises `ServerFailed`."""
    area = f"ssq_verify_{secrets.token_hex(4)}"
    try:
        from ssq_core.redis import RedisWorkerQueue  # noqa: PLC0415 - its driver may be missing
    except MissingDriver as error:
        raise ServerNotInstalled(error.driver) from error
    try:
        RedisWorkerQueue(url, name=area).close()
    except (QueueError, ValueError) as error:
        raise ServerFailed(str(error)) from error
    with _left_as_it_was(lambda: _unlink(url, area), f"UNLINK on the keys {{{area}*"):
        yield Place(url=url, area=area, clock=BY_SQL if has_clock else None)


@contextmanager
def _left_as_it_was(remove: Callable[[], None], by_hand: str) -> Iterator[None]:
    """Remove what was made; where that fails, say what is left to do. Raises `ServerFailed`."""
    try:
        yield
    finally:
        try:
            remove()
        except ServerFailed as error:
            raise ServerFailed(f"{error}; what was made there is left: run {by_hand}") from error


def _unlink(url: str, area: str) -> None:
    import redis  # noqa: PLC0415 - its driver may be missing

    try:
        with redis.Redis.from_url(url) as client:
            for key in client.scan_iter(match=f"{{{area}*", count=1_000):
                client.unlink(key)
    except redis.RedisError as error:
        raise ServerFailed(f"{without_password(url)}: {' '.join(str(error).split())}") from error


def _run(url: str, statement: str, area: str) -> None:
    try:
        from ssq_core import postgres_connection as reached  # noqa: PLC0415 - its driver may be missing
    except MissingDriver as error:
        raise ServerNotInstalled(error.driver) from error
    import psycopg  # noqa: PLC0415 - as above
    from psycopg import sql  # noqa: PLC0415 - as above

    try:
        said = reached.readable(url)
    except ValueError as error:
        raise ServerFailed(str(error)) from error
    advice = UNREACHED
    try:
        with psycopg.connect(reached.conninfo(said), autocommit=True) as connection:
            advice = REFUSED
            connection.execute(sql.SQL(statement).format(area=sql.Identifier(area)))
    except psycopg.Error as error:
        told = f"{reached.place(said)}, schema {area}: {reached.shown(error, said)}"
        raise ServerFailed(f"{told}; {advice}") from error
