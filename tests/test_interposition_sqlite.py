"""Is SQLite reached from a worker whichever way it is used, and does it wait as SQLite does?"""

import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from simulated import points, together
from ssq_verify.execution import scratch
from ssq_verify.simulation import interposition

interposition.install()


def sqlite_points(program):
    """Return the SQLite statements that a program passes."""
    return [point.removeprefix("sqlite ") for point in points(program) if point.startswith("sqlite ")]


def test_a_connections_block_commits_at_a_point():
    """`with connection:` commits, and rolls back after an error, each at a point."""

    def program(folder):
        connection = sqlite3.connect(folder / "db")
        with connection:
            connection.execute("CREATE TABLE t (x)")
            connection.execute("INSERT INTO t VALUES (1)")
        with contextlib.suppress(ZeroDivisionError), connection:
            connection.execute("INSERT INTO t VALUES (2)")
            _ = 1 / 0
        assert connection.execute("SELECT x FROM t").fetchall() == [(1,)]

    seen = sqlite_points(program)
    assert seen.count("COMMIT") == 1
    assert seen.count("ROLLBACK") == 1


def test_what_a_worker_leaves_may_be_closed_by_any_thread():
    """Garbage is collected in whatever thread comes to it, and what closes itself there is no error."""
    left = []
    points(lambda folder: left.append(sqlite3.connect(folder / "db")))

    with ThreadPoolExecutor(1) as other:
        other.submit(left[0].close).result()

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        left[0].execute("SELECT 1")


class Named(sqlite3.Connection):
    """A third party's connection."""

    name = "third party's"


class NamedCursor(sqlite3.Cursor):
    """A third party's cursor."""


CONNECTS = {
    "dbapi2": sqlite3.dbapi2.connect,
    "class": sqlite3.Connection,
    "factory": lambda path: sqlite3.connect(path, factory=Named),
    "factory by position": lambda path: sqlite3.connect(path, 5.0, 0, "", True, Named),
    "URI": lambda path: sqlite3.connect(f"file:{path}?mode=rwc", uri=True),
}


@pytest.mark.filterwarnings("ignore:Passing more than 1 positional:DeprecationWarning")
@pytest.mark.parametrize("connect", CONNECTS.values(), ids=CONNECTS)
def test_each_way_to_connect_is_reached(connect):
    """Statements are points however the connection and its cursor were made."""

    def program(folder):
        connection = connect(folder / "db")
        assert isinstance(connection, sqlite3.Connection)
        cursor = connection.cursor(NamedCursor)
        assert isinstance(cursor, NamedCursor)
        cursor.execute("SELECT 1")

    assert sqlite_points(program) == ["SELECT 1"]


def test_a_connection_of_memory_is_ones_own_business():
    """Nobody else sees a database in memory."""
    assert sqlite_points(lambda _folder: sqlite3.connect(":memory:").execute("SELECT 1")) == []


def writes_for_three_seconds(worker):
    """Make a table, and hold the database with a transaction from the beginning on."""
    connection = sqlite3.connect(f"{worker.world.root}/db", isolation_level=None)
    connection.execute("CREATE TABLE t (x)")
    connection.execute("BEGIN IMMEDIATE")
    worker.sleep(3)
    connection.execute("COMMIT")


