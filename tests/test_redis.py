"""What is the Redis queue's own: its keys, its scripts, the server's time and the server's persistence?"""

import itertools
import multiprocessing
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import redis as driver
from redis.crc import key_slot

from ssq_core import QueueDataCorruptedError, QueueUnavailable, RetryPolicy, UnsupportedSchema
from ssq_core import redis as backend
from ssq_core.queue import LeaseLost, QueueStats
from ssq_core.redis import RedisWorkerQueue
from ssq_core.redis_scripts import ALL, PARTS, keys
from ssq_stress.servers import Redis

# CPython 3.12 warns of every fork in a process with threads, and the test runner has some.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

NOW = datetime(2024, 2, 29, 23, 59, 30, 123456, tzinfo=UTC)


@pytest.fixture
def queue(redis, name):
    """Return an empty queue with the contract's usual policy, at an instant that stands still."""
    redis.set_time(NOW)
    yield RedisWorkerQueue(redis.url, lease_ttl_seconds=60, retry=RetryPolicy(max_attempts=2), name=name)
    redis.release_time()


def drained(queue):
    """Claim and ack until nothing is available; return the job ids in order."""
    taken = []
    while (claim := queue.claim(worker_id="w1")) is not None:
        queue.ack(claim=claim)
        taken.append(claim.job_id)
    return taken


# The keys


@pytest.mark.scenario("redis-backend/all-keys-are-in-one-slot-and-given-to-each-script")
def test_all_keys_are_in_one_slot(name):
    """The queue's name is the hash tag of all its keys."""
    assert {key_slot(key.encode()) for key in keys(name)} == {key_slot(name.encode())}


@pytest.mark.scenario("redis-backend/all-keys-are-in-one-slot-and-given-to-each-script")
@pytest.mark.parametrize("script", ALL, ids=range(len(ALL)))
def test_a_script_touches_no_other_key(script):
    """Each command of a script names one of the twelve keys that it was given; TIME alone needs none."""
    named = re.findall(r"redis\.call\('(\w+)'(?:, (\w+))?", script.text)

    assert named
    assert "local " + ", ".join(PARTS) + " = unpack(KEYS)" in script.text
    assert {key for command, key in named if command != "TIME"} <= {*PARTS, "waiting"}
    assert re.findall(r"move_what_has_come\((\w+), text", script.text) in ([], ["resting"])


@pytest.mark.scenario("redis-backend/a-node-of-a-cluster-keeps-a-queue")
def test_a_node_of_a_cluster_keeps_a_queue(name):
    """A server in cluster mode, which refuses keys of several slots, takes every operation."""
    with Redis(is_durable=False, settings=_cluster_settings()) as server:
        with driver.Redis.from_url(server.url) as node:
            node.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            _until(lambda: node.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        queue = RedisWorkerQueue(server.url, retry=RetryPolicy(max_attempts=1), name=name)
        for job_id in ("j1", "j2"):
            queue.enqueue(job_id)
        queue.release(claim=queue.claim(worker_id="w1"))
        queue.ack(claim=queue.extend(claim=queue.claim(worker_id="w1")))

        assert [job.job_id for job in queue.dead()] == ["j1"]
        assert queue.requeue_dead("j1")
        assert queue.stats() == QueueStats(queued=1, delayed=0, claimed=0, expired=0, dead=0)


@pytest.mark.scenario("redis-backend/a-node-of-a-cluster-keeps-a-queue")
def test_a_cluster_without_the_slot_says_so(name):
    """A node of a cluster in which nobody keeps the queue's slot is refused, in words that say why."""
    with (
        Redis(is_durable=False, settings=_cluster_settings()) as server,
        pytest.raises(QueueUnavailable, match="cluster is down"),
    ):
        RedisWorkerQueue(server.url, name=name)


@pytest.mark.scenario("redis-backend/queues-of-several-names-share-a-server")
def test_queues_of_several_names_share_a_server(redis, name, client):
    """Another name is another queue, and an acked job leaves nothing but the queue's own record."""
    one, other = RedisWorkerQueue(redis.url, name=name), RedisWorkerQueue(redis.url, name=name + "b")
    one.enqueue("j1")

    assert other.claim(worker_id="w1") is None
    assert drained(one) == ["j1"]
    assert client.keys(f"{{{name}*") == [f"{{{name}}}:meta".encode()]


@pytest.mark.scenario("redis-backend/opening-writes-nothing")
def test_opening_writes_nothing(queue, client, name):
    """A queue that nobody enqueued to has no keys, and is empty."""
    assert queue.claim(worker_id="w1") is None
    assert queue.stats() == QueueStats(queued=0, delayed=0, claimed=0, expired=0, dead=0)

    assert client.keys(f"{{{name}}}*") == []


@pytest.mark.scenario("redis-backend/another-format-is-refused")
@pytest.mark.parametrize("found", [0, 1, 99])
def test_another_format_is_refused(redis, queue, client, name, found):
    """A queue of another format is refused by number, at open and by handles that are open already."""
    queue.enqueue("j1")
    client.hset(f"{{{name}}}:meta", "format", found)

    with pytest.raises(UnsupportedSchema) as refused:
        RedisWorkerQueue(redis.url, name=name)
    with pytest.raises(UnsupportedSchema):
        queue.claim(worker_id="w1")

    assert (refused.value.found, refused.value.expected) == (found, 2)
    assert client.zcard(f"{{{name}}}:available") == 1


@pytest.mark.scenario("redis-backend/another-program-s-keys-are-refused")
def test_another_programs_keys_are_refused(redis, client, name):
    """Keys of another kind under the queue's name are refused, and left as they are."""
    client.set(f"{{{name}}}:meta", "theirs")

    with pytest.raises(QueueDataCorruptedError, match="another program"):
        RedisWorkerQueue(redis.url, name=name)

    assert client.get(f"{{{name}}}:meta") == b"theirs"


@pytest.mark.scenario("redis-backend/bad-settings-are-refused")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lease_ttl_seconds": 0}, "lease_ttl_seconds"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"name": ""}, "name"),
        ({"name": "a{b}c"}, "name"),
    ],
)
def test_bad_settings_are_refused(settings, said):
    """A setting that no queue can keep is refused before anything is connected."""
    with pytest.raises(ValueError, match=said):
        RedisWorkerQueue("redis://localhost:1", **settings)


