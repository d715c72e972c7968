"""Is the SQLite queue's file private, whole and synced, and are its errors told by type?"""

import os
import sqlite3
import stat

import pytest

from ssq_core import (
    QueueDataCorruptedError,
    QueueIOError,
    UnsupportedFilesystem,
    UnsupportedSchema,
    sqlite_database,
)
from ssq_core.sqlite import SqliteWorkerQueue
from ssq_verify.workplace import drained

# CPython 3.12 warns of every fork in a process with threads, and the test runner has some.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


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
def test_an_existing_folder_is_left_as_it_is(tmp_path, queue_path):
    """Opening makes a file in the folder and leaves the folder's permissions alone."""
    tmp_path.chmod(0o755)

    SqliteWorkerQueue(queue_path)

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
def test_a_kill_while_it_is_made_leaves_no_half_queue(queue_path, killed_at):
    """A process that dies while it makes the database leaves none or a whole one."""
    child = os.fork()
    if not child:

        def die(*_arguments, **_keywords):
            os._exit(9)

        setattr(sqlite_database.os, killed_at, die)
        SqliteWorkerQueue(queue_path)
        os._exit(0)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 9
    queue = SqliteWorkerQueue(queue_path)
    queue.enqueue("j1")
    assert drained(SqliteWorkerQueue(queue_path)) == ["j1"]


@pytest.mark.scenario("sqlite-backend/another-version-is-refused")
@pytest.mark.parametrize("version", [0, 2, 99])
def test_another_version_is_refused(queue_path, version):
    """A database of another schema version is refused by number and left as it was."""
    SqliteWorkerQueue(queue_path).close()
    connection = sqlite3.connect(queue_path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    before = queue_path.read_bytes()

    with pytest.raises(UnsupportedSchema) as refused:
        SqliteWorkerQueue(queue_path)

    assert (refused.value.found, refused.value.expected) == (version, 1)
    assert queue_path.read_bytes() == before


@pytest.mark.scenario("sqlite-backend/what-is-not-a-queue-is-refused")
@pytest.mark.parametrize("content", ["empty", "text", "another database"])
def test_what_is_not_a_queue_is_refused(queue_path, content):
    """An empty file, a text and another program's database are refused and left as they were."""
    queue_path.write_bytes(
        b"" if content != "text" else b"these are not the bytes you are looking for\n" * 20
    )
    if content == "another database":
        connection = sqlite3.connect(queue_path)
        connection.executescript("CREATE TABLE jobs (id)")
        connection.close()
    before = queue_path.read_bytes()

    with pytest.raises(QueueDataCorruptedError) as refused:
        SqliteWorkerQueue(queue_path)

    assert str(queue_path) in str(refused.value)
    assert queue_path.read_bytes() == before


@pytest.mark.scenario("sqlite-backend/a-damaged-database-is-an-error-by-type")
def test_a_damaged_database_is_an_error_by_type(queue_path):
    """Pages overwritten with noise end in `QueueDataCorruptedError`, never in SQLite's own error."""
    queue = SqliteWorkerQueue(queue_path)
    for number in range(300):
        queue.enqueue(f"j{number}", payload=bytes(200))
    queue.close()
    with queue_path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\x5a" * (queue_path.stat().st_size - 4096))

    damaged = SqliteWorkerQueue(queue_path)
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
def test_a_database_that_has_gone_is_not_made_anew(queue_path):
    """A handle whose file was removed says so at its next opening, and leaves no empty database behind."""
    queue = SqliteWorkerQueue(queue_path)
    queue.close()
    queue_path.unlink()

    with pytest.raises(QueueIOError):
        queue.enqueue("j1")
    assert not queue_path.exists()


@pytest.mark.scenario("sqlite-backend/storage-errors-are-typed")
def test_a_full_disk_loses_nothing_and_adds_nothing(queue_path):
    """When the disk is full an enqueue raises `QueueIOError` and took no effect; with room again it does."""
    queue = SqliteWorkerQueue(queue_path)
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
def test_a_failed_commit_is_rolled_back(queue_path, monkeypatch):
    """A commit that fails raises `QueueIOError`; nothing of its transaction reaches the next one."""
    queue = SqliteWorkerQueue(queue_path)
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
        queue.ack(claim=_claimed_elsewhere(queue_path))
    monkeypatch.undo()
    queue.enqueue("j2")

    assert queue.stats().claimed == 1
    assert drained(queue) == ["j2"]


def _claimed_elsewhere(queue_path):
    claim = SqliteWorkerQueue(queue_path).claim(worker_id="w2")
    assert claim is not None
    return claim


@pytest.mark.scenario("sqlite-backend/an-old-sqlite-is-refused")
def test_an_old_sqlite_is_refused(queue_path, monkeypatch):
    """A SQLite without RETURNING is refused at open, by version."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))

    with pytest.raises(QueueIOError, match=r"too old; use 3\.35 or later"):
        SqliteWorkerQueue(queue_path)
    assert not queue_path.exists()


@pytest.mark.scenario("sqlite-backend/a-network-file-system-is-refused")
def test_a_network_file_system_is_refused(queue_path, monkeypatch):
    """Where the folder is on a network file system, nothing is made there."""

    def refuse(where):
        raise UnsupportedFilesystem(where, "nfs4")

    monkeypatch.setattr(sqlite_database, "refuse_network_filesystem", refuse)

    with pytest.raises(UnsupportedFilesystem):
        SqliteWorkerQueue(queue_path)
    assert not queue_path.exists()


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
def test_bad_settings_are_refused(queue_path, settings):
    """A setting that no queue can keep raises `ValueError`, and no file is made."""
    with pytest.raises(ValueError, match=next(iter(settings))):
        SqliteWorkerQueue(queue_path, **settings)
    assert not queue_path.exists()


@pytest.mark.scenario("sqlite-backend/power-loss-durability-syncs-each-commit")
@pytest.mark.parametrize(("durability", "level"), [("power-loss", 2), ("process-crash", 1)])
def test_durability_sets_what_is_synced(queue_path, durability, level):
    """The log is synced at each commit for power loss (FULL), at checkpoints for process crashes (NORMAL)."""
    queue = SqliteWorkerQueue(queue_path, durability=durability)

    for _ in range(2):
        with queue._database.transaction("look") as connection:
            assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        queue.close()


@pytest.mark.scenario("sqlite-backend/the-new-file-is-synced-before-it-is-used")
def test_the_new_file_is_synced_before_its_name_and_both_before_use(queue_path, monkeypatch):
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

    SqliteWorkerQueue(queue_path)
    assert steps == ["sync file", "link", "sync folder"]
    steps.clear()
    SqliteWorkerQueue(queue_path)
    assert steps == ["sync folder"]
    steps.clear()
    SqliteWorkerQueue(queue_path.with_name("crash.db"), durability="process-crash")
    assert steps == ["link"]
