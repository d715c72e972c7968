"""Does the PostgreSQL queue keep its promises where many jobs go at once, and does no wait miss a job?"""

import threading
import time
from contextlib import closing, nullcontext
from datetime import timedelta
from types import SimpleNamespace

import psycopg
import pytest

from conftest import FROZEN_AT
from postgres_races import LEVELS, at_level, at_once
from ssq_core import LeaseLost, QueueUnavailable, RetryPolicy, postgres_claims, postgres_schema
from ssq_core.postgres import PostgresWorkerQueue
from ssq_core.queue import BATCH_MAX, LeasesLost, QueueStats
from ssq_verify.workplace import claimed, drained

NOTHING = QueueStats(queued=0, delayed=0, claimed=0, expired=0, dead=0)
LONG_SECONDS = 60
YEAR = timedelta(days=365)
ADD = "INSERT INTO ssq_jobs (job_id, payload, enqueued_at) VALUES (%s, '', now()) ON CONFLICT DO NOTHING"
BLOCKED = """
SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'transactionid' AND datname = current_database()
"""


# Batches


@pytest.mark.scenario("postgres-backend/batches-race-under-each-isolation-level")
@pytest.mark.parametrize("level", LEVELS)
def test_batches_race_under_each_isolation_level(dsn, opened, level):
    """Four workers enqueue the same ids in different orders, and claim and ack in tens: each job once."""
    jobs = [(f"j{number}", b"p") for number in range(100)]

    def work(number):
        own = opened(at_level(dsn, level))
        own.enqueue_many(jobs[number * 25 :] + jobs[: number * 25])
        return own

    handles = at_once(4, work)

    def finish(number):
        done = []
        while claims := handles[number].claim_many(10, worker_id=f"w{number}"):
            handles[number].ack_many(claims=claims)
            done += [(claim.job_id, claim.attempt) for claim in claims]
        return done

    done = [each for worker in at_once(4, finish) for each in worker]
    done += [(job_id, 1) for job_id in drained(handles[0])]

    assert sorted(done) == sorted((job_id, 1) for job_id, _ in jobs)
    assert handles[0].stats() == NOTHING


@pytest.mark.scenario("postgres-backend/a-deadlock-of-two-batches-is-not-seen")
def test_a_deadlock_of_two_batches_is_not_seen(opened, dsn, sql_of):
    """Where two batches have the same ids in opposite orders, the server undoes one; it is sent again."""
    queue = opened(dsn + "&options=-c%20deadlock_timeout%3D3s")
    with psycopg.connect(dsn) as other:
        other.execute("SET deadlock_timeout = '60s'")  # it is the queue's statement that is undone
        other.execute(ADD, [b"b"])
        adding = threading.Thread(target=queue.enqueue_many, args=([("a", b"1"), ("b", b"2")],))
        adding.start()
        until(lambda: sql_of(BLOCKED) == [(1,)])
        other.execute(ADD, [b"a"])
    adding.join(LONG_SECONDS)

    # A number is drawn for each row of each try: two for the others, and two for each of more tries than one.
    assert sql_of("SELECT last_value >= 6 FROM ssq_jobs_seq_seq") == [(True,)]
    assert drained(queue) == ["b", "a"]


@pytest.mark.scenario("postgres-backend/a-batch-of-any-size-keeps-its-order")
def test_a_batch_of_any_size_keeps_its_order(opened, monkeypatch):
    """More jobs than a statement takes, or larger ones, are claimed in the order that they were given in."""
    queue = opened()
    monkeypatch.setattr("ssq_core.postgres.PIECE_BYTES_MAX", 100)
    given = [(f"{number * 7919 % 1999}", b"") for number in range(BATCH_MAX + 500)]
    large = [(f"large-{number}", b"x" * 60) for number in range(5)]

    queue.enqueue_many([*given, *large, given[0]])

    claims = [claim for _ in range(2) for claim in queue.claim_many(BATCH_MAX, worker_id="w1")]
    assert [(claim.job_id, claim.payload) for claim in claims] == given + large
    assert len({claim.claim_id for claim in claims}) == len(claims)
    queue.ack_many(claims=claims)
    assert queue.stats() == NOTHING


@pytest.mark.scenario("postgres-backend/a-batch-takes-what-has-come-due-as-well")
def test_a_batch_takes_what_has_come_due_as_well(opened, frozen):
    """Of five jobs whose leases ended and five that wait, eight are taken, oldest first; one is buried."""
    queue = opened(retry=RetryPolicy(max_attempts=2))
    queue.enqueue_many([(f"j{number}", b"") for number in range(10)])
    held = queue.claim_many(5, worker_id="w1")
    queue.release(claim=held[0])
    claimed(queue)
    frozen(FROZEN_AT + YEAR)

    taken = queue.claim_many(8, worker_id="w2")

    assert [(claim.job_id, claim.attempt) for claim in taken] == [
        *((f"j{number}", 2) for number in range(1, 5)),
        *((f"j{number}", 1) for number in range(5, 9)),
    ]
    assert [job.job_id for job in queue.dead()] == ["j0"]


