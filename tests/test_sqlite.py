"""What is SQLite's own in the SQLite queue: its file, its locks, its query plans and its errors?"""

import multiprocessing
import os
import re
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from ssq_core import (
    LeaseLost,
    QueueBusy,
    QueueDataCorruptedError,
    QueueIOError,
    RetryPolicy,
    UnsupportedFilesystem,
    UnsupportedSchema,
    sqlite_database,
)
from ssq_core import sqlite as backend
from ssq_core.sqlite import SqliteWorkerQueue

# CPython 3.12 warns of every fork in a process with threads, and the test runner has some.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

NOW = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    """Return the path of a database that does not exist yet."""
    return tmp_path / "queue.db"


def drained(queue):
    """Claim and ack until nothing is available; return the job ids in order."""
    taken = []
    while (claim := queue.claim(worker_id="w1")) is not None:
        queue.ack(claim=claim)
        taken.append(claim.job_id)
    return taken


# The file


@pytest.mark.scenario("sqlite-backend/a-new-database-is-private")
def test_a_new_database_is_private_and_its_folder_is_made(tmp_path):
    """Folder, database, log and shared memory are their owner's alone, whatever the umask."""
    old = os.umask(0)
    try:
        SqliteWorkerQueue(tmp_path / "new" / "deep" / "queue.db").enqueue("j1")
        queue = SqliteWorkerQueue(tmp_path / "new" / "deep" / "queue.db")
        files = sorted((tmp_path / "new" / "deep").iterdir())
    finally:
        os.umask(old)

    assert [file.name for file in files] == ["queue.db", "queue.db-shm", "queue.db-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert drained(queue) == ["j1"]


@pytest.mark.scenario("sqlite-backend/an-existing-folder-is-left-as-it-is")
def test_an_existing_folder_is_left_as_it_is(tmp_path, path):
    """Opening makes a file in the folder and leaves the folder's permissions alone."""
    tmp_path.chmod(0o755)

    SqliteWorkerQueue(path)

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


@pytest.mark.scenario("sqlite-backend/odd-paths-are-paths")
@pytest.mark.parametrize("name", ["a b?mode=memory#x%41.db", ":memory:", "file:x.db", "ünï.db", "-"])
def test_odd_paths_are_paths(tmp_path, monkeypatch, name):
    """No character of a path means anything to SQLite, and a later change of folder changes nothing."""
    monkeypatch.chdir(tmp_path)
    queue = SqliteWorkerQueue(name)
    queue.enqueue("j1")
    queue.close()
    monkeypatch.chdir("/")

    assert drained(queue) == ["j1"]
    assert [file.name for file in tmp_path.iterdir() if not file.name.endswith(("-wal", "-shm"))] == [name]


@pytest.mark.scenario("sqlite-backend/a-kill-while-it-is-made-leaves-no-half-queue")
@pytest.mark.parametrize("killed_at", ["close", "link", "unlink"])
def test_a_kill_while_it_is_made_leaves_no_half_queue(path, killed_at):
    """A process that dies while it makes the database leaves none or a whole one."""
    child = os.fork()
    if not child:

        def die(*_arguments, **_keywords):
            os._exit(9)

        setattr(sqlite_database.os, killed_at, die)
        SqliteWorkerQueue(path)
        os._exit(0)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 9
    queue = SqliteWorkerQueue(path)
    queue.enqueue("j1")
    assert drained(SqliteWorkerQueue(path)) == ["j1"]


@pytest.mark.scenario("sqlite-backend/another-version-is-refused")
@pytest.mark.parametrize("version", [0, 2, 99])
def test_another_version_is_refused(path, version):
    """A database of another schema version is refused by number and left as it was."""
    SqliteWorkerQueue(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    before = path.read_bytes()

    with pytest.raises(UnsupportedSchema) as refused:
        SqliteWorkerQueue(path)

    assert (refused.value.found, refused.value.expected) == (version, 1)
    assert path.read_bytes() == before


@pytest.mark.scenario("sqlite-backend/what-is-not-a-queue-is-refused")
@pytest.mark.parametrize("content", ["empty", "text", "another database"])
def test_what_is_not_a_queue_is_refused(path, content):
    """An empty file, a text and another program's database are refused and left as they were."""
    path.write_bytes(b"" if content != "text" else b"these are not the bytes you are looking for\n" * 20)
    if content == "another database":
        connection = sqlite3.connect(path)
        connection.executescript("CREATE TABLE jobs (id)")
        connection.close()
    before = path.read_bytes()

    with pytest.raises(QueueDataCorruptedError) as refused:
        SqliteWorkerQueue(path)

    assert str(path) in str(refused.value)
    assert path.read_bytes() == before


@pytest.mark.scenario("sqlite-backend/a-damaged-database-is-an-error-by-type")
def test_a_damaged_database_is_an_error_by_type(path):
    """Pages overwritten with noise end in `QueueDataCorruptedError`, never in SQLite's own error."""
    queue = SqliteWorkerQueue(path)
    for number in range(300):
        queue.enqueue(f"j{number}", payload=bytes(200))
    queue.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\x5a" * (path.stat().st_size - 4096))

    damaged = SqliteWorkerQueue(path)
    with pytest.raises(QueueDataCorruptedError):
        damaged.claim(worker_id="w1")


@pytest.mark.scenario("sqlite-backend/storage-errors-are-typed")
def test_a_folder_that_is_a_file_is_an_error_by_type(tmp_path):
    """A path below a file raises `QueueIOError` with the operation and the path."""
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(QueueIOError) as failed:
        SqliteWorkerQueue(tmp_path / "file" / "queue.db")

    assert failed.value.operation == "open"


@pytest.mark.scenario("sqlite-backend/storage-errors-are-typed")
def test_a_database_that_has_gone_is_not_made_anew(path):
    """A handle whose file was removed says so at its next opening, and leaves no empty database behind."""
    queue = SqliteWorkerQueue(path)
    queue.close()
    path.unlink()

    with pytest.raises(QueueIOError):
        queue.enqueue("j1")
    assert not path.exists()


@pytest.mark.scenario("sqlite-backend/storage-errors-are-typed")
def test_a_full_disk_loses_nothing_and_adds_nothing(path):
    """When the disk is full an enqueue raises `QueueIOError` and took no effect; with room again it does."""
    queue = SqliteWorkerQueue(path)
    queue.enqueue("j1")
    connection = queue._database._connection
    # SQLite's own limit on the file's pages gives SQLITE_FULL, as a full disk does.
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(QueueIOError, match="full"):
        queue.enqueue("j2", payload=bytes(100_000))

    connection.execute("PRAGMA max_page_count = 1000000")
    queue.enqueue("j3")
    assert drained(queue) == ["j1", "j3"]


@pytest.mark.scenario("sqlite-backend/storage-errors-are-typed")
def test_a_failed_commit_is_rolled_back(path, monkeypatch):
    """A commit that fails raises `QueueIOError`; nothing of its transaction reaches the next one."""
    queue = SqliteWorkerQueue(path)
    queue.enqueue("j1")
    database = queue._database

    class FailsAtCommit:
        def __init__(self, connection):
            self._connection = connection

        def __getattr__(self, name):
            return getattr(self._connection, name)

        def execute(self, sql, *arguments):
            if sql == "COMMIT":
                raise sqlite3.OperationalError("disk I/O error")
            return self._connection.execute(sql, *arguments)

    monkeypatch.setattr(database, "_connection", FailsAtCommit(database._connection))
    with pytest.raises(QueueIOError, match="ack failed"):
        queue.ack(claim=_claimed_elsewhere(path))
    monkeypatch.undo()
    queue.enqueue("j2")

    assert queue.stats().claimed == 1
    assert drained(queue) == ["j2"]


def _claimed_elsewhere(path):
    claim = SqliteWorkerQueue(path).claim(worker_id="w2")
    assert claim is not None
    return claim


@pytest.mark.scenario("sqlite-backend/an-old-sqlite-is-refused")
def test_an_old_sqlite_is_refused(path, monkeypatch):
    """A SQLite without RETURNING is refused at open, by version."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))

    with pytest.raises(QueueIOError, match=r"too old; use 3\.35 or later"):
        SqliteWorkerQueue(path)
    assert not path.exists()


@pytest.mark.scenario("sqlite-backend/a-network-file-system-is-refused")
def test_a_network_file_system_is_refused(path, monkeypatch):
    """Where the folder is on a network file system, nothing is made there."""

    def refuse(where):
        raise UnsupportedFilesystem(where, "nfs4")

    monkeypatch.setattr(sqlite_database, "refuse_network_filesystem", refuse)

    with pytest.raises(UnsupportedFilesystem):
        SqliteWorkerQueue(path)
    assert not path.exists()


@pytest.mark.scenario("sqlite-backend/bad-settings-are-refused")
@pytest.mark.parametrize(
    "settings",
    [
        {"lease_ttl_seconds": 0},
        {"max_clock_skew_seconds": -1},
        {"busy_timeout_seconds": -1},
        {"durability": "sometimes"},
    ],
)
def test_bad_settings_are_refused(path, settings):
    """A setting that no queue can keep raises `ValueError`, and no file is made."""
    with pytest.raises(ValueError, match=next(iter(settings))):
        SqliteWorkerQueue(path, **settings)
    assert not path.exists()


# Durability


@pytest.mark.scenario("sqlite-backend/power-loss-durability-syncs-each-commit")
@pytest.mark.parametrize(("durability", "level"), [("power-loss", 2), ("process-crash", 1)])
def test_durability_sets_what_is_synced(path, durability, level):
    """The log is synced at each commit for power loss (FULL), at checkpoints for process crashes (NORMAL)."""
    queue = SqliteWorkerQueue(path, durability=durability)

    for _ in range(2):
        with queue._database.transaction("look") as connection:
            assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        queue.close()


@pytest.mark.scenario("sqlite-backend/the-new-file-is-synced-before-it-is-used")
def test_the_new_file_is_synced_before_its_name_and_both_before_use(path, monkeypatch):
    """The draft is synced, then linked, then its folder is synced; every open syncs the folder."""
    steps = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(descriptor):
        steps.append("sync " + ("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"))
        real_fsync(descriptor)

    def link(source, target):
        steps.append("link")
        real_link(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)

    SqliteWorkerQueue(path)
    assert steps == ["sync file", "link", "sync folder"]
    steps.clear()
    SqliteWorkerQueue(path)
    assert steps == ["sync folder"]
    steps.clear()
    SqliteWorkerQueue(path.with_name("crash.db"), durability="process-crash")
    assert steps == ["link"]


# Locks


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
def test_a_busy_database_is_an_error_by_type(path, operation):
    """When another holds the lock for longer than the timeout, an operation raises and changes nothing."""
    queue = SqliteWorkerQueue(path, busy_timeout_seconds=0.01, clock=lambda: NOW)
    queue.enqueue("j1")
    claim = queue.claim(worker_id="w1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    before = queue.stats()

    with pytest.raises(QueueBusy, match=r"0\.01 s"):
        operation(queue, claim)

    other.execute("ROLLBACK")
    other.close()
    assert queue.stats() == before
    queue.ack(claim=claim)


@pytest.mark.scenario("sqlite-backend/a-busy-database-is-waited-for-then-an-error")
def test_a_lock_that_is_given_up_in_time_is_waited_for(path):
    """An operation that meets a lock waits, and succeeds once the lock is gone."""
    queue = SqliteWorkerQueue(path, busy_timeout_seconds=60)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
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
def test_a_count_does_not_wait_for_a_writer(path):
    """`stats` and `dead` answer while another process is writing."""
    queue = SqliteWorkerQueue(path, busy_timeout_seconds=0)
    queue.enqueue("j1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    assert queue.stats().queued == 1
    assert queue.dead() == []
    other.close()


@pytest.mark.scenario("sqlite-backend/a-body-that-fails-leaves-no-lock")
def test_a_clock_that_raises_leaves_no_lock(path):
    """An exception inside an operation rolls it back: no lock stays, and the job is still there."""
    times = iter([NOW, ZeroDivisionError(), NOW, NOW])

    def clock():
        now = next(times)
        if isinstance(now, Exception):
            raise now
        return now

    queue = SqliteWorkerQueue(path, clock=clock)
    other = SqliteWorkerQueue(path, busy_timeout_seconds=0)
    other.enqueue("j1")
    other.enqueue("j2")
    assert queue.claim(worker_id="w1").job_id == "j1"

    with pytest.raises(ZeroDivisionError):
        queue.claim(worker_id="w1")

    other.enqueue("j3")
    assert [queue.claim(worker_id="w1").job_id, queue.claim(worker_id="w1").job_id] == ["j2", "j3"]


# Processes and threads


def _open_and_enqueue(path, barrier, number):
    barrier.wait(120)
    SqliteWorkerQueue(path).enqueue(f"j{number}")


@pytest.mark.scenario("sqlite-backend/many-processes-open-a-new-queue-at-once")
def test_many_processes_open_a_new_queue_at_once(path):
    """Eight processes that make the same database at one moment end up in one whole queue."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(8)
    processes = [
        context.Process(target=_open_and_enqueue, args=(path, barrier, number)) for number in range(8)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * 8
    assert sorted(drained(SqliteWorkerQueue(path))) == [f"j{number}" for number in range(8)]
    assert [file.name for file in path.parent.iterdir() if file.name.endswith(".new")] == []


@pytest.mark.scenario("sqlite-backend/a-handle-crosses-a-fork")
def test_a_handle_crosses_a_fork(path):
    """Before a fork the connection is closed; parent and child go on with one each."""
    queue = SqliteWorkerQueue(path)
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
def test_a_fork_waits_for_a_running_transaction(path, monkeypatch):
    """A transaction that another thread has under way is finished before the fork, and happens once."""
    queue = SqliteWorkerQueue(path)
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
def test_a_worker_killed_inside_a_transaction_leaves_no_trace(path, operation, moment):
    """A process that dies before its commit did nothing, after it all; others go on without waiting."""
    times = [NOW]
    queue = SqliteWorkerQueue(path, clock=lambda: times[0], busy_timeout_seconds=0)
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
    with queue._database.transaction("look", begin="BEGIN") as connection:
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
def test_threads_share_a_handle(path):
    """Four threads on one handle claim each of 80 jobs once."""
    queue = SqliteWorkerQueue(path, durability="process-crash")
    ids = [f"j{number}" for number in range(80)]
    for job_id in ids:
        queue.enqueue(job_id)

    with ThreadPoolExecutor(4) as threads:
        taken = list(threads.map(lambda _: drained(queue), range(4)))

    assert sorted(job_id for ids_of_one in taken for job_id in ids_of_one) == sorted(ids)


# The cost of a claim


def plan(path, sql):
    """Return how SQLite means to run a statement."""
    queue = SqliteWorkerQueue(path)
    terms = dict.fromkeys(re.findall(r":(\w+)", sql), 0)
    with queue._database.transaction("look") as connection:
        return [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + sql, terms)]


@pytest.mark.scenario("sqlite-backend/a-claim-reads-the-head-of-an-index")
def test_a_claim_reads_the_head_of_an_index(path):
    """A claim walks the index of available jobs in order and stops at the first; nothing is sorted."""
    assert plan(path, backend._STOP_WAITING) == ["SEARCH jobs USING INDEX waiting (due_us<?)"]
    steps = plan(path, backend._CLAIM_OR_BURY)
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
def test_the_cost_of_a_claim_does_not_grow(path, others):
    """A claim among 2,000 jobs that are queued, resting or held takes as many steps as one among 20."""
    costs = []
    for count in (20, 2000):
        queue = SqliteWorkerQueue(
            path.with_name(f"{count}.db"),
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


# Policies that change


@pytest.mark.scenario("sqlite-backend/a-lower-bound-buries-what-is-above-it")
def test_a_lower_bound_buries_what_is_above_it(path):
    """A job with more attempts than a new policy allows becomes dead, with its count, and holds up nobody."""
    generous = SqliteWorkerQueue(path, retry=RetryPolicy(max_attempts=9), clock=lambda: NOW)
    generous.enqueue("j1")
    for _ in range(5):
        generous.release(claim=generous.claim(worker_id="w1"))
    generous.enqueue("j2")

    strict = SqliteWorkerQueue(path, retry=RetryPolicy(max_attempts=3), clock=lambda: NOW)

    assert strict.claim(worker_id="w1").job_id == "j2"
    assert [(job.job_id, job.attempts, job.died_at) for job in strict.dead()] == [("j1", 5, NOW)]


@pytest.mark.scenario("sqlite-backend/many-leases-that-ended-at-once-are-worked-off")
def test_many_leases_that_ended_at_once_are_worked_off(path):
    """Jobs whose holders died together come back in order, those at their last attempt as dead."""
    times = [NOW]
    queue = SqliteWorkerQueue(
        path, clock=lambda: times[0], retry=RetryPolicy(max_attempts=2), durability="process-crash"
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


def test_a_payload_must_be_bytes(path):
    """A payload that is not bytes raises `TypeError` and adds nothing."""
    queue = SqliteWorkerQueue(path)

    with pytest.raises(TypeError, match="give bytes"):
        queue.enqueue("j1", payload="text")
    assert queue.claim(worker_id="w1") is None


def test_a_claim_of_another_database_is_refused(path):
    """A claim made by one queue is not current in another that has the same job."""
    first, second = SqliteWorkerQueue(path), SqliteWorkerQueue(path.with_name("other.db"))
    for queue in (first, second):
        queue.enqueue("j1")
    claim = first.claim(worker_id="w1")
    second.claim(worker_id="w1")

    with pytest.raises(LeaseLost):
        second.ack(claim=claim)
