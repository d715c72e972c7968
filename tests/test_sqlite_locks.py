"""Do processes and threads share an SQLite queue without waiting for ever, or for the dead?"""

import multiprocessing
import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from ssq_core import (
    QueueBusy,
    sqlite_database,
)
from ssq_core import sqlite as backend
from ssq_core.sqlite import SqliteWorkerQueue
from ssq_verify.workplace import drained

# CPython 3.12 warns of every fork in a process with threads, and the test runner has some.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

NOW = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.scenario("sqlite-backend/a-busy-database-is-waited-for-then-an-error")
@pytest.mark.parametrize(
    "operation",
    [
        lambda queue, _: queue.enqueue("j2"),
        lambda queue, _: queue.claim(worker_id="w2"),
        lambda queue, claim: queue.ack(claim=claim),
        lambda queue, claim: queue.release(claim=claim),
        lambda queue, claim: queue.extend(claim=claim),
        lambda queue, _: queue.requeue_dead("j1"),
    ],
    ids=["enqueue", "claim", "ack", "release", "extend", "requeue_dead"],
)
def test_a_busy_database_is_an_error_by_type(queue_path, operation):
    """When another holds the lock for longer than the timeout, an operation raises and changes nothing."""
    queue = SqliteWorkerQueue(queue_path, busy_timeout_seconds=0.01, clock=lambda: NOW)
    queue.enqueue("j1")
    claim = queue.claim(worker_id="w1")
    other = sqlite3.connect(queue_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    before = queue.stats()

    with pytest.raises(QueueBusy, match=r"0\.01 s"):
        operation(queue, claim)

    other.execute("ROLLBACK")
    other.close()
    assert queue.stats() == before
    queue.ack(claim=claim)


@pytest.mark.scenario("sqlite-backend/a-busy-database-is-waited-for-then-an-error")
def test_a_lock_that_is_given_up_in_time_is_waited_for(queue_path):
    """An operation that meets a lock waits, and succeeds once the lock is gone."""
    queue = SqliteWorkerQueue(queue_path, busy_timeout_seconds=60)
    other = sqlite3.connect(queue_path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    started = threading.Event()

    def enqueue():
        started.set()
        queue.enqueue("j1")

    with ThreadPoolExecutor(1) as threads:
        enqueued = threads.submit(enqueue)
        started.wait()
        other.execute("COMMIT")
        enqueued.result()
    other.close()

    assert drained(queue) == ["j1"]


@pytest.mark.scenario("sqlite-backend/a-reader-is-not-held-up")
def test_a_count_does_not_wait_for_a_writer(queue_path):
    """`stats` and `dead` answer while another process is writing."""
    queue = SqliteWorkerQueue(queue_path, busy_timeout_seconds=0)
    queue.enqueue("j1")
    other = sqlite3.connect(queue_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    assert queue.stats().queued == 1
    assert queue.dead() == []
    other.close()


@pytest.mark.scenario("sqlite-backend/a-body-that-fails-leaves-no-lock")
def test_a_clock_that_raises_leaves_no_lock(queue_path):
    """An exception inside an operation rolls it back: no lock stays, and the job is still there."""
    times = iter([NOW, ZeroDivisionError(), NOW, NOW])

    def clock():
        now = next(times)
        if isinstance(now, Exception):
            raise now
        return now

    queue = SqliteWorkerQueue(queue_path, clock=clock)
    other = SqliteWorkerQueue(queue_path, busy_timeout_seconds=0)
    other.enqueue("j1")
    other.enqueue("j2")
    assert queue.claim(worker_id="w1").job_id == "j1"

    with pytest.raises(ZeroDivisionError):
        queue.claim(worker_id="w1")

    other.enqueue("j3")
    assert [queue.claim(worker_id="w1").job_id, queue.claim(worker_id="w1").job_id] == ["j2", "j3"]


def _open_and_enqueue(queue_path, barrier, number):
    barrier.wait(120)
    SqliteWorkerQueue(queue_path).enqueue(f"j{number}")


@pytest.mark.scenario("sqlite-backend/many-processes-open-a-new-queue-at-once")
def test_many_processes_open_a_new_queue_at_once(queue_path):
    """Eight processes that make the same database at one moment end up in one whole queue."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(8)
    processes = [
        context.Process(target=_open_and_enqueue, args=(queue_path, barrier, number)) for number in range(8)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * 8
    assert sorted(drained(SqliteWorkerQueue(queue_path))) == [f"j{number}" for number in range(8)]
    assert [file.name for file in queue_path.parent.iterdir() if file.name.endswith(".new")] == []


@pytest.mark.scenario("sqlite-backend/a-handle-crosses-a-fork")
def test_a_handle_crosses_a_fork(queue_path):
    """Before a fork the connection is closed; parent and child go on with one each."""
    queue = SqliteWorkerQueue(queue_path)
    queue.enqueue("j1")
    queue.enqueue("j2")
    child = os.fork()
    if not child:
        at_once = queue._database._connection
        queue.ack(claim=queue.claim(worker_id="child"))
        os._exit(0 if at_once is None else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert drained(queue) == ["j2"]


@pytest.mark.scenario("sqlite-backend/a-handle-crosses-a-fork")
def test_a_fork_waits_for_a_running_transaction(queue_path, monkeypatch):
    """A transaction that another thread has under way is finished before the fork, and happens once."""
    queue = SqliteWorkerQueue(queue_path)
    inside, forking = threading.Event(), threading.Event()

    class AskedBeforeFork(list):
        def __iter__(self):
            forking.set()
            return super().__iter__()

    def enqueue():
        with queue._database.transaction("enqueue") as connection:
            inside.set()
            forking.wait()
            connection.execute(backend._ENQUEUE, ("j1", b""))

    with ThreadPoolExecutor(1) as threads:
        enqueued = threads.submit(enqueue)
        inside.wait()
        monkeypatch.setattr(sqlite_database, "_DATABASES", AskedBeforeFork([queue._database]))
        child = os.fork()
        if not child:
            os._exit(0 if drained(queue) == ["j1"] else 1)
        _, status = os.waitpid(child, 0)
        enqueued.result()

    assert os.waitstatus_to_exitcode(status) == 0
    assert drained(queue) == []


@pytest.mark.scenario("sqlite-backend/a-worker-killed-inside-a-transaction-leaves-no-trace")
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("operation", ["enqueue", "claim", "ack", "release", "extend"])
def test_a_worker_killed_inside_a_transaction_leaves_no_trace(queue_path, operation, moment):
    """A process that dies before its commit did nothing, after it all; others go on without waiting."""
    times = [NOW]
    queue = SqliteWorkerQueue(queue_path, clock=lambda: times[0], busy_timeout_seconds=0)
    queue.enqueue("j1")
    claim = None if operation == "claim" else queue.claim(worker_id="w1")
    times[0] += timedelta(seconds=1)
    before = _contents(queue)
    child = os.fork()
    if not child:
        _die_at_commit(queue, moment)
        arguments = {"enqueue": {"job_id": "j2"}, "claim": {"worker_id": "w2"}}.get(
            operation, {"claim": claim}
        )
        getattr(queue, operation)(**arguments)
        os._exit(0)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 9
    assert (_contents(queue) != before) is (moment == "after")
    queue.enqueue("j3")


def _contents(queue):
    with queue._database.snapshot("look") as connection:
        return connection.execute("SELECT * FROM jobs").fetchall()


def _die_at_commit(queue, moment):
    queue.stats()
    connection = queue._database._connection

    class DiesAtCommit:
        in_transaction = True

        def execute(self, sql, *arguments):
            if sql == "COMMIT" and moment == "before":
                os._exit(9)
            cursor = connection.execute(sql, *arguments)
            if sql == "COMMIT":
                os._exit(9)
            return cursor

    queue._database._connection = DiesAtCommit()


@pytest.mark.scenario("sqlite-backend/threads-share-a-handle")
def test_threads_share_a_handle(queue_path):
    """Four threads on one handle claim each of 80 jobs once."""
    queue = SqliteWorkerQueue(queue_path, durability="process-crash")
    ids = [f"j{number}" for number in range(80)]
    for job_id in ids:
        queue.enqueue(job_id)

    with ThreadPoolExecutor(4) as threads:
        taken = list(threads.map(lambda _: drained(queue), range(4)))

    assert sorted(job_id for ids_of_one in taken for job_id in ids_of_one) == sorted(ids)
