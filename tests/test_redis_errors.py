"""What does the Redis queue say when its server is away, refuses, or does not answer?"""

import itertools
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
import redis as driver
from redis import exceptions
from redis.connection import UnixDomainSocketConnection

from ssq_core import OutcomeUnknown, QueueUnavailable, open_queue
from ssq_core.queue import QueueStats
from ssq_core.redis import RedisWorkerQueue
from ssq_stress.servers import Redis

SECRET = "s3cret"  # noqa: S105 - no secret, but what must not be shown
_names = (f"errors-{number}" for number in itertools.count())


@pytest.fixture
def queue(redis):
    """Return an empty queue on the shared server."""
    return RedisWorkerQueue(redis.url, name=next(_names))


@pytest.fixture
def server():
    """Start a server for one test, which may kill it or change its settings."""
    with Redis(is_durable=False, settings={"appendonly": "yes"}) as started:
        yield started


def counted(**numbers):
    """Return these counts, and nothing in the other states."""
    states = ("queued", "delayed", "claimed", "expired", "dead")
    return QueueStats(**(dict.fromkeys(states, 0) | numbers))


# The connection


@pytest.mark.scenario("redis-backend/a-handle-outlives-its-server")
@pytest.mark.parametrize("way", ["restarted", "killed", "its scripts dropped", "its connections closed"])
def test_a_handle_outlives_its_server(server, way):
    """A handle that was idle meanwhile goes on with the server's next life, without an error."""
    queue = RedisWorkerQueue(server.url)
    queue.enqueue("j1")
    claim = queue.claim(worker_id="w1")
    with driver.Redis.from_url(server.url) as client:
        if way == "its scripts dropped":
            client.script_flush()
        elif way == "its connections closed":
            client.client_kill_filter(_type="normal", skipme=True)
    if way == "killed":
        server.kill()
    if way in {"killed", "restarted"}:
        server.restart()

    queue.ack(claim=queue.extend(claim=claim))

    assert queue.stats() == counted()


@pytest.mark.scenario("redis-backend/an-outcome-that-is-not-known-is-said-to-be-so")
@pytest.mark.parametrize("lost", ["request", "answer"])
@pytest.mark.parametrize("error", [ConnectionResetError, exceptions.ConnectionError, exceptions.TimeoutError])
def test_a_lost_request_or_answer_is_an_unknown_outcome(redis, monkeypatch, lost, error):
    """Whether the request was lost or its answer, `OutcomeUnknown` is raised, and nothing is sent again."""
    name = next(_names)
    other = RedisWorkerQueue(redis.url, name=name)
    with driver.Redis.from_url(redis.url) as client:  # which by itself would try three times
        queue = RedisWorkerQueue(client=client, name=name)
        assert queue.claim(worker_id="w1") is None  # the server knows the script from now on
        queue.enqueue("j1")

        def lose(*_args, **_kwargs):
            if lost == "answer":  # it is left on its way, for the next request to find
                _until(lambda: other.stats() == counted(claimed=1))
            raise error("cut")

        _at_the(lost, monkeypatch, lose)
        with pytest.raises(OutcomeUnknown) as unknown:
            queue.claim(worker_id="w1")

        monkeypatch.undo()
        assert unknown.value.operation == "claim"
        assert queue.stats() == (counted(claimed=1) if lost == "answer" else counted(queued=1))


def _at_the(lost, monkeypatch, lose):
    """Let the next request of this thread, or its answer, be lost."""
    name = "send_command" if lost == "request" else "read_response"
    real, used = getattr(UnixDomainSocketConnection, name), []

    def once(self, *args, **kwargs):
        if used:
            return real(self, *args, **kwargs)
        used.append(name)
        return lose()

    monkeypatch.setattr(UnixDomainSocketConnection, name, once)


@pytest.mark.scenario("redis-backend/an-outcome-that-is-not-known-is-said-to-be-so")
def test_no_answer_in_time_is_an_unknown_outcome(server):
    """A server that stands still is waited for as long as was asked, and no job is lost by it."""
    queue = RedisWorkerQueue(server.url, timeout_seconds=0.05)
    for job_id in ("j1", "j2"):
        queue.enqueue(job_id)
    server.pause()

    with pytest.raises(OutcomeUnknown, match=r"claim at unix://.* enqueue again, or claim again"):
        queue.claim(worker_id="w1")

    server.resume()
    now = RedisWorkerQueue(server.url).stats()
    assert (now.queued + now.claimed, now.dead) == (2, 0)