def test_a_job_that_a_batch_takes_twice_has_two_claims(opened, frozen, monkeypatch):
    """Where its lease ends between the two statements of a call, its first claim is superseded."""
    queue = opened()
    queue.enqueue("j1")
    run, calls = queue._database.run, []

    def stopped_in_between(operation, *rest):
        calls.append(operation)
        if len(calls) == 2:
            frozen(FROZEN_AT + timedelta(days=1))
        return run(operation, *rest)

    monkeypatch.setattr(queue._database, "run", stopped_in_between)
    first, second = queue.claim_many(2, worker_id="w1")

    assert (first.attempt, second.attempt) == (1, 2)
    with pytest.raises(LeasesLost) as lost:
        queue.ack_many(claims=[first, second])
    assert lost.value.claims == (first,)


@pytest.mark.scenario("postgres-backend/spent-jobs-do-not-fill-a-batch")
def test_spent_jobs_do_not_fill_a_batch(opened):
    """Jobs with more attempts than a handle allows are buried when met, and the batch is full."""
    generous, strict = opened(retry=RetryPolicy(max_attempts=5)), opened(retry=RetryPolicy(max_attempts=1))
    generous.enqueue_many([(f"j{number}", b"") for number in range(6)])
    for claim in generous.claim_many(3, worker_id="w1"):
        generous.release(claim=claim)

    taken = strict.claim_many(3, worker_id="w2")

    assert [claim.job_id for claim in taken] == ["j3", "j4", "j5"]
    assert strict.stats().dead == 3


@pytest.mark.scenario("postgres-backend/claims-that-are-not-current-are-named")
def test_claims_that_are_not_current_are_named(opened):
    """A released, a made-up and a repeated claim are lost; the others of the batch are acked."""
    queue = opened()
    queue.enqueue_many([(f"j{number}", b"") for number in range(4)])
    first, second, third, fourth = queue.claim_many(4, worker_id="w1")
    queue.release(claim=first)
    forged = type(third)(
        job_id=fourth.job_id, claim_id=third.claim_id, worker_id="w1", attempt=1,
        claimed_at=third.claimed_at, lease_expires_at=third.lease_expires_at,
    )  # fmt: skip

    with pytest.raises(LeasesLost) as lost:
        queue.ack_many(claims=[first, second, forged, third, second])

    assert lost.value.claims == (first, forged, second)
    assert queue.stats() == QueueStats(queued=1, delayed=0, claimed=1, expired=0, dead=0)
    with pytest.raises(LeaseLost):
        queue.ack(claim=third)
    queue.ack(claim=fourth)


# Where a look begins


def looking_from(queue, seq):
    """Let a handle begin its looks there, as after one that took long."""
    far = FROZEN_AT + YEAR
    queue._claims._place = postgres_claims.Place(seq=seq, due=FROZEN_AT, looked_at=FROZEN_AT, until=far)


@pytest.mark.scenario("postgres-backend/a-place-to-look-from-hides-nothing")
@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("limit", [1, 3])
def test_a_place_to_look_from_hides_nothing(opened, limit):
    """Jobs before the place, waiting, given back or come due, are found as soon as too few are after it."""
    queue = opened()
    queue.enqueue_many([(f"j{number}", b"") for number in range(4)])
    queue.release(claim=claimed(queue))
    looking_from(queue, 4)

    taken = queue.claim_many(limit, worker_id="w1")
    rest = [claim for _ in range(4) for claim in queue.claim_many(limit, worker_id="w1")]

    # Of more than are after it all are looked at.
    assert [claim.job_id for claim in taken] == [["j3"], ["j3", "j0", "j1"]][limit == 3]
    assert sorted(claim.job_id for claim in taken + rest) == [f"j{number}" for number in range(4)]


@pytest.mark.scenario("postgres-backend/a-place-to-look-from-is-left-in-time")
@pytest.mark.parametrize("years", [-1, 2])
def test_a_place_to_look_from_is_left_in_time(opened, frozen, years):
    """When its time is over, and when the clock is set back, the next look is at everything again."""
    queue = opened()
    queue.enqueue_many([(f"j{number}", b"") for number in range(4)])
    looking_from(queue, 3)
    frozen(FROZEN_AT + years * YEAR)

    taken = [claimed(queue).job_id for _ in range(4)]

    assert taken == ["j2", "j0", "j1", "j3"]


def test_a_long_look_is_not_repeated_at_once():
    """Who looked for 10 ms begins at its end for 200 ms; who looked for a tenth of one looks everywhere."""
    at = FROZEN_AT.replace(tzinfo=None)
    quick, slow = ((5_000, b"j", 1, b"", at, at.replace(microsecond=us)) for us in (100, 10_000))

    place = postgres_claims._next(postgres_claims.EVERYWHERE, [slow], 1)

    assert postgres_claims._next(postgres_claims.EVERYWHERE, [quick], 1) is postgres_claims.EVERYWHERE
    assert (place.seq, place.until) == (4_900, FROZEN_AT.replace(microsecond=210_000))


# Waiting


