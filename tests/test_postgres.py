"""Do workers of the PostgreSQL queue stand in each other's way, under any isolation and through any pool?"""

import itertools
import os
from collections import Counter
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from psycopg_pool import ConnectionPool

from postgres_races import LEVELS, at_level, at_once
from ssq_core import LeaseLost, QueueUnavailable, RetryPolicy, postgres_database
from ssq_core.postgres import PostgresWorkerQueue
from ssq_core.queue import QueueStats
from ssq_verify.workplace import claimed, drained, worked_off

# CPython 3.12 warns of every fork in a process with threads, and the test runner has some.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


# Isolation


@pytest.mark.scenario("postgres-backend/workers-race-under-each-isolation-level")
@pytest.mark.parametrize("level", LEVELS)
def test_workers_race_under_each_isolation_level(dsn, opened, level):
    """Six workers that enqueue, claim, release and ack at once finish each job, attempt by attempt."""
    queue = opened(at_level(dsn, level), retry=RetryPolicy(max_attempts=100))

    def work(number):
        own = opened(at_level(dsn, level), retry=RetryPolicy(max_attempts=100))
        taken = []
        for job in range(10):
            own.enqueue(f"j{job}-{number % 3}")
            claim = own.claim(worker_id=f"w{number}")
            if claim is not None:
                taken.append((claim.job_id, claim.attempt))
                (own.release if job % 3 == 0 else own.ack)(claim=claim)
        return taken

    attempts = Counter(claim for taken in at_once(6, work) for claim in taken)
    drained(queue)

    assert attempts
    assert queue.stats() == QueueStats(queued=0, delayed=0, claimed=0, expired=0, dead=0)
    for job_id, attempt in attempts:
        assert attempt == 1 or (job_id, attempt - 1) in attempts


@pytest.mark.parametrize("level", LEVELS)
def test_one_of_two_uses_of_a_claim_wins(dsn, opened, level):
    """Where a claim is acked and released at once, one of them raises `LeaseLost`, under each level."""
    queue, other = opened(at_level(dsn, level)), opened(at_level(dsn, level))
    for number in range(20):
        queue.enqueue(f"j{number}")
        claim = claimed(queue)

        def use(which, claim=claim):
            try:
                queue.ack(claim=claim) if which else other.release(claim=claim)
            except LeaseLost:
                return False
            return True

        released, acked = at_once(2, use)

        assert acked is not released
        assert queue.stats().queued == released
        drained(queue)


