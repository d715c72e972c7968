"""What is the SQLite queue's own in batches and in waiting: its transactions, its looks, its naps?"""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from ssq_core import RetryPolicy
from ssq_core import sqlite_database as database
from ssq_core.queue import BATCH_MAX, LeasesLost
from ssq_core.sqlite import SqliteWorkerQueue
from ssq_verify.workplace import drained

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def commits(queue, call):
    """Count the transactions that a call commits."""
    seen = []
    with queue._database.transaction("look") as connection:
        connection.set_trace_callback(seen.append)
    call()
    with queue._database.transaction("look") as connection:
        connection.set_trace_callback(None)
    return seen[1:].count("COMMIT")


@pytest.mark.scenario("sqlite-backend/a-batch-is-one-transaction")
def test_a_batch_is_one_transaction(queue_path):
    """Up to `BATCH_MAX` jobs are added, claimed and acked with one commit each; one more makes two."""
    queue = SqliteWorkerQueue(queue_path, durability="process-crash")
    jobs = [(f"j{number}", b"") for number in range(BATCH_MAX)]
    claims = []

    assert commits(queue, lambda: queue.enqueue_many(jobs)) == 1
    assert commits(queue, lambda: claims.extend(queue.claim_many(BATCH_MAX, worker_id="w1"))) == 1
    assert commits(queue, lambda: queue.ack_many(claims=claims)) == 1
    assert [claim.job_id for claim in claims] == [job_id for job_id, _ in jobs]
    assert len({claim.claim_id for claim in claims}) == BATCH_MAX
    assert commits(queue, lambda: queue.enqueue_many([*jobs, ("last", b"")])) == 2


@pytest.mark.scenario("sqlite-backend/a-batch-is-one-transaction")
def test_what_is_lost_of_a_batch_does_not_undo_the_rest(queue_path):
    """An ack of many finishes the current claims, and names those that were not."""
    queue = SqliteWorkerQueue(queue_path)
    queue.enqueue_many([("j1", b"one"), ("j2", b"two")])
    first, second = queue.claim_many(2, worker_id="w1")
    queue.ack(claim=first)

    with pytest.raises(LeasesLost) as lost:
        queue.ack_many(claims=[first, second])

    assert lost.value.claims == (first,)
    assert queue.stats().claimed == 0


def test_a_batch_passes_over_what_used_up_its_attempts(queue_path):
    """Jobs that are buried on the way are not counted: the batch is filled from those behind them."""
    times = [NOW]
    terms = {"lease_ttl_seconds": 60, "clock": lambda: times[0], "retry": RetryPolicy(max_attempts=1)}
    queue = SqliteWorkerQueue(queue_path, **terms)
    queue.enqueue_many([(f"j{number}", b"") for number in range(4)])
    queue.claim_many(2, worker_id="w1")
    times[0] += timedelta(seconds=61)

    claims = queue.claim_many(2, worker_id="w2")

    assert [claim.job_id for claim in claims] == ["j2", "j3"]
    assert [letter.job_id for letter in queue.dead()] == ["j0", "j1"]


@pytest.mark.scenario("sqlite-backend/a-wait-takes-no-lock")
def test_a_wait_looks_while_a_writer_holds_the_lock(queue_path):
    """Whoever waits reads past a writer: it finds a job, or that there is none, and is never busy."""
    queue = SqliteWorkerQueue(queue_path, busy_timeout_seconds=0)
    other = sqlite3.connect(queue_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert queue.wait(seconds=0) is False
    other.execute("ROLLBACK")
    queue.enqueue("j1")
    other.execute("BEGIN IMMEDIATE")

    assert queue.wait(seconds=0) is True

    other.close()


@pytest.mark.scenario("sqlite-backend/a-wait-sees-what-others-add-and-what-comes-due")
def test_a_wait_sees_what_comes_due_by_the_handles_own_clock(queue_path):
    """A lease that ends and a rest that is over wake a waiter; a moment before, nothing does."""
    times = [NOW]
    terms = {"lease_ttl_seconds": 60, "clock": lambda: times[0], "max_clock_skew_seconds": 1}
    queue = SqliteWorkerQueue(queue_path, **terms)
    queue.enqueue("j1")
    queue.claim(worker_id="w1")
    times[0] += timedelta(seconds=61)
    assert queue.wait(seconds=0) is False
    times[0] += timedelta(microseconds=1)

    assert queue.wait(seconds=0) is True


@pytest.mark.scenario("sqlite-backend/a-wait-sees-what-others-add-and-what-comes-due")
def test_a_wait_ends_when_another_handle_adds_a_job(queue_path):
    """A waiter of ten minutes returns because of the job, or the test would take as long."""
    queue = SqliteWorkerQueue(queue_path)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(queue.wait, seconds=600)
        SqliteWorkerQueue(queue_path).enqueue("j1")

        assert waiting.result() is True

    assert drained(queue) == ["j1"]


@pytest.mark.scenario("sqlite-backend/a-waiter-asks-again-soon")
def test_a_waiter_asks_again_soon(queue_path, monkeypatch):
    """The naps of a waiter stay at a few milliseconds, unlike those of SQLite."""
    queue = SqliteWorkerQueue(queue_path)
    other = sqlite3.connect(queue_path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    naps, elapsed = [], [0.0]

    def sleep(seconds):
        naps.append(seconds)
        elapsed[0] += seconds
        if elapsed[0] > 1:
            other.execute("ROLLBACK")

    monkeypatch.setattr(database.time, "sleep", sleep)
    monkeypatch.setattr(database.time, "monotonic", lambda: elapsed[0])
    queue.enqueue("j1")

    assert naps[0] == database.NAP_SECONDS_MIN
    assert max(naps) == database.NAP_SECONDS_MAX
    other.close()


def test_threads_of_one_handle_wait_and_work(queue_path):
    """A thread that waits does not keep the handle from the others."""
    queue = SqliteWorkerQueue(queue_path)
    woken = threading.Event()

    def wait():
        while not queue.wait(seconds=600):
            pass
        woken.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    queue.enqueue("j1")
    waiting.join()

    assert woken.is_set()
