"""Does the file queue keep its order, its bounds and its names, with one handle and with several?"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ssq_core.file import FileWorkerQueue
from ssq_core.queue import (
    LeaseLost,
    QueueClaim,
    RetryPolicy,
)

START = datetime(2024, 5, 1, tzinfo=UTC)


class Clock:
    """A clock that stands until it is moved."""

    now = START

    def __call__(self):
        """Tell the time."""
        return self.now

    def move(self, seconds):
        """Let so many seconds pass, or come back."""
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def opened(tmp_path, clock):
    """Open a handle on one and the same queue."""

    def open_handle(**settings):
        settings = {"lease_ttl_seconds": 10, "clock": clock, "durability": "process-crash"} | settings
        return FileWorkerQueue(tmp_path / "q", **settings)

    return open_handle


@pytest.fixture
def listings(monkeypatch):
    """Count what is listed: one name for each call of `os.listdir`."""
    seen = []
    listdir = os.listdir

    def counted(path="."):
        names = listdir(path)
        seen.append((path, len(names)))
        return names

    monkeypatch.setattr(os, "listdir", counted)
    return seen


def claimed(queue, worker_id="w1"):
    claim = queue.claim(worker_id=worker_id)
    return claim and claim.job_id


def bury(queue, job_id="j"):
    queue.enqueue(job_id)
    queue.release(claim=queue.claim(worker_id="w1"))


@pytest.mark.scenario("file-backend/one-worker-gets-jobs-in-order-of-enqueueing")
def test_one_worker_gets_jobs_in_order_of_enqueueing(opened):
    """Across buckets too, one worker gets jobs in the order of enqueueing, whatever their ids."""
    queue = opened()
    ids = [f"{(i * 7919) % 2500}" for i in range(2500)]
    for job_id in ids:
        queue.enqueue(job_id)

    assert [claimed(queue) for _ in ids] == ids
    assert claimed(queue) is None


def test_the_order_survives_a_clock_that_runs_backwards(opened, clock):
    """The order comes from a counter, so a clock that is set back between enqueues changes nothing."""
    queue = opened()
    for job_id in "abc":
        queue.enqueue(job_id)
        clock.move(-3600)

    assert [claimed(queue) for _ in "abc"] == ["a", "b", "c"]


def test_a_second_handle_opens_without_disturbing_live_claims(opened):
    """Opening a queue again, as a restarted worker does, frees no claim that is still held."""
    queue = opened()
    queue.enqueue("j")
    claim = queue.claim(worker_id="w1")
    second = opened()

    assert second.claim(worker_id="w2") is None
    second.ack(claim=claim)
    assert second.stats().claimed == 0


def test_a_stale_view_loses_the_race_and_goes_on(opened):
    """A handle whose view was emptied by another takes the next job that is really there."""
    first, second = opened(), opened()
    for job_id in ("a", "b", "c"):
        first.enqueue(job_id)
    assert claimed(second) == "a"
    assert claimed(first) == "b"

    assert claimed(second) == "c"
    assert claimed(second) is None


@pytest.mark.scenario("file-backend/fifty-thousand-jobs-wait")
def test_claims_do_not_list_the_backlog(opened, listings):
    """With 50,000 jobs waiting, a hundred claims list the buckets' names once and the four oldest once."""
    queue = opened()
    for number in range(1, 201):
        queue.enqueue(f"job-{number}")
    # The rest is only names of one file: no claim comes so far.
    folders = [queue._layout.bucket(number) for number in range(50_000)]
    names = [f"{number:016x}.{number:032x}.q.0.0.-" for number in range(50_000)]
    record = next(Path(folders[0]).iterdir())
    for number in range(201, 50_000):
        os.makedirs(folders[number], exist_ok=True)
        os.link(record, f"{folders[number]}/{names[number]}")
    worker = opened()
    listings.clear()
    assert [claimed(worker) for _ in range(100)] == [f"job-{n}" for n in range(1, 101)]

    assert [Path(path).name for path, _ in listings] == ["queue", *(f"{bucket:014x}" for bucket in range(4))]
    assert sum(count for _, count in listings) < 4_200


