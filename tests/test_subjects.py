"""The naive file queue has the defects that it is kept for, and no others by accident."""

from datetime import timedelta

import pytest

from ssq_core.queue import RetryPolicy
from ssq_verify.execution import EPOCH
from ssq_verify.subject import Policy, load, names
from ssq_verify.workplace import ManualClock


@pytest.fixture
def clock():
    """Give a clock that stands still."""
    return ManualClock(now=EPOCH)


@pytest.fixture
def queue(tmp_path, clock):
    """Give a naive queue with a lease of 60 s."""
    policy = Policy(lease_ttl_seconds=60, retry=RetryPolicy(), max_clock_skew_seconds=0, clock=clock)
    return load("naive-file").factory(tmp_path, policy)


@pytest.mark.usefixtures("postgres_subject", "redis_subject")
def test_every_subject_that_is_listed_can_be_opened(tmp_path, clock):
    """Each name that the package lists leads to a factory that opens an empty queue."""
    policy = Policy(lease_ttl_seconds=60, retry=RetryPolicy(), max_clock_skew_seconds=0, clock=clock)
    folders = {name: tmp_path / name for name in names()}
    for folder in folders.values():
        folder.mkdir()
    answers = {n: load(n).factory(folder, policy).claim(worker_id="w1") for n, folder in folders.items()}

    assert {"file", "memory", "naive-file", "sqlite", "femtoqueue"} <= answers.keys()
    assert set(answers.values()) == {None}


def test_a_naive_job_goes_from_queued_to_claimed_to_nothing(queue):
    """In good weather it works: a job is claimed once and is gone when acked."""
    queue.enqueue("j1")

    claim = queue.claim(worker_id="w1")
    assert (claim.job_id, queue.claim(worker_id="w2")) == ("j1", None)
    queue.ack(claim=claim)
    assert list(queue.claimed.iterdir()) == list(queue.queued.iterdir()) == []


def test_a_naive_claim_has_no_attempt_and_no_payload(queue):
    """Its claims say no more than job, claim, worker and lease."""
    queue.enqueue("j1")
    claim = queue.claim(worker_id="w1")

    assert not hasattr(claim, "attempt")
    assert not hasattr(claim, "payload")


def test_a_naive_queue_accepts_any_ack(queue):
    """An ack of a claim that is long gone succeeds."""
    queue.enqueue("j1")
    claim = queue.claim(worker_id="w1")
    queue.ack(claim=claim)

    assert queue.ack(claim=claim) is None


def test_a_naive_queue_runs_a_job_twice_that_is_enqueued_twice(queue):
    """An enqueue of a claimed job gives a second worker the same job."""
    queue.enqueue("j1")
    first = queue.claim(worker_id="w1")
    queue.enqueue("j1")

    assert queue.claim(worker_id="w2").job_id == first.job_id


def test_a_naive_queue_starves_expired_jobs(queue, clock):
    """As long as anything is queued, nobody looks at a job whose lease has expired."""
    queue.enqueue("j1")
    queue.claim(worker_id="w1")
    clock.advance(timedelta(seconds=61))
    queue.enqueue("j2")

    assert queue.claim(worker_id="w2").job_id == "j2"
    assert queue.claim(worker_id="w2").job_id == "j1"


def test_a_naive_queue_stops_at_a_damaged_record(queue):
    """One record that is not whole stops every reclaim."""
    (queue.claimed / "j1__c1.json").write_text("")

    with pytest.raises(ValueError, match="Expecting value"):
        queue.claim(worker_id="w1")