def make_conflicts(sql_of, times, sqlstate):
    """Let the server refuse so many writes to the table; sequences forget nothing that is rolled back."""
    sql_of("CREATE SEQUENCE refusals")
    sql_of(
        sql.SQL("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF nextval('refusals') <= {times} THEN
            RAISE EXCEPTION 'another came first' USING ERRCODE = {sqlstate};
          END IF;
          RETURN NEW;
        END $$
        """).format(times=sql.Literal(times), sqlstate=sql.Literal(sqlstate))
    )
    sql_of("CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON ssq_jobs FOR EACH ROW EXECUTE FUNCTION refuse()")


@pytest.mark.scenario("postgres-backend/a-transaction-that-came-second-is-sent-again")
@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
def test_a_transaction_that_came_second_is_sent_again(opened, sql_of, sqlstate):
    """Three serialization failures, or deadlocks, are not seen by the caller, and add nothing."""
    queue = opened()
    make_conflicts(sql_of, 3, sqlstate)

    queue.enqueue("j1")

    assert sql_of("SELECT nextval('refusals')") == [(5,)]
    assert drained(queue) == ["j1"]


@pytest.mark.scenario("postgres-backend/who-always-comes-second-is-told-so")
def test_who_always_comes_second_is_told_so(opened, sql_of, monkeypatch):
    """Beyond the bound `QueueUnavailable` is raised, and nothing was changed."""
    queue = opened()
    make_conflicts(sql_of, 1_000_000, "40001")
    monkeypatch.setattr(postgres_database, "CONFLICT_SECONDS_MAX", 0)

    with pytest.raises(QueueUnavailable, match=r"enqueue at .*other transactions came first.*nothing was"):
        queue.enqueue("j1")

    assert sql_of("SELECT count(*) FROM ssq_jobs") == [(0,)]


@pytest.mark.scenario("postgres-backend/a-claim-waits-for-nobody")
def test_a_claim_waits_for_nobody(opened, dsn):
    """While another transaction holds the oldest job's row, the next job is claimed."""
    queue = opened()
    for job_id in ("j1", "j2"):
        queue.enqueue(job_id)

    with psycopg.connect(dsn) as other:
        other.execute("SELECT 1 FROM ssq_jobs ORDER BY seq LIMIT 1 FOR UPDATE")
        taken = [claimed(queue).job_id, queue.claim(worker_id="w1")]

    assert taken == ["j2", None]
    assert claimed(queue).job_id == "j1"


# Pools


@pytest.mark.scenario("postgres-backend/a-pool-lends-the-connections")
@pytest.mark.parametrize("autocommit", [True, False])
def test_a_pool_lends_the_connections(dsn, autocommit):
    """Four workers share a pool of two connections, whatever else it is set to: each job is done once."""
    settings = {"autocommit": autocommit, "row_factory": psycopg.rows.dict_row}
    with ConnectionPool(dsn, min_size=1, max_size=2, kwargs=settings, open=True) as pool:
        queue = PostgresWorkerQueue(pool=pool)
        for number in range(40):
            queue.enqueue(f"j{number}")

        taken = at_once(4, lambda number: worked_off(PostgresWorkerQueue(pool=pool), f"w{number}"))

        assert sorted(job for each in taken for job in each) == sorted(
            (f"j{number}", 1) for number in range(40)
        )
        assert pool.get_stats()["pool_available"] == pool.get_stats()["pool_size"]


class Pooler:
    """Carries each transaction out on another connection than the one before, as PgBouncer may."""

    def __init__(self, connections):
        self.connections = connections
        self._turn = itertools.cycle(connections)

    @contextmanager
    def connection(self):
        """Lend the next one."""
        with (connection := next(self._turn)).transaction():
            yield connection


@pytest.mark.scenario("postgres-backend/a-pooler-gives-each-transaction-another-connection")
def test_a_pooler_gives_each_transaction_another_connection(dsn, sql_of):
    """A job's life goes over three sessions, and no session keeps anything of it."""
    connections = [psycopg.connect(dsn, autocommit=True, prepare_threshold=1) for _ in range(3)]
    before = [dict(each.execute("SELECT name, setting FROM pg_settings").fetchall()) for each in connections]
    queue = PostgresWorkerQueue(pool=Pooler(connections), retry=RetryPolicy(max_attempts=2))

    for number in range(10):
        queue.enqueue(f"j{number}", payload=b"p")
        queue.release(claim=claimed(queue))
        queue.ack(claim=queue.extend(claim=claimed(queue)))

    assert queue.stats() == QueueStats(queued=0, delayed=0, claimed=0, expired=0, dead=0)
    for connection, settings in zip(connections, before, strict=True):
        # The connection's own statement for this is sent twice, and then prepared by psycopg.
        prepared = connection.execute("SELECT statement FROM pg_prepared_statements").fetchall()
        assert [statement for (statement,) in prepared if "pg_" not in statement] == []
        now = dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())
        assert now == settings
        connection.close()
    assert sql_of("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]


# Threads and forks


@pytest.mark.scenario("postgres-backend/threads-share-a-handle")
def test_threads_share_a_handle(opened):
    """Four threads claim through one handle: each job is claimed once."""
    queue = opened()
    for number in range(60):
        queue.enqueue(f"j{number}")

    taken = at_once(4, lambda number: worked_off(queue, f"w{number}"))

    assert sorted(job for each in taken for job in each) == sorted((f"j{number}", 1) for number in range(60))


def session_of(queue):
    """Return the server's number of the session that a handle has."""
    with queue._database._pool.connection() as connection:
        return connection.execute("SELECT pg_backend_pid()").fetchone()[0]


@pytest.mark.scenario("postgres-backend/a-handle-crosses-a-fork")
def test_a_handle_crosses_a_fork(opened):
    """The child makes a session of its own, and the parent keeps the one that it had."""
    queue = opened()
    queue.enqueue("parent", payload=str(session_of(queue)).encode())
    child = os.fork()
    if child == 0:
        try:
            queue.enqueue("child", payload=str(session_of(queue)).encode())
            queue.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    sessions = {claim.job_id: int(claim.payload) for claim in (claimed(queue), claimed(queue))}

    assert sessions["parent"] == session_of(queue)
    assert sessions["child"] != sessions["parent"]