@pytest.mark.scenario("file-backend/a-lease-ends-while-the-backlog-lasts")
def test_an_expired_job_gets_its_turn_although_the_backlog_lasts(opened, clock):
    """A handle that always has waiting jobs in view takes an expired job at its first poll past the lease."""
    first, second = opened(), opened()
    for number in range(50):
        first.enqueue(f"j{number}")
    assert claimed(second) == "j0"
    clock.move(1)
    assert claimed(first) == "j1"
    for number in range(2, 12):
        clock.move(0.9)
        assert claimed(second) == f"j{number}"
    first.enqueue("late")
    clock.move(1.000_001)

    assert claimed(second) == "j0"
    assert claimed(second) == "j1"


@pytest.mark.scenario("file-backend/the-handle-s-clock-is-set-back")
def test_a_view_is_not_trusted_after_the_clock_was_set_back(opened, clock):
    """A clock that jumps back makes the view's age unknown, so that the handle looks again."""
    first, second = opened(), opened()
    for job_id in "abcd":
        first.enqueue(job_id)
    assert claimed(second) == "a"
    clock.move(-100)
    assert claimed(first) == "b"
    clock.move(10.000_001)
    assert claimed(second) == "b"


def test_skew_is_added_before_an_expired_job_is_taken(opened, clock):
    """An expired job is claimed strictly after its lease's end plus the largest clock difference."""
    queue = opened(max_clock_skew_seconds=2)
    queue.enqueue("j")
    assert claimed(queue) == "j"
    clock.move(12)
    assert claimed(queue) is None
    clock.move(0.000_001)

    assert claimed(queue) == "j"


@pytest.mark.scenario("file-backend/a-job-is-given-back")
def test_a_released_job_is_seen_at_once_by_other_handles(opened):
    """A handle with a backlog in view takes a released older job before any of it."""
    first, second = opened(), opened()
    for number in range(5):
        first.enqueue(f"j{number}")
    claim = first.claim(worker_id="w1")
    assert claimed(second) == "j1"
    first.release(claim=claim)

    assert claimed(second) == "j0"
    assert claimed(second) == "j2"


def test_a_requeued_dead_job_is_seen_at_once_by_other_handles(opened):
    """A dead job that was requeued takes its old place, with all its attempts and its payload."""
    policy = RetryPolicy(max_attempts=1)
    first, second = opened(retry=policy), opened(retry=policy)
    first.enqueue("j", payload=b"load")
    first.enqueue("k")
    first.enqueue("l")
    first.release(claim=first.claim(worker_id="w1"))
    assert claimed(second) == "k"
    assert [(job.job_id, job.attempts, job.payload) for job in first.dead()] == [("j", 1, b"load")]
    assert first.requeue_dead("j")
    assert not first.requeue_dead("j")
    claim = second.claim(worker_id="w2")

    assert (claim.job_id, claim.attempt, claim.payload) == ("j", 1, b"load")


def test_back_off_is_kept_to_the_microsecond(opened, clock):
    """A released job rests for its back-off, doubled with each attempt, and no longer."""
    queue = opened(retry=RetryPolicy(max_attempts=3, backoff_base_seconds=2))
    queue.enqueue("j")
    for rest in (2, 4):
        queue.release(claim=queue.claim(worker_id="w1"))
        clock.move(rest - 0.000_001)
        assert claimed(queue) is None
        assert queue.stats().delayed == 1
        clock.move(0.000_001)
        assert queue.stats().queued == 1
    assert queue.claim(worker_id="w1").attempt == 3


def test_release_without_back_off_needs_no_clock(opened, clock):
    """A job given back without back-off is available to a worker whose clock is behind."""
    queue = opened()
    queue.enqueue("j")
    claim = queue.claim(worker_id="w1")
    queue.release(claim=claim)
    clock.move(-5)

    assert claimed(queue) == "j"