@pytest.mark.scenario("redis-backend/a-server-that-is-away-is-said-to-be-so")
def test_a_server_that_is_away_is_said_to_be_so(server):
    """Without a server every operation raises one line that says where, and that nothing was changed."""
    queue = RedisWorkerQueue(server.url)
    server.stop()

    for operation in (queue.stats, lambda: queue.enqueue("j1"), lambda: RedisWorkerQueue(server.url)):
        with pytest.raises(QueueUnavailable, match="nothing was changed") as away:
            operation()
        assert str(server.folder) in str(away.value)
        assert "\n" not in str(away.value)


# What the server refuses


@pytest.mark.scenario("redis-backend/no-password-is-shown")
@pytest.mark.parametrize(
    ("user", "said"),
    [("", "takes? .*password"), ("nobody:wrong", "user and password"), (":wrong", "password")],
)
def test_a_wrong_password_is_refused(server, user, said):
    """A missing or wrong password, or user, is one clear line in which no password stands."""
    with driver.Redis.from_url(server.url) as client:
        client.config_set("requirepass", SECRET)
    url = server.url.replace("unix://", f"unix://{user}@" if user else "unix://")

    with pytest.raises(QueueUnavailable, match=said) as refused:
        RedisWorkerQueue(url)

    assert "wrong" not in str(refused.value)
    RedisWorkerQueue(server.url.replace("unix://", f"unix://:{SECRET}@")).enqueue("j1")


@pytest.mark.scenario("redis-backend/no-password-is-shown")
@pytest.mark.parametrize(
    "url",
    [
        f"redis://user:{SECRET}#{SECRET}@host/0",
        f"redis://user:{SECRET}@host:port",
        f"redis:/{SECRET}@host",
        f"redis://:{SECRET}@localhost:1/{SECRET}",
        SECRET,
        "",
    ],
)
def test_a_bad_url_is_refused(url):
    """A URL that can't be read, or leads nowhere, is one line that does not quote it."""
    with pytest.raises((ValueError, QueueUnavailable)) as refused:
        RedisWorkerQueue(url)

    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.scenario("redis-backend/a-full-memory-lets-jobs-be-worked-off")
def test_a_full_memory_lets_jobs_be_worked_off(server):
    """When the server's memory is full an enqueue changes nothing, and all that holders do goes on."""
    queue = RedisWorkerQueue(server.url)
    for job_id in ("j1", "j2", "j3"):
        queue.enqueue(job_id)
    with driver.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", 1)

    with pytest.raises(QueueUnavailable, match="memory is full"):
        queue.enqueue("j4")

    assert queue.stats() == counted(queued=3)
    queue.ack(claim=queue.extend(claim=queue.claim(worker_id="w1")))
    queue.release(claim=queue.claim(worker_id="w1"))
    assert queue.stats() == counted(queued=2)


@pytest.mark.scenario("redis-backend/a-server-that-drops-keys-is-refused")
@pytest.mark.parametrize(("policy", "is_safe"), [("allkeys-lru", False), ("volatile-lru", True)])
def test_a_server_that_drops_keys_is_refused(server, policy, is_safe):
    """A server that throws away any key when memory is short is refused, one that drops what expires not."""
    with driver.Redis.from_url(server.url) as client:
        client.config_set("maxmemory-policy", policy)
        client.config_set("maxmemory", "100mb")

    if is_safe:
        RedisWorkerQueue(server.url).enqueue("j1")
    else:
        with pytest.raises(QueueUnavailable, match=f"{policy}.*noeviction"):
            RedisWorkerQueue(server.url)


@pytest.mark.scenario("redis-backend/what-a-server-refuses-changes-nothing")
def test_a_replica_is_refused(server):
    """A replica lets a queue be looked at, and refuses what would change it."""
    queue = RedisWorkerQueue(server.url)
    queue.enqueue("j1")
    with driver.Redis.from_url(server.url) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")

    for operation in (lambda: queue.enqueue("j2"), lambda: queue.claim(worker_id="w1")):
        with pytest.raises(QueueUnavailable, match=r"replica.*primary"):
            operation()
    assert queue.stats() == counted(queued=1)


@pytest.mark.scenario("redis-backend/what-a-server-refuses-changes-nothing")
def test_a_server_busy_with_a_script_is_refused(server):
    """While somebody's script runs without an end, operations are refused; after it they go on."""
    queue = RedisWorkerQueue(server.url)
    queue.enqueue("j1")
    with driver.Redis.from_url(server.url, retry=None) as client:
        client.config_set("lua-time-limit", 1)
        endless = threading.Thread(target=_swallowing, args=(client.eval, "while true do end", 0))
        endless.start()
        with driver.Redis.from_url(server.url) as other:
            _until(lambda: _is_busy(other))

            with pytest.raises(QueueUnavailable, match="SCRIPT KILL"):
                queue.claim(worker_id="w1")

            other.script_kill()
        endless.join()

    assert queue.claim(worker_id="w1").attempt == 1