@pytest.mark.parametrize("pragma", ["", "PRAGMA busy_timeout = {}", "pragma main.busy_timeout({});"])
@pytest.mark.parametrize(("timeout", "is_refused"), [(5, False), (1, True)])
def test_a_busy_database_is_waited_for_in_virtual_time(pragma, timeout, is_refused):
    """A writer waits for another's transaction as long as its timeout says, and no real time passes."""
    refused = []

    def second(worker):
        worker.sleep(1)
        connected = 60 if pragma else timeout
        connection = sqlite3.connect(f"{worker.world.root}/db", timeout=connected, isolation_level=None)
        if pragma:
            answer = connection.execute(pragma.format(timeout * 1000)).fetchone()
            assert answer == connection.execute("PRAGMA busy_timeout").fetchone() == (timeout * 1000,)
        try:
            connection.execute("INSERT INTO t VALUES (1)")
        except sqlite3.OperationalError as error:
            refused.append((str(error), worker.world.time.now_ns // 10**9))

    with scratch() as folder:
        together(folder, writes_for_three_seconds, second)
    assert refused == ([("database is locked", 2)] if is_refused else [])


@pytest.mark.scenario("simulation/a-busy-database")
@pytest.mark.parametrize(
    "begin", [lambda _c: None, lambda c: c.execute("BEGIN"), lambda c: c.execute("BEGIN IMMEDIATE")]
)
def test_a_transaction_that_holds_nothing_yet_waits_for_a_busy_database(begin):
    """As SQLite does, for as long as its timeout, a first write waits; one after a read is refused."""
    ended = []

    def second(worker):
        worker.sleep(1)
        connection = sqlite3.connect(f"{worker.world.root}/db")
        begin(connection)
        connection.execute("INSERT INTO t VALUES (1)")
        connection.commit()
        ended.append(worker.world.time.now_ns // 10**9)

    def reads_first(worker):
        worker.sleep(2)
        connection = sqlite3.connect(f"{worker.world.root}/db", isolation_level=None)
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM t").fetchall()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            connection.execute("INSERT INTO t VALUES (2)")
        connection.execute("ROLLBACK")

    with scratch() as folder:
        together(folder, writes_for_three_seconds, second, reads_first)
    assert ended == [3]


def test_a_reader_that_comes_to_its_end_lets_a_writer_commit():
    """In a rollback journal a commit waits for a query that is still read, and no longer."""
    ended = []

    def reader(worker):
        connection = sqlite3.connect(f"{worker.world.root}/db", isolation_level=None)
        connection.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)")
        rows = connection.execute("SELECT x FROM t")
        rows.fetchone()
        worker.sleep(3)
        rows.fetchall()
        worker.sleep(3)

    def writer(worker):
        worker.sleep(1)
        connection = sqlite3.connect(f"{worker.world.root}/db", isolation_level=None)
        connection.execute("INSERT INTO t VALUES (3)")
        ended.append(worker.world.time.now_ns // 10**9)

    with scratch() as folder:
        together(folder, reader, writer)
    assert ended == [3]


def test_time_in_sql_is_the_workers():
    """`now` and CURRENT_TIMESTAMP show the worker's own clock, a day ahead if that is."""
    told = []

    def program(worker):
        worker.clock.offset_seconds = 86_400
        query = "SELECT CURRENT_TIMESTAMP, datetime('now'), strftime('%Y-%m-%d')"
        told.extend(sqlite3.connect(f"{worker.world.root}/db").execute(query).fetchone())
        told.append(f"{worker.clock():%Y-%m-%d %H:%M:%S}")

    with scratch() as folder:
        together(folder, program)
    assert told == [told[-1], told[-1], told[-1][:10], "2030-01-02 00:00:00"]


def test_functions_of_time_may_stand_in_an_index():
    """SQLite's own functions are replaced by such as do all that they did."""

    def program(folder):
        connection = sqlite3.connect(folder / "db")
        connection.executescript(
            "CREATE TABLE t (x TEXT, made TEXT DEFAULT CURRENT_TIMESTAMP);"
            "CREATE INDEX by_day ON t (date(x)); INSERT INTO t (x) VALUES ('2031-05-06 07:08:09')"
        )
        found = connection.execute("SELECT date(x), made FROM t WHERE date(x) = '2031-05-06'").fetchall()
        assert found == [("2031-05-06", "2030-01-01 00:00:00")]

    assert len(sqlite_points(program)) == 4


def test_a_backup_and_a_blob_are_points():
    """What copies pages, or opens a value, in C stops before it does."""

    def program(folder):
        source, target = sqlite3.connect(folder / "db"), sqlite3.connect(folder / "copy")
        source.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(3))")
        source.backup(target)
        with source.blobopen("t", "x", 1) as blob:
            assert len(blob) == 3
        source.isolation_level = None

    assert {"backup to copy", "blobopen"} <= set(sqlite_points(program))
