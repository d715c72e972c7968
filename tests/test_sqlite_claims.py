"""What does a claim of the SQLite queue cost, and what does it make of jobs under another policy?"""

import re
from datetime import UTC, datetime, timedelta

import pytest

from ssq_core import (
    LeaseLost,
    RetryPolicy,
)
from ssq_core import sqlite as backend
from ssq_core.file import FileWorkerQueue
from ssq_core.sqlite import SqliteWorkerQueue
from ssq_verify.workplace import drained

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def plan(queue_path, sql):
    """Return how SQLite means to run a statement."""
    queue = SqliteWorkerQueue(queue_path)
    terms = dict.fromkeys(re.findall(r":(\w+)", sql), 0)
    with queue._database.transaction("look") as connection:
        return [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + sql, terms)]


@pytest.mark.scenario("sqlite-backend/a-claim-reads-the-head-of-an-index")
def test_a_claim_reads_the_head_of_an_index(queue_path):
    """A claim walks the index of available jobs in order and stops at the first; nothing is sorted."""
    assert plan(queue_path, backend._STOP_WAITING) == ["SEARCH jobs USING INDEX waiting (due_us<?)"]
    steps = plan(queue_path, backend._CLAIM_OR_BURY)
    assert "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)" in steps
    assert "SCAN jobs USING INDEX available" in steps
    assert not [step for step in steps if "TEMP B-TREE" in step]


def steps_of_a_claim(queue):
    """Count the virtual machine's instructions in one claim, by tens."""
    ticks = [0]

    def tick():
        ticks[0] += 1

    with queue._database.transaction("look") as connection:
        connection.set_progress_handler(tick, 10)
    assert queue.claim(worker_id="w1") is not None
    with queue._database.transaction("look") as connection:
        connection.set_progress_handler(None, 10)
    return ticks[0]


@pytest.mark.scenario("sqlite-backend/a-claim-reads-the-head-of-an-index")
@pytest.mark.parametrize("others", ["queued", "resting", "held"])
def test_the_cost_of_a_claim_does_not_grow(queue_path, others):
    """A claim among 2,000 jobs that are queued, resting or held takes as many steps as one among 20."""
    costs = []
    for count in (20, 2000):
        queue = SqliteWorkerQueue(
            queue_path.with_name(f"{count}.db"),
            clock=lambda: NOW,
            retry=RetryPolicy(backoff_base_seconds=10),
            durability="process-crash",
        )
        for number in range(count):
            queue.enqueue(f"j{number}")
            if others != "queued":
                claim = queue.claim(worker_id="w1")
                if others == "resting":
                    queue.release(claim=claim)
        queue.enqueue("last")
        costs.append(steps_of_a_claim(queue))

    assert costs[1] <= costs[0] + 2


@pytest.mark.scenario("sqlite-backend/a-lower-bound-buries-what-is-above-it")
def test_a_lower_bound_buries_what_is_above_it(queue_path):
    """A job with more attempts than a new policy allows becomes dead, with its count, and holds up nobody."""
    generous = SqliteWorkerQueue(queue_path, retry=RetryPolicy(max_attempts=9), clock=lambda: NOW)
    generous.enqueue("j1")
    for _ in range(5):
        generous.release(claim=generous.claim(worker_id="w1"))
    generous.enqueue("j2")

    strict = SqliteWorkerQueue(queue_path, retry=RetryPolicy(max_attempts=3), clock=lambda: NOW)

    assert strict.claim(worker_id="w1").job_id == "j2"
    assert [(job.job_id, job.attempts, job.died_at) for job in strict.dead()] == [("j1", 5, NOW)]


@pytest.mark.scenario("sqlite-backend/many-leases-that-ended-at-once-are-worked-off")
def test_many_leases_that_ended_at_once_are_worked_off(queue_path):
    """Jobs whose holders died together come back in order, those at their last attempt as dead."""
    times = [NOW]
    queue = SqliteWorkerQueue(
        queue_path, clock=lambda: times[0], retry=RetryPolicy(max_attempts=2), durability="process-crash"
    )
    for number in range(100):
        queue.enqueue(f"j{number}")
        first = queue.claim(worker_id="w1")
        if number % 2:
            queue.release(claim=first)
            queue.claim(worker_id="w1")

    times[0] = NOW + timedelta(hours=1)

    assert drained(queue) == [f"j{number}" for number in range(0, 100, 2)]
    assert [job.job_id for job in queue.dead()] == [f"j{number}" for number in range(1, 100, 2)]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_lease_that_no_queue_could_keep_is_refused(queue_path, seconds):
    """No length, or none that ends, raises `ValueError` with what to give instead."""
    with pytest.raises(ValueError, match=f"lease_ttl_seconds is {seconds}; give more than 0"):
        SqliteWorkerQueue(queue_path, lease_ttl_seconds=seconds)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
@pytest.mark.parametrize("kind", [SqliteWorkerQueue, FileWorkerQueue])
def test_a_skew_that_no_queue_could_wait_is_refused(queue_path, kind, seconds):
    """Clocks that differ by no bound, or by less than nothing, raise `ValueError`, and nothing is made."""
    with pytest.raises(ValueError, match=f"max_clock_skew_seconds is {seconds}; give 0 or more"):
        kind(queue_path, max_clock_skew_seconds=seconds)

    assert not queue_path.exists()


def test_a_payload_must_be_bytes(queue_path):
    """A payload that is not bytes raises `TypeError` and adds nothing."""
    queue = SqliteWorkerQueue(queue_path)

    with pytest.raises(TypeError, match="give bytes"):
        queue.enqueue("j1", payload="text")
    assert queue.claim(worker_id="w1") is None


def test_a_claim_of_another_database_is_refused(queue_path):
    """A claim made by one queue is not current in another that has the same job."""
    first, second = SqliteWorkerQueue(queue_path), SqliteWorkerQueue(queue_path.with_name("other.db"))
    for queue in (first, second):
        queue.enqueue("j1")
    claim = first.claim(worker_id="w1")
    second.claim(worker_id="w1")

    with pytest.raises(LeaseLost):
        second.ack(claim=claim)
