"""What do several suites begin with? A command line, a database, a disk whose power may fail, a server."""

import itertools
import os
from datetime import UTC, datetime

import psycopg
import pytest
import redis as redis_driver

from power_losses import Program
from ssq_core.postgres import PostgresWorkerQueue
from ssq_stress import cli
from ssq_stress.servers import Postgres, Redis
from ssq_verify import servers
from ssq_verify.servers import Place

FROZEN_AT = datetime(2024, 2, 29, 23, 59, 30, tzinfo=UTC)
database_numbers = itertools.count()

# Before any test imports it: the contract's own assertions show their values.
pytest.register_assert_rewrite("ssq_verify.contract", "ssq_verify.workplace")

_queue_names = (f"queue-{number}" for number in itertools.count())


@pytest.fixture
def ssq(tmp_path, monkeypatch, capsys):
    """Run one command line in a folder of its own: returns exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def is_one_line():
    """Tell whether an error is one line of ours, without a traceback, that names these parts."""

    def told(error, *parts):
        lines = error.splitlines()
        is_ours = len(lines) == 1 and lines[0].startswith("ssq: ")
        return is_ours and all(str(part) in lines[0] for part in parts)

    return told


@pytest.fixture
def queue_path(tmp_path):
    """Return the path of a database that does not exist yet."""
    return tmp_path / "queue.db"


@pytest.fixture
def program(tmp_path):
    """Give a program with an empty, durable folder."""
    root = tmp_path / "root"
    root.mkdir()
    program = Program(root)
    yield program
    program.disk.close()


@pytest.fixture(scope="session")
def postgres():
    """Start a PostgreSQL whose clock can be set; the tests of a process share it, each in its own table."""
    with Postgres(is_durable=False, has_clock=True) as server:
        yield server


@pytest.fixture
def postgres_subject(postgres, monkeypatch):
    """Let the subject `postgres` live in that server, in virtual time."""
    yield from _lived_in("postgres", postgres, monkeypatch)


@pytest.fixture
def admin(postgres):
    """Give the superuser's connection."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def dsn(postgres, admin):
    """Return the URL of an empty database."""
    name = f"test_{os.getpid()}_{next(database_numbers)}"
    admin.execute(f"CREATE DATABASE {name}")
    yield postgres.url.replace("/postgres?", f"/{name}?")
    admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sql_of(dsn):
    """Run a statement in that database as the superuser, and return its rows."""
    with psycopg.connect(dsn, autocommit=True) as connection:

        def run(statement, *terms):
            cursor = connection.execute(statement, terms or None)
            return cursor.fetchall() if cursor.description else []

        yield run


@pytest.fixture
def opened(dsn):
    """Open handles, and close them in the end."""
    handles = []

    def open_one(url=None, **settings):
        handles.append(PostgresWorkerQueue(url or dsn, **settings))
        return handles[-1]

    yield open_one
    for handle in handles:
        handle.close()


@pytest.fixture
def frozen(postgres):
    """Let the server's clock stand still, and return what sets it."""
    postgres.set_time(FROZEN_AT)
    yield postgres.set_time
    postgres.release_time()


@pytest.fixture(scope="session")
def redis():
    """Start a Valkey whose clock can be set; the tests of a process share it, each under another name."""
    with Redis(is_durable=False, has_clock=True) as server:
        yield server


@pytest.fixture
def redis_subject(redis, monkeypatch):
    """Let the subject `redis` live in that server, in virtual time."""
    yield from _lived_in("redis", redis, monkeypatch)


def _lived_in(name, server, monkeypatch):
    """Say for the time of a test where a subject's server is; give back the real time afterwards."""
    place = Place(url=server.url, clock=str(server.clock_file))
    for variable, value in servers.environment(name, place).items():
        monkeypatch.setenv(variable, value)
    yield place
    server.release_time()


@pytest.fixture
def name():
    """Return the name of a Redis queue that nobody used yet."""
    return next(_queue_names)


@pytest.fixture
def client(redis):
    """Return a client of the shared Redis server, by which a test looks behind the queue."""
    with redis_driver.Redis.from_url(redis.url) as opened:
        yield opened
