"""What is the Redis queue's own in batches and in waiting: its scripts, its bell, its broken connections?"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ssq_core import QueueUnavailable, RetryPolicy
from ssq_core.queue import BATCH_MAX, LeasesLost
from ssq_core.redis import STEPS_MAX, RedisWorkerQueue


@pytest.fixture
def opened(redis, name):
    """Return how a queue of that name is opened, under a clock that goes."""
    redis.release_time()
    return lambda **terms: RedisWorkerQueue(redis.url, name=name, **terms)


def blocked(client, count=1):
    """Return once so many clients of the server block."""
    deadline = time.monotonic() + 20
    while client.info("clients")["blocked_clients"] != count:
        assert time.monotonic() < deadline, f"not {count} blocked within 20 seconds"


def scripts_run(client, call):
    """Count the scripts that the server runs in a call."""

    def count():
        return client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]

    before = count()
    call()
    return count() - before


@pytest.mark.scenario("redis-backend/a-batch-is-one-script")
def test_a_batch_is_one_script(opened, client):
    """Up to `BATCH_MAX` jobs are added, claimed and acked by one script each, in order."""
    queue = opened()
    jobs = [(f"j{number}", b"%d" % number) for number in range(BATCH_MAX)]
    claims = []
    queue.enqueue_many([("j0", b"0")])
    queue.ack_many(claims=queue.claim_many(1, worker_id="w1"))

    assert scripts_run(client, lambda: queue.enqueue_many(jobs)) == 1
    assert scripts_run(client, lambda: claims.extend(queue.claim_many(BATCH_MAX, worker_id="w1"))) == 1
    assert scripts_run(client, lambda: queue.ack_many(claims=claims)) == 1
    assert [(claim.job_id, claim.payload) for claim in claims] == jobs
    assert len({claim.claim_id for claim in claims}) == BATCH_MAX
    assert scripts_run(client, lambda: queue.enqueue_many([*jobs, ("last", b"")])) == 2


@pytest.mark.scenario("redis-backend/a-batch-is-one-script")
def test_what_is_lost_of_a_batch_does_not_undo_the_rest(opened):
    """An ack of many finishes the current claims, and names those that were not."""
    queue = opened()
    queue.enqueue_many([("j1", b""), ("j2", b""), ("j3", b"")])
    first, second, third = queue.claim_many(3, worker_id="w1")
    queue.ack(claim=second)

    with pytest.raises(LeasesLost) as lost:
        queue.ack_many(claims=[first, second, third])

    assert lost.value.claims == (second,)
    assert queue.stats().claimed == 0


def test_a_batch_is_filled_behind_what_is_buried_in_several_steps(opened):
    """More dead letters than one script buries don't make a batch shorter."""
    terms = {"lease_ttl_seconds": 60, "retry": RetryPolicy(max_attempts=2)}
    queue = opened(**terms)
    queue.enqueue_many([(f"j{number}", b"") for number in range(STEPS_MAX + 15)])
    for claim in queue.claim_many(STEPS_MAX, worker_id="w1"):
        queue.release(claim=claim)

    claims = opened(**terms | {"retry": RetryPolicy(max_attempts=1)}).claim_many(10, worker_id="w2")

    assert [claim.job_id for claim in claims] == [f"j{STEPS_MAX + number}" for number in range(10)]
    assert len({claim.claim_id for claim in claims}) == 10
    assert queue.stats().dead == STEPS_MAX


MADE_AVAILABLE = {
    "enqueue": lambda queue, _: queue.enqueue("j2"),
    "enqueue_many": lambda queue, _: queue.enqueue_many([("j2", b"")]),
    "release": lambda queue, claim: queue.release(claim=claim),
}


@pytest.mark.scenario("redis-backend/all-who-wait-are-woken")
@pytest.mark.parametrize("make", MADE_AVAILABLE.values(), ids=MADE_AVAILABLE)
def test_all_who_wait_are_woken(opened, client, make):
    """Two blocked waiters of one hour both return when a job is made available, by one ring."""
    queue = opened(timeout_seconds=7200)
    queue.enqueue("j1")
    claim = queue.claim(worker_id="w1")
    queue._lease_ttl_us = 10**12
    claim = queue.extend(claim=claim)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(queue.wait, seconds=3600) for _ in range(2)]
        blocked(client, 2)
        make(queue, claim)

        assert [each.result() for each in waiting] == [True, True]


@pytest.mark.scenario("redis-backend/all-who-wait-are-woken")
def test_no_ring_falls_between_the_look_and_the_blocking(opened):
    """A job that is made available after a waiter's look and before it blocks is heard all the same."""
    queue, other = opened(), opened()
    hears = queue._server.hears

    def late(operation, rings, seconds):
        other.enqueue("j1")
        return hears(operation, rings, seconds)

    queue._server.hears = late

    assert queue.wait(seconds=600) is True


@pytest.mark.scenario("redis-backend/what-comes-due-ends-a-wait")
@pytest.mark.parametrize("ends", ["rest", "lease", "lease of a later claim"])
def test_what_comes_due_ends_a_wait(opened, client, ends):
    """The end of a rest, of a lease, and of one that began after the wait, wake a waiter of an hour."""
    terms = {"lease_ttl_seconds": 0.2, "timeout_seconds": 7200}
    queue = opened(**terms, retry=RetryPolicy(backoff_base_seconds=0.2))
    queue.enqueue("j1")
    claim = queue.claim(worker_id="w1")
    if ends == "rest":
        queue.release(claim=claim)
    if ends == "lease of a later claim":
        queue._lease_ttl_us = 10**12
        claim = queue.extend(claim=claim)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(queue.wait, seconds=3600)
            blocked(client)
            queue._lease_ttl_us = 200_000
            queue.extend(claim=claim)
            assert waiting.result() is True
    else:
        assert queue.wait(seconds=3600) is True

    assert queue.wait(seconds=3600) is True
    assert queue.claim(worker_id="w2").job_id == "j1"


@pytest.mark.scenario("redis-backend/the-bell-does-not-grow")
def test_the_bell_does_not_grow(opened, client, name):
    """Nobody waits: nothing rings. After many rings the last alone is kept; who died does not stay."""
    queue = opened()
    queue.enqueue("j0")
    assert not client.exists(f"{{{name}}}:bell")
    queue.ack(claim=queue.claim(worker_id="w1"))

    for number in range(5):
        assert queue.wait(seconds=0.001) is False
        client.set(f"{{{name}}}:awaited", 2**52)
        queue.enqueue(f"j{number}")
        queue.ack(claim=queue.claim(worker_id="w1"))

    assert client.xlen(f"{{{name}}}:bell") == 1
    assert queue.wait(seconds=0.001) is False
    assert 0 < client.pttl(f"{{{name}}}:awaited") <= 2_000


@pytest.mark.scenario("redis-backend/a-wait-whose-connection-breaks-says-so")
def test_a_wait_whose_connection_breaks_says_so(opened, client):
    """A waiter whose connection is cut raises `QueueUnavailable`, and can wait again."""
    queue = opened(timeout_seconds=7200)
    errors = []

    def wait():
        try:
            queue.wait(seconds=3600)
        except QueueUnavailable as error:
            errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    blocked(client)
    (cut,) = [one for one in client.client_list() if "b" in one["flags"]]
    client.client_kill_filter(_id=cut["id"])
    waiting.join()

    assert len(errors) == 1
    queue.enqueue("j1")
    assert queue.wait(seconds=3600) is True
