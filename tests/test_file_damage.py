"""Does the file queue survive what others do to its files: damage, strange things, errors of one file?"""

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ssq_core.file import FileWorkerQueue
from ssq_core.file_record import entry_key
from ssq_core.queue import QueueIOError, RetryPolicy

START = datetime(2024, 5, 1, tzinfo=UTC)


class Damaged:
    """A queue of two jobs, `bad` before `good`, of which the first is about to be damaged."""

    def __init__(self, folder):
        self.folder = folder
        self.now = START
        self.queue = self.opened()
        self.queue.enqueue("bad", payload=b"payload")
        self.queue.enqueue("good")
        self.bucket = folder / "queue" / f"{1:014x}"
        self.entry = min(self.bucket.iterdir())

    def opened(self):
        """Open another handle."""
        return FileWorkerQueue(
            self.folder,
            lease_ttl_seconds=10,
            clock=lambda: self.now,
            retry=RetryPolicy(max_attempts=1),
            durability="process-crash",
        )

    def claimed(self):
        """Claim by a handle that has seen nothing yet."""
        claim = self.opened().claim(worker_id="w")
        return claim and claim.job_id


@pytest.fixture
def damaged(tmp_path):
    return Damaged(tmp_path / "q")


def overwritten(content):
    def damage(path):
        path.write_bytes(content)

    return damage


def flipped(offset):
    def damage(path):
        content = bytearray(path.read_bytes())
        content[offset] ^= 1
        path.write_bytes(content)

    return damage


def replaced(make):
    def damage(path):
        path.unlink()
        make(path)

    return damage


def another_jobs_record(path):
    (other,) = (path.parent.parent / f"{2:014x}").iterdir()
    path.write_bytes(other.read_bytes())


DAMAGE = {
    "emptied": overwritten(b""),
    "cut in its payload": lambda path: os.truncate(path, path.stat().st_size - 1),
    "cut in its header": lambda path: os.truncate(path, 50),
    "grown": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a flipped bit in the checksum": flipped(3),
    "a flipped bit in the header": flipped(60),
    "a flipped bit in the payload": flipped(-1),
    "nested JSON": overwritten(b"0" * 32 + b" " + b"[" * 2000),
    "another job's record": another_jobs_record,
    "a link": replaced(lambda path: path.symlink_to("/etc/hostname")),
    "a dangling link": replaced(lambda path: path.symlink_to("nowhere")),
    "a folder": replaced(Path.mkdir),
    "a pipe": replaced(os.mkfifo),
}


@pytest.mark.scenario("file-backend/a-record-is-damaged")
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_record_is_set_aside_and_stops_nobody(damaged, kind, caplog):
    """A damaged record is moved to `damaged`, logged and counted, uses no attempt, and frees its id."""
    DAMAGE[kind](damaged.entry)
    assert damaged.claimed() == "good"
    assert len(list((damaged.folder / "damaged").iterdir())) == damaged.queue.stats().damaged == 1
    assert "set aside" in caplog.text
    damaged.queue.enqueue("bad", payload=b"new")
    claim = damaged.opened().claim(worker_id="w")

    assert (claim.job_id, claim.payload, claim.attempt) == ("bad", b"new", 1)


@pytest.mark.parametrize("kind", DAMAGE)
def test_the_id_of_a_damaged_record_can_be_enqueued_before_any_claim(damaged, kind):
    """An enqueue whose id has a damaged record finds the job live or starts a new one, without error."""
    DAMAGE[kind](damaged.entry)
    damaged.queue.enqueue("bad", payload=b"new")
    claimed = {damaged.claimed(), damaged.claimed()}
    damaged.queue.enqueue("bad")
    claimed |= {damaged.claimed()}

    assert claimed >= {"good", "bad"}
    assert damaged.queue.stats().damaged == 1


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_dead_letter_is_set_aside(damaged, kind):
    """Dead letters are listed without the damaged one, which is set aside."""
    claim = damaged.queue.claim(worker_id="w")
    damaged.queue.release(claim=claim)
    damaged.queue.release(claim=damaged.queue.claim(worker_id="w"))
    DAMAGE[kind](min(damaged.bucket.iterdir()))

    assert [job.job_id for job in damaged.queue.dead()] == ["good"]
    assert damaged.queue.stats().damaged == 1
    assert damaged.queue.requeue_dead("bad") is False