# The server's time


@pytest.mark.scenario("redis-backend/the-server-s-clock-is-exact-and-asked-each-time")
def test_the_servers_clock_is_asked_each_time(redis, queue):
    """Each claim begins at the instant that the server sees, to the microsecond, as soon as it changes."""
    seen, shown = [], [NOW + n * timedelta(milliseconds=7, microseconds=1) for n in range(100)]
    for number, instant in enumerate(shown):
        queue.enqueue(f"j{number}")
        redis.set_time(instant)
        seen.append(queue.claim(worker_id="w1").claimed_at)

    assert seen == shown


@pytest.mark.scenario("redis-backend/a-server-whose-clock-is-set-back-loses-nothing")
def test_a_clock_that_is_set_back_loses_nothing(redis, queue):
    """When the server's clock is set back, a lease lasts longer by as much, and fencing holds."""
    queue.enqueue("j1")
    claim = queue.claim(worker_id="w1")

    redis.set_time(NOW - timedelta(hours=1))
    assert queue.claim(worker_id="w2") is None
    redis.set_time(NOW + timedelta(minutes=2))
    again = queue.claim(worker_id="w2")

    assert again.attempt == 2
    with pytest.raises(LeaseLost):
        queue.ack(claim=claim)


# What a claim costs


@pytest.mark.scenario("redis-backend/a-claim-s-cost-does-not-grow")
def test_a_claims_cost_does_not_grow(redis, client, name):
    """A claim among 2,000 jobs, a third each queued, resting and held, runs as many commands as among 20."""

    def commands(jobs, tag):
        queue = RedisWorkerQueue(
            redis.url, name=name + tag, retry=RetryPolicy(max_attempts=9, backoff_base_seconds=9)
        )
        for number in range(jobs):
            queue.enqueue(f"j{number}")
        for _ in range(jobs // 3):
            queue.release(claim=queue.claim(worker_id="w1"))
        for _ in range(jobs // 3):
            queue.claim(worker_id="w1")
        client.config_resetstat()
        queue.claim(worker_id="w1")
        return {name: stat["calls"] for name, stat in client.info("commandstats").items()}

    redis.set_time(NOW)
    few, many = commands(20, "few"), commands(2_000, "many")

    assert few["cmdstat_evalsha"] == many["cmdstat_evalsha"] == 1
    assert few == many


@pytest.mark.scenario("redis-backend/many-leases-that-ended-at-once-are-worked-off")
def test_many_leases_that_ended_at_once_are_worked_off(redis, queue, monkeypatch):
    """A hundred leases ended, half at their last attempt: in steps, in order, the others buried."""
    monkeypatch.setattr(backend, "STEPS_MAX", 7)
    ids = [f"j{number:02}" for number in range(100)]
    for job_id in ids:
        queue.enqueue(job_id)
    for number in range(100):
        claim = queue.claim(worker_id="dies")
        if number % 2:
            queue.release(claim=claim)
            assert queue.claim(worker_id="dies").job_id == claim.job_id
    redis.set_time(NOW + timedelta(seconds=61))

    assert drained(queue) == ids[::2]
    assert [job.job_id for job in queue.dead()] == ids[1::2]


@pytest.mark.scenario("redis-backend/a-lower-bound-buries-what-is-above-it")
def test_a_lower_bound_buries_what_is_above_it(redis, queue, name):
    """A handle with fewer attempts buries a job that has had as many, and goes on to the next."""
    queue.enqueue("j1")
    queue.release(claim=queue.claim(worker_id="w1"))
    queue.enqueue("j2")
    strict = RedisWorkerQueue(redis.url, retry=RetryPolicy(max_attempts=1), name=name)

    assert strict.claim(worker_id="w1").job_id == "j2"
    assert [(job.job_id, job.attempts) for job in strict.dead()] == [("j1", 1)]


# Persistence

SETTINGS = {
    "always": {"appendonly": "yes", "appendfsync": "always"},
    "everysec": {"appendonly": "yes", "appendfsync": "everysec"},
    "no": {"appendonly": "yes", "appendfsync": "no"},
    "snapshots": {"appendonly": "no"},
}


@pytest.mark.scenario("redis-backend/a-killed-server-keeps-what-its-settings-say")
@pytest.mark.parametrize(
    ("persistence", "kept"), [("always", 3), ("everysec", 3), ("no", 3), ("snapshots", 2)]
)
def test_a_killed_server_keeps_what_its_settings_say(name, persistence, kept):
    """With a log all that returned is there after a SIGKILL; without one, what the last snapshot has."""
    with Redis(is_durable=False, settings=SETTINGS[persistence]) as server:
        queue = RedisWorkerQueue(server.url, name=name)
        queue.enqueue("acked")
        queue.enqueue("claimed")
        queue.ack(claim=queue.claim(worker_id="w1"))
        claim = queue.claim(worker_id="w1")
        queue.enqueue("queued")
        if persistence == "snapshots":
            with driver.Redis.from_url(server.url) as client:
                client.save()
        queue.enqueue("later")
        server.kill()
        server.start()

        assert queue.stats().queued + queue.stats().claimed == kept
        queue.ack(claim=claim)
        assert drained(queue) == ["queued", "later"][: kept - 1]


# Handles


@pytest.mark.scenario("redis-backend/handles-cross-threads-and-forks")
def test_threads_share_a_handle(queue):
    """Four threads claim through one handle, and each job is claimed once."""
    ids = [f"j{number}" for number in range(100)]
    for job_id in ids:
        queue.enqueue(job_id)

    with ThreadPoolExecutor(4) as threads:
        taken = list(threads.map(lambda _: drained(queue), range(4)))

    assert sorted(itertools.chain.from_iterable(taken)) == sorted(ids)


def _worked_off(queue, results):
    results.put(drained(queue))


@pytest.mark.scenario("redis-backend/handles-cross-threads-and-forks")
def test_a_handle_crosses_a_fork(queue):
    """After a fork both sides go on with connections of their own, and each job is claimed once."""
    ids = [f"j{number}" for number in range(100)]
    for job_id in ids:
        queue.enqueue(job_id)
    fork = multiprocessing.get_context("fork")
    results = fork.SimpleQueue()
    child = fork.Process(target=_worked_off, args=(queue, results))
    child.start()

    here = drained(queue)
    there = results.get()
    child.join()

    assert sorted(here + there) == sorted(ids)


@pytest.mark.scenario("redis-backend/a-client-of-one-s-own-is-used-as-it-is")
def test_a_client_that_decodes_answers_is_used(redis, name):
    """A client that would turn answers into text still gives payloads as bytes."""
    with driver.Redis.from_url(redis.url, decode_responses=True) as client:
        queue = RedisWorkerQueue(client=client, name=name)
        queue.enqueue("jé", payload=b"\xff\0")

        claim = queue.claim(worker_id="w1")

        assert (claim.job_id, claim.payload) == ("jé", b"\xff\0")


def _cluster_settings():
    """Return the settings of one node, which has to listen on the network."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        port, bus = one.getsockname()[1], other.getsockname()[1]
    return {"cluster-enabled": "yes", "bind": "127.0.0.1", "port": str(port), "cluster-port": str(bus)}


def _until(is_so):
    """Wait until something becomes so."""
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, "it did not become so within 20 seconds"