def until(condition):
    """Come back once it is so; fail if it never is."""
    deadline = time.monotonic() + LONG_SECONDS
    while not condition():
        assert time.monotonic() < deadline


def waiters(sql_of):
    """Return how many hold the lock of those who wait."""
    ((held,),) = sql_of("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted")
    return held


WAKING = {
    "enqueue": lambda queue, _: queue.enqueue("j2"),
    "enqueue_many": lambda queue, _: queue.enqueue_many([("j2", b""), ("j3", b"")]),
    "release": lambda queue, held: queue.release(claim=held),
}


@pytest.mark.scenario("postgres-backend/a-wait-is-ended-by-what-makes-a-job-available")
@pytest.mark.parametrize("way", WAKING)
def test_a_wait_is_ended_by_what_makes_a_job_available(opened, sql_of, way):
    """Two who wait are told of a job that is enqueued or given back; nothing of the wait stays behind."""
    queue = opened()
    queue.enqueue("j1")
    held = claimed(queue)
    others = [opened(), opened()]
    woken = []
    threads = [
        threading.Thread(target=lambda own=own: woken.append(own.wait(seconds=LONG_SECONDS)))
        for own in others
    ]
    for thread in threads:
        thread.start()
    until(lambda: waiters(sql_of) == len(others))

    begun = time.monotonic()
    WAKING[way](queue, held)
    for thread in threads:
        thread.join(LONG_SECONDS)

    assert woken == [True, True]
    assert time.monotonic() - begun < LONG_SECONDS / 2
    assert waiters(sql_of) == 0


@pytest.mark.scenario("postgres-backend/a-wait-is-ended-by-what-comes-due")
def test_a_wait_is_ended_by_what_comes_due(opened):
    """A lease ends while somebody waits: no one tells it, and it is found all the same."""
    queue = opened(lease_ttl_seconds=0.2)
    queue.enqueue("j1")
    claimed(queue)

    assert queue.wait(seconds=LONG_SECONDS)
    assert claimed(queue).attempt == 2


def test_a_wait_for_nothing_ends_in_time(opened, dsn):
    """Without work the answer is False; a job that is there is seen at once, through a pool as well."""
    queue = opened()
    with psycopg.connect(dsn, autocommit=True) as connection:
        lent = PostgresWorkerQueue(pool=SimpleNamespace(connection=lambda: nullcontext(connection)))
        assert (queue.wait(seconds=0.05), lent.wait(seconds=0.05)) == (False, False)
        queue.enqueue("j1")
        assert (queue.wait(seconds=0), lent.wait(seconds=LONG_SECONDS)) == (True, True)


@pytest.mark.scenario("postgres-backend/who-looked-too-early-looks-again")
def test_who_looked_too_early_looks_again(opened, dsn, sql_of):
    """An enqueue that found nobody waiting commits after the waiter has looked: it is seen all the same."""
    queue, table = opened(), postgres_schema.Table("ssq_jobs")
    woken = []
    with psycopg.connect(dsn) as slow:
        slow.execute(table.about(postgres_schema.ENQUEUE), {"job_id": b"j1", "payload": b""})
        waiting = threading.Thread(target=lambda: woken.append(queue.wait(seconds=LONG_SECONDS)))
        waiting.start()
        # It holds the lock, and looks, while the job is there and not yet to be seen.
        until(lambda: waiters(sql_of) == 1)
        looked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE %s AND state = 'idle'"
        until(lambda: sql_of(looked, "%txid_snapshot_xmin%") == [(1,)])
    waiting.join(LONG_SECONDS / 2)

    assert woken == [True]


@pytest.mark.scenario("postgres-backend/nobody-is-told-if-nobody-waits")
def test_nobody_is_told_if_nobody_waits(opened, dsn, sql_of):
    """Without a waiter no NOTIFY is sent, and with one it is."""
    queue = opened()
    with psycopg.connect(dsn, autocommit=True) as listener:
        ((channel,),) = sql_of(postgres_schema.Table("ssq_jobs").about(postgres_schema.CHANNEL))
        listener.execute(f'LISTEN "{channel}"')
        queue.enqueue("j1")
        unheard = list(listener.notifies(timeout=0))
        listener.execute(postgres_schema.Table("ssq_jobs").about(postgres_schema.BEGIN_WAIT), {})
        queue.enqueue("j2")
        heard = list(listener.notifies(timeout=LONG_SECONDS, stop_after=1))

    assert (unheard, len(heard)) == ([], 1)


def test_a_wait_that_loses_its_session_says_so(opened, sql_of):
    """The server ends the session of one who waits: that is told in a line, and the next wait works."""
    queue = opened()
    told = []

    def wait():
        with closing(queue):
            try:
                queue.wait(seconds=LONG_SECONDS)
            except QueueUnavailable as error:
                told.append(str(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: waiters(sql_of) == 1)
    sql_of("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
    waiting.join(LONG_SECONDS)

    assert len(told) == 1
    assert "wait at table ssq_jobs" in told[0]
    queue.enqueue("j1")
    assert queue.wait(seconds=LONG_SECONDS)