@pytest.mark.scenario("file-backend/a-strange-name-among-the-entries")
@pytest.mark.parametrize("name", [b"notes.txt", b"\xff\xfe", b"x" * 255, b".hidden", b"0.q"])
def test_a_strange_name_is_set_aside(damaged, name, caplog):
    """A file that is no entry is moved to `damaged`, logged as any log can take it, and claims go on."""
    Path(os.fsdecode(os.fsencode(damaged.bucket) + b"/" + name)).write_bytes(b"mine")

    assert damaged.claimed() == "bad"
    assert [path.read_bytes() for path in (damaged.folder / "damaged").iterdir()] == [b"mine"]
    assert b"set aside" in caplog.text.encode()


def test_an_entry_in_the_wrong_bucket_is_set_aside(damaged):
    """An entry that was moved to another bucket can't be acked there, so it is set aside."""
    other = damaged.bucket.parent / f"{3:014x}"
    other.mkdir()
    damaged.entry.rename(other / damaged.entry.name)

    assert damaged.claimed() == "good"
    assert damaged.claimed() is None
    assert damaged.queue.stats().damaged == 1


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("/tmp")])  # noqa: S108 - no temporary file
@pytest.mark.parametrize("name", [f"{5:014x}", "lost+found"])
def test_strange_things_beside_the_buckets_are_passed_over(damaged, name, make):
    """A file or a link among the buckets is not followed and stops nobody."""
    make(damaged.bucket.parent / name)

    assert damaged.claimed() == "bad"
    assert damaged.claimed() == "good"
    assert damaged.claimed() is None


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("/etc/hostname"), Path.touch])
def test_a_strange_thing_in_an_identity_s_place_is_set_aside(damaged, make):
    """An enqueue finds something else where its id belongs, sets it aside, and adds the job."""
    make(damaged.folder / "ids" / entry_key(b"third"))
    damaged.queue.enqueue("third")

    assert [damaged.claimed() for _ in range(3)] == ["bad", "good", "third"]
    assert damaged.queue.stats().damaged == 1


@pytest.mark.scenario("file-backend/a-record-can-not-be-read-for-now")
@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES])
def test_an_unreadable_record_is_passed_over_and_kept(damaged, monkeypatch, caplog, code):
    """A record that the disk will not give stops nobody, and is claimed once it can be read."""
    real = os.open

    def unreadable(path, *args, **named):
        if path == str(damaged.entry):
            raise OSError(code, os.strerror(code), path)
        return real(path, *args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", unreadable)
        assert damaged.claimed() == "good"
        assert damaged.claimed() is None
    assert "passing over" in caplog.text
    assert damaged.queue.stats().damaged == 0

    assert damaged.claimed() == "bad"


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_an_exhausted_process_is_an_error_not_an_empty_queue(damaged, monkeypatch, code):
    """Running out of files or memory raises `QueueIOError`: it must not look like an empty queue."""

    def exhausted(path, *_args, **_named):
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr(os, "open", exhausted)
    with pytest.raises(QueueIOError, match="claim failed"):
        damaged.queue.claim(worker_id="w")


def test_a_lost_counter_stops_nobody(damaged):
    """Without `returns` and `order`, claims, releases and enqueues go on, new jobs after the old ones."""
    (damaged.folder / "order").unlink()
    damaged.queue.enqueue("third")
    damaged.now += timedelta(seconds=1)
    damaged.queue.release(claim=damaged.queue.claim(worker_id="w"))

    assert damaged.queue.stats().dead == 1
