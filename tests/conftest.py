"""What do several suites begin with? A command line, a database, a disk whose power may fail, a server."""

import pytest

from power_losses import Program
from ssq_stress import cli
from ssq_stress.servers import Postgres
from ssq_verify import servers
from ssq_verify.servers import Place


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
    place = Place(url=postgres.url, clock=str(postgres.clock_file))
    for name, value in servers.environment("postgres", place).items():
        monkeypatch.setenv(name, value)
    yield place
    postgres.release_time()
