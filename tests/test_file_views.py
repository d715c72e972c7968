"""What may a handle of the file queue believe without looking again? Who lists what, and how often."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from ssq_core import file_backlog
from ssq_core.file import FileWorkerQueue
from ssq_core.queue import RetryPolicy

START = datetime(2024, 5, 1, tzinfo=UTC)
NO_ATTEMPT_LEFT = RetryPolicy(max_attempts=1)


class Place:
    """A queue folder, a clock that the tests move, and a count of what is listed."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.now, self.listed, self.monotonic_ns = folder, START, [], 10**12
        real = os.listdir
        monkeypatch.setattr(os, "listdir", lambda path: self.listed.append(path) or real(path))
        monkeypatch.setattr(file_backlog.time, "monotonic_ns", lambda: self.monotonic_ns)

    def opened(self, **settings):
        """Open a handle, as another process would."""
        settings = {"lease_ttl_seconds": 10, "durability": "process-crash"} | settings
        return FileWorkerQueue(self.folder, clock=lambda: self.now, **settings)

    def settled(self, queue):
        """Let a handle find nothing, twice, with more than a tick in between."""
        assert queue.claim(worker_id="w1") is None
        self.monotonic_ns += file_backlog.TICK_NS + 1
        assert queue.claim(worker_id="w1") is None
        self.listed.clear()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return a place of its own for each test."""
    return Place(tmp_path / "q", monkeypatch)


def dead_letters(place, count):
    """Leave so many dead letters in the queue."""
    queue = place.opened(retry=NO_ATTEMPT_LEFT)
    queue.enqueue_many([(f"d{number}", b"") for number in range(count)])
    for _ in range(count):
        queue.release(claim=queue.claim(worker_id="w1"))


@pytest.mark.scenario("file-backend/nothing-is-available")
def test_claims_that_find_nothing_list_nothing(place):
    """Among 3,000 dead letters, a hundred claims that find nothing list no folder once two have."""
    dead_letters(place, 3_000)
    queue = place.opened(retry=NO_ATTEMPT_LEFT)
    place.settled(queue)

    assert [queue.claim(worker_id="w1") for _ in range(100)] == [None] * 100

    assert place.listed == []


@pytest.mark.parametrize("way", ["enqueued", "released", "requeued", "expired", "in another bucket"])
def test_what_comes_then_is_found_at_once(place, way):
    """A handle that believes that nothing is available sees whatever becomes available, by any way."""
    dead_letters(place, 1)
    other = place.opened(retry=RetryPolicy(max_attempts=2 if way == "released" else 1))
    if way in {"released", "expired"}:
        other = place.opened(retry=RetryPolicy(max_attempts=2))
        other.enqueue("j1")
        claim = other.claim(worker_id="w2")
    if way == "in another bucket":
        os.truncate(place.folder / "order", 5_000)
    queue = place.opened(retry=RetryPolicy(max_attempts=2))
    place.settled(queue)
    if way == "released":
        other.release(claim=claim)
    elif way == "requeued":
        assert other.requeue_dead("d0")
    elif way == "expired":
        place.now += timedelta(seconds=10, microseconds=1)
    else:
        other.enqueue("j1")

    assert queue.claim(worker_id="w1").job_id == ("d0" if way == "requeued" else "j1")


@pytest.mark.parametrize(
    ("waits_ns", "is_believed"), [(file_backlog.TICK_NS, False), (file_backlog.TICK_NS + 1, True)]
)
def test_a_change_in_the_same_tick_is_not_relied_on(place, waits_ns, is_believed):
    """A view is not believed before a tick has passed between two looks that found the same times."""
    dead_letters(place, 1)
    queue = place.opened(retry=NO_ATTEMPT_LEFT)
    queue.claim(worker_id="w1")
    place.monotonic_ns += waits_ns
    queue.claim(worker_id="w1")
    place.listed.clear()

    queue.claim(worker_id="w1")

    assert (place.listed == []) == is_believed


def test_a_file_system_that_counts_seconds_has_longer_ticks(place, monkeypatch):
    """Where all times are whole seconds, what changed a second ago may still have the same time."""
    dead_letters(place, 1)
    monkeypatch.setattr(file_backlog, "_modified_ns", lambda _folder: 1_700_000_000 * 10**9)
    queue = place.opened(retry=NO_ATTEMPT_LEFT)
    place.settled(queue)

    queue.claim(worker_id="w1")

    assert place.listed != []


def test_whoever_lost_a_close_race_leaves_the_next_job_to_the_winner(place, monkeypatch):
    """After losing a rename a worker takes the job after the next, and the next one with its next claim."""
    queue, other = place.opened(), place.opened()
    queue.enqueue_many([(f"j{number}", b"") for number in range(5)])
    real = os.rename
    winners = []

    def beaten(source, target):
        if not winners:
            winners.append(None)
            winners.append(other.claim(worker_id="w2"))
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", beaten)
        mine = [queue.claim(worker_id="w1")]
    mine += [queue.claim(worker_id="w1") for _ in range(3)]

    assert winners[1].job_id == "j0"
    assert [claim.job_id for claim in mine] == ["j2", "j1", "j3", "j4"]


def test_the_last_job_is_left_to_nobody(place, monkeypatch):
    """A worker that lost a close race takes the next job if it is the only one."""
    queue, other = place.opened(), place.opened()
    queue.enqueue_many([("j0", b""), ("j1", b"")])
    real, winners = os.rename, []

    def beaten(source, target):
        if not winners:
            winners.append(None)
            winners.append(other.claim(worker_id="w2"))
        real(source, target)

    monkeypatch.setattr(os, "rename", beaten)

    assert queue.claim(worker_id="w1").job_id == "j1"
