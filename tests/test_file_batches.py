"""What does the file queue do with many jobs at once, and how is it waited for?"""

import errno
import os
import threading
from datetime import UTC, datetime, timedelta

import pytest

from ssq_core import file_waiting
from ssq_core.file import FileWorkerQueue
from ssq_core.file_record import ABREAST
from ssq_core.queue import QueueIOError

START = datetime(2024, 5, 1, tzinfo=UTC)
LONG_SECONDS = 60.0


@pytest.fixture
def folder(tmp_path):
    """Return where the queue is."""
    return tmp_path / "q"


def opened(folder, **settings):
    """Open a handle, as another process would."""
    return FileWorkerQueue(folder, **({"durability": "process-crash", "lease_ttl_seconds": 10} | settings))


def jobs(count):
    """Return so many jobs."""
    return [(f"j{number}", b"%d" % number) for number in range(count)]


def counted(monkeypatch, name):
    """Count the calls of a function of `os`."""
    real, calls = getattr(os, name), []

    def call(*args, **named):
        calls.append(args)
        return real(*args, **named)

    monkeypatch.setattr(os, name, call)
    return calls


@pytest.mark.scenario("file-backend/many-jobs-have-fewer-syncs")
def test_many_jobs_are_enqueued_with_one_sync_of_each_folder(folder, monkeypatch):
    """Of 100 jobs each record is synced, and the folders `ids`, `queue` and the four buckets once."""
    queue = opened(folder, durability="power-loss")
    syncs = counted(monkeypatch, "fsync")

    queue.enqueue_many(jobs(100))

    assert len(syncs) == 100 + 2 + ABREAST


@pytest.mark.scenario("file-backend/many-jobs-have-fewer-syncs")
def test_many_acks_sync_each_bucket_once(folder, monkeypatch):
    """Fifty acks of jobs in four buckets sync these once."""
    queue = opened(folder, durability="power-loss")
    queue.enqueue_many(jobs(50))
    claims = queue.claim_many(50, worker_id="w1")
    syncs = counted(monkeypatch, "fsync")

    queue.ack_many(claims=claims)

    assert len(syncs) == ABREAST
    assert queue.stats().claimed == 0


def test_a_full_disk_in_the_middle_leaves_every_id_usable(folder, monkeypatch):
    """Of many jobs, when the disk is full at the fifth record: after the next try each is there once."""
    queue = opened(folder)
    real, links = os.link, []

    def link(*args):
        links.append(args)
        if len(links) == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), args[1])
        real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link)
        with pytest.raises(QueueIOError):
            queue.enqueue_many(jobs(10))
    queue.enqueue_many(jobs(10))

    claims = queue.claim_many(20, worker_id="w1")
    assert sorted((claim.job_id, claim.payload) for claim in claims) == jobs(10)


def test_a_counter_that_can_not_be_drawn_from_adds_nothing(folder, monkeypatch):
    """Numbers that were only half drawn, on a full disk, are used by nobody."""
    queue = opened(folder)
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, content: real(fd, content[:1]))
        with pytest.raises(QueueIOError, match="No space left"):
            queue.enqueue_many(jobs(3))

    assert queue.stats().queued == 0


def test_an_error_after_some_were_claimed_gives_those(folder, monkeypatch):
    """When the process runs out of files at the third job, two are claimed, and the next call says why."""
    queue = opened(folder)
    queue.enqueue_many(jobs(5))
    real, opens = os.open, []

    def refused(path, *args, **named):
        opens.append(path)
        # The first looks at a bucket, in no file.
        if len([each for each in opens if ".q." in each]) > 2:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)
        return real(path, *args, **named)

    monkeypatch.setattr(os, "open", refused)

    assert [claim.job_id for claim in queue.claim_many(5, worker_id="w1")] == ["j0", "j1"]
    with pytest.raises(QueueIOError, match="Too many open files"):
        queue.claim_many(5, worker_id="w1")


@pytest.mark.scenario("file-backend/the-kernel-wakes-who-waits")
@pytest.mark.parametrize("hears", [True, False], ids=["inotify", "no inotify"])
@pytest.mark.parametrize("way", ["enqueued", "released", "requeued"])
def test_who_waits_is_woken(folder, monkeypatch, hears, way):
    """A handle that waits returns True when another makes a job available, with and without inotify."""
    if not hears:
        monkeypatch.setattr(file_waiting.ctypes, "CDLL", lambda *_args, **_named: object())
    queue, other = opened(folder), opened(folder)
    other.enqueue("j1")
    claim = other.claim(worker_id="w2")
    if way == "requeued":
        for _ in range(3):
            other.release(claim=claim)
            claim = other.claim(worker_id="w2")
    is_waiting = threading.Event()
    real = file_waiting.Bell.wait

    def wait(bell, seconds):
        is_waiting.set()
        real(bell, seconds)

    monkeypatch.setattr(file_waiting.Bell, "wait", wait)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(queue.wait(seconds=LONG_SECONDS)))
    thread.start()
    assert is_waiting.wait(LONG_SECONDS)
    if way == "enqueued":
        other.enqueue("j2")
    elif way == "released":
        other.release(claim=claim)
    else:
        assert other.requeue_dead("j1")
    thread.join()

    assert answers == [True]


def test_a_wait_has_an_end(folder):
    """With nothing to come a wait says False, and with no time at once."""
    queue = opened(folder)

    assert queue.wait(seconds=0) is False
    assert queue.wait(seconds=0.01) is False


def test_a_wait_ends_when_a_lease_does(folder):
    """A handle that waits looks again when, by its own clock, a lease that it knows of has ended."""
    now = [START]
    queue = opened(folder, clock=lambda: now[0])
    queue.enqueue("j1")
    queue.claim(worker_id="w1")
    assert queue.wait(seconds=0) is False
    now[0] += timedelta(seconds=10, microseconds=1)

    assert queue.wait(seconds=0) is True


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_no_time_is_less_than_none(folder, seconds):
    """A wait of less than no time is refused."""
    with pytest.raises(ValueError, match="give 0 or more"):
        opened(folder).wait(seconds=seconds)


def test_a_wait_leaves_no_file_open(folder):
    """Whatever a wait opens, it closes."""
    queue = opened(folder)
    before = os.listdir("/proc/self/fd")

    queue.wait(seconds=0)

    assert os.listdir("/proc/self/fd") == before


def test_more_folders_than_can_be_watched_are_looked_at(folder, monkeypatch):
    """Where the kernel gives no more watches, a wait goes on by looking."""
    queue = opened(folder)
    with file_waiting.Bell(queue._layout) as bell:
        monkeypatch.setattr(bell, "_is_watched", lambda _folder: False)
        bell.listen()
        bell.wait(0)

        assert bell._fd == -1