def test_attempts_run_out_by_expiry(opened, clock):
    """A job whose every holder died is dead after its last lease, claims passing over it."""
    queue = opened(retry=RetryPolicy(max_attempts=2))
    queue.enqueue("j")
    queue.enqueue("k")
    assert claimed(queue) == "j"
    clock.move(11)
    assert claimed(queue) == "j"
    clock.move(11)
    assert queue.stats().expired == 1
    assert claimed(queue) == "k"

    assert [(job.job_id, job.attempts, job.died_at) for job in queue.dead()] == [("j", 2, clock.now)]


def test_an_extended_claim_is_acked_by_its_older_copy(opened, clock):
    """Acking with the claim as it was before an extension works: both name the same claim."""
    queue = opened()
    queue.enqueue("j")
    claim = queue.claim(worker_id="w1")
    clock.move(8)
    extended = queue.extend(claim=claim)
    assert extended.claim_id == claim.claim_id
    assert extended.lease_expires_at == START + timedelta(seconds=18)
    clock.move(9)
    assert claimed(opened()) is None
    queue.ack(claim=claim)

    with pytest.raises(LeaseLost):
        queue.ack(claim=extended)


def test_an_extended_lease_is_respected_by_a_stale_view(opened, clock):
    """A view that saw the old end of a lease does not take the job after it was extended."""
    queue, other = opened(), opened()
    queue.enqueue("j")
    claim = queue.claim(worker_id="w1")
    queue.enqueue("k")
    queue.enqueue("l")
    assert claimed(other) == "k"
    clock.move(9)
    queue.extend(claim=claim)
    clock.move(2)

    assert claimed(other) == "k"
    assert claimed(other) == "l"
    assert claimed(other) is None


@pytest.mark.parametrize("operation", ["ack", "release", "extend"])
def test_a_claim_that_is_not_current_changes_nothing(opened, clock, operation):
    """Stale, foreign and garbage claims raise LeaseLost, and the holder's claim stays good."""
    queue = opened()
    queue.enqueue("j")
    stale = queue.claim(worker_id="w1")
    clock.move(11)
    current = queue.claim(worker_id="w2")
    fields = {name: getattr(current, name) for name in QueueClaim.__slots__}
    forged = [
        QueueClaim(**(fields | change))
        for change in (
            {"claim_id": ""},
            {"claim_id": "../../x"},
            {"claim_id": current.claim_id.upper() + "0"},
            {"claim_id": "1" + current.claim_id},
            {"job_id": "other"},
            {"job_id": ""},
            {"job_id": "\ud800"},
        )
    ]
    for claim in (stale, *forged):
        with pytest.raises(LeaseLost):
            getattr(queue, operation)(claim=claim)

    queue.ack(claim=current)


def test_emptied_buckets_are_removed(opened, tmp_path):
    """Buckets that hold nothing more are removed, all but those that enqueues fill."""
    queue = opened()
    queue.enqueue_many([(f"{number}", b"") for number in range(5_000)])
    for _ in range(5_000):
        queue.ack(claim=queue.claim(worker_id="w1"))
    assert claimed(queue) is None

    assert len(os.listdir(tmp_path / "q" / "queue")) == 4
    assert os.listdir(tmp_path / "q" / "ids") == []


@pytest.mark.scenario("file-backend/the-order-counter-fell-back")
def test_the_order_is_restored_when_the_queue_is_opened(opened, tmp_path):
    """After a loss of power that set the counter back, new jobs still come after those that survived."""
    queue = opened()
    for number in range(1500):
        queue.enqueue(f"{number}")
    os.truncate(tmp_path / "q" / "order", 3)
    queue = opened()
    queue.enqueue("last")

    assert [claimed(queue) for _ in range(1501)] == [*map(str, range(1500)), "last"]


def test_stats_count_each_state(opened, clock):
    """Each job is counted in the one state that it is in."""
    queue = opened(retry=RetryPolicy(max_attempts=1))
    bury(queue)
    for job_id in "abc":
        queue.enqueue(job_id)
    claimed(queue)
    clock.move(11)
    # The expired job is out of attempts: the next claim buries it and takes another.
    assert queue.stats().expired == 1
    claimed(queue)
    stats = queue.stats()

    assert (stats.queued, stats.delayed, stats.claimed, stats.expired, stats.dead) == (1, 0, 1, 0, 2)