@pytest.mark.scenario("redis-backend/what-a-server-refuses-changes-nothing")
def test_a_user_without_rights_is_refused(server):
    """A user who may not run scripts, or not use these keys, is told what to allow; INFO it need not have."""
    with driver.Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", "some", "on", f">{SECRET}", "~{mine}:*", "+@all", "-info")
        client.execute_command("ACL", "SETUSER", "none", "on", f">{SECRET}", "~*", "+@all", "-evalsha")
    as_user = {user: server.url.replace("unix://", f"unix://{user}:{SECRET}@") for user in ("some", "none")}

    RedisWorkerQueue(as_user["some"], name="mine").enqueue("j1")
    for url, name in ((as_user["some"], "other"), (as_user["none"], "mine")):
        with pytest.raises(QueueUnavailable, match="may not do this") as refused:
            RedisWorkerQueue(url, name=name)
        assert SECRET not in str(refused.value)


ANSWERS = {
    "MISCONF Errors writing to the AOF file": "its disk",
    "LOADING Valkey is loading the dataset in memory": "still loads",
    "NOREPLICAS Not enough good replicas to write.": "too few replicas",
    "MASTERDOWN Link with MASTER is down": "lost its primary",
    "TRYAGAIN Multiple keys request during rehashing of slot": "try again",
    "MOVED 1234 127.0.0.1:7001": "another node",
    "ERR Error running script (call to f_1): @user_script:9: OOM command not allowed": "memory is full",
}


@pytest.mark.scenario("redis-backend/what-a-server-refuses-changes-nothing")
@pytest.mark.parametrize(("answer", "said"), ANSWERS.items(), ids=lambda text: text.split()[0])
def test_what_a_server_refuses_is_said_in_words(queue, monkeypatch, answer, said):
    """Each answer by which a server says that it did not begin becomes a line that says what to do."""
    _answer(monkeypatch, answer)

    with pytest.raises(QueueUnavailable, match=said):
        queue.enqueue("j1")


@pytest.mark.scenario("redis-backend/an-outcome-that-is-not-known-is-said-to-be-so")
def test_an_error_that_nobody_foresaw_is_an_unknown_outcome(queue, monkeypatch):
    """An answer that does not say that nothing was done leaves the outcome unknown."""
    _answer(monkeypatch, "ERR something new")

    with pytest.raises(OutcomeUnknown, match="something new"):
        queue.enqueue("j1")


def _answer(monkeypatch, text):
    """Let the server's next answers be this error, as redis-py reads it."""

    def read(self, *_args, **_kwargs):
        raise self._parser.parse_error(text)

    monkeypatch.setattr(UnixDomainSocketConnection, "read_response", read)


@pytest.mark.scenario("redis-backend/a-missing-driver-says-what-to-install")
def test_a_missing_driver_says_what_to_install():
    """Without redis-py the error is an ImportError of ours that names the extra."""
    script = (
        "import sys; sys.modules['redis'] = None\n"
        "from ssq_core import MissingDriver, open_queue\n"
        "try: open_queue('redis://localhost')\n"
        "except MissingDriver as error: print(error, isinstance(error, ImportError))"
    )

    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert said.stdout == "redis is not installed; pip install 'ssq[redis]' True\n"


@pytest.mark.scenario("redis-backend/a-url-opens-the-queue")
def test_a_url_opens_the_queue(redis):
    """`open_queue` takes the URL of a socket, and settings go through."""
    queue = open_queue(redis.url, name=next(_names), lease_ttl_seconds=5)
    queue.enqueue("j1")
    claim = queue.claim(worker_id="w1")

    assert isinstance(queue, RedisWorkerQueue)
    assert (claim.lease_expires_at - claim.claimed_at).total_seconds() == 5


@pytest.mark.scenario("redis-backend/a-url-opens-the-queue")
@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_a_url_with_a_host_is_taken(scheme):
    """`redis://` and `rediss://` name host, port and database, and a connection is tried there."""
    with pytest.raises(QueueUnavailable, match="localhost:1/3"):
        open_queue(f"{scheme}://localhost:1/3")


def _is_busy(client):
    try:
        client.ping()
    except exceptions.ResponseError as error:
        return str(error).startswith("BUSY")
    return False


def _swallowing(call, *args):
    with suppress(exceptions.RedisError):
        call(*args)


def _until(is_so):
    """Wait until something becomes so."""
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, "it did not become so within 20 seconds"
