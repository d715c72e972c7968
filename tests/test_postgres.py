"""What is PostgreSQL's own in the PostgreSQL queue: its table, its isolation levels, its clock, its plans?"""

import itertools
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from psycopg_pool import ConnectionPool

from ssq_core import (
    LeaseLost,
    QueueDataCorruptedError,
    QueueUnavailable,
    RetryPolicy,
    UnsupportedSchema,
    postgres_database,
    postgres_schema,
)
from ssq_core.postgres import PostgresWorkerQueue
from ssq_core.queue import QueueStats

# CPython 3.12 warns of every fork in a process with threads, and the test runner has some.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

LEVELS = ["read committed", "repeatable read", "serializable"]
START_SECONDS_MAX = 60
NOW = datetime(2024, 2, 29, 23, 59, 30, tzinfo=UTC)
numbers = itertools.count()


@pytest.fixture
def admin(postgres):
    """Give the superuser's connection."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def dsn(postgres, admin):
    """Return the URL of an empty database."""
    name = f"test_{os.getpid()}_{next(numbers)}"
    admin.execute(f"CREATE DATABASE {name}")
    yield postgres.url.replace("/postgres?", f"/{name}?")
    admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sql_of(dsn):
    """Run a statement in that database as the superuser, and return its rows."""
    with psycopg.connect(dsn, autocommit=True) as connection:

        def run(statement, *terms):
            cursor = connection.execute(statement, terms or None)
            return cursor.fetchall() if cursor.description else []

        yield run


@pytest.fixture
def opened(dsn):
    """Open handles, and close them in the end."""
    handles = []

    def open_one(url=None, **settings):
        handles.append(PostgresWorkerQueue(url or dsn, **settings))
        return handles[-1]

    yield open_one
    for handle in handles:
        handle.close()


@pytest.fixture
def frozen(postgres):
    """Let the server's clock stand still, and return what sets it."""
    postgres.set_time(NOW)
    yield postgres.set_time
    postgres.release_time()


def at_level(dsn, level):
    """Return the URL with an isolation level as the session's default."""
    return f"{dsn}&options=" + quote(f"-c default_transaction_isolation={level.replace(' ', chr(92) + ' ')}")


def claimed(queue, worker_id="w1"):
    """Claim, where a job is available."""
    claim = queue.claim(worker_id=worker_id)
    assert claim is not None
    return claim


def drained(queue, worker_id="w1"):
    """Claim and ack until nothing is available; return the job ids in order."""
    taken = []
    while (claim := queue.claim(worker_id=worker_id)) is not None:
        queue.ack(claim=claim)
        taken.append(claim.job_id)
    return taken


def at_once(workers, work):
    """Let so many threads begin their work at one moment; return what each comes to."""
    barrier = threading.Barrier(workers)

    def begin(number):
        barrier.wait(START_SECONDS_MAX)
        return work(number)

    with ThreadPoolExecutor(workers) as threads:
        return list(threads.map(begin, range(workers)))


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

        taken = at_once(4, lambda number: drained(PostgresWorkerQueue(pool=pool), f"w{number}"))

        assert sorted(job for each in taken for job in each) == sorted(f"j{number}" for number in range(40))
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


# The table


@pytest.mark.scenario("postgres-backend/many-workers-open-a-new-queue-at-once")
@pytest.mark.parametrize("level", LEVELS)
def test_many_workers_open_a_new_queue_at_once(dsn, opened, level):
    """Eight workers that make the table at one moment share one queue."""

    def work(number):
        opened(at_level(dsn, level)).enqueue(f"j{number}")

    at_once(8, work)

    assert sorted(drained(opened())) == [f"j{number}" for number in range(8)]


@pytest.mark.scenario("postgres-backend/another-version-is-refused")
def test_another_version_is_refused(opened, sql_of):
    """A table of a later ssq is left alone."""
    opened().enqueue("j1")
    sql_of("COMMENT ON TABLE ssq_jobs IS 'ssq job queue, schema 2'")

    with pytest.raises(UnsupportedSchema, match=r"table ssq_jobs at .* version 2, .* 1") as refused:
        opened()

    assert (refused.value.found, refused.value.expected) == (2, 1)
    assert sql_of("SELECT count(*) FROM ssq_jobs") == [(1,)]


@pytest.mark.scenario("postgres-backend/what-is-not-a-queue-is-refused")
@pytest.mark.parametrize("comment", ["NULL", "'my own'", "'ssq job queue, schema x'"])
def test_what_is_not_a_queue_is_refused(opened, sql_of, comment):
    """Another program's table of that name is named and left as it is."""
    sql_of("CREATE TABLE ssq_jobs (mine integer)")
    sql_of(f"COMMENT ON TABLE ssq_jobs IS {comment}")

    with pytest.raises(QueueDataCorruptedError, match=r"table ssq_jobs at .*another program's table"):
        opened()

    assert sql_of("SELECT count(*) FROM pg_indexes WHERE tablename = 'ssq_jobs'") == [(0,)]


@pytest.mark.scenario("postgres-backend/a-role-without-rights-uses-the-table-that-is-there")
def test_a_role_without_rights_uses_the_table_that_is_there(dsn, opened, sql_of):
    """Who may read and write the table, but make none, works as any other; without a table it is told."""
    sql_of("CREATE ROLE worker LOGIN PASSWORD 'pw'")
    try:
        as_worker = dsn.replace("postgres@", "worker:pw@")
        with pytest.raises(QueueUnavailable, match=r"open at .*permission denied for schema public"):
            opened(as_worker)
        opened().enqueue("j1")
        sql_of("GRANT SELECT, INSERT, UPDATE, DELETE ON ssq_jobs TO worker")

        assert drained(opened(as_worker)) == ["j1"]
    finally:
        sql_of("DROP OWNED BY worker")
        sql_of("DROP ROLE worker")


@pytest.mark.scenario("postgres-backend/a-table-has-the-name-that-it-is-given")
@pytest.mark.parametrize("name", ["apart.jobs", 'odd "name"; --', "50% {jobs}", "x" * 50])
def test_a_table_has_the_name_that_it_is_given(opened, sql_of, name):
    """A schema before the name, quotes and semicolons in it, are taken as they are."""
    sql_of("CREATE SCHEMA apart")

    opened(table=name).enqueue("j1")

    assert drained(opened(table=name)) == ["j1"]
    assert sql_of("SELECT count(*) FROM pg_tables WHERE tablename = %s", name.split(".")[-1]) == [(1,)]


@pytest.mark.scenario("postgres-backend/a-table-has-the-name-that-it-is-given")
@pytest.mark.parametrize("name", ["", ".jobs", "a.b.c", "x" * 51])
def test_a_name_that_no_table_can_have_is_refused(opened, name):
    """Empty, nested or too long, it raises `ValueError`, which says what to give."""
    with pytest.raises(ValueError, match=r"give a name of at most 50 bytes, or schema.name"):
        opened(table=name)


def test_bad_settings_are_refused(dsn):
    """A lease of no length, and no server at all, raise `ValueError` at once."""
    with pytest.raises(ValueError, match="lease_ttl_seconds is 0; give more than 0"):
        PostgresWorkerQueue(dsn, lease_ttl_seconds=0)
    with pytest.raises(ValueError, match="neither dsn nor pool"):
        PostgresWorkerQueue()


def test_a_payload_must_be_bytes(opened):
    """Text is refused before it is sent."""
    with pytest.raises(TypeError, match="payload is a str; give bytes"):
        opened().enqueue("j1", payload="text")


# Time


@pytest.mark.scenario("postgres-backend/leases-end-by-the-server-s-clock")
def test_leases_end_by_the_servers_clock(opened, frozen):
    """The server's clock alone says when a lease ends, where it jumps as well."""
    queue = opened(lease_ttl_seconds=60)
    queue.enqueue("j1")
    first = claimed(queue)
    frozen(NOW + timedelta(seconds=60))
    assert queue.claim(worker_id="w2") is None

    frozen(NOW + timedelta(hours=1))
    second = claimed(queue, "w2")
    frozen(NOW)

    assert queue.claim(worker_id="w3") is None
    assert (first.claimed_at, first.lease_expires_at) == (NOW, NOW + timedelta(seconds=60))
    assert second.lease_expires_at == NOW + timedelta(hours=1, seconds=60)


@pytest.mark.scenario("postgres-backend/odd-texts-and-settings-are-no-matter")
@pytest.mark.usefixtures("frozen")
def test_odd_texts_and_settings_are_no_matter(postgres, admin):
    """In a Latin 1 database with German dates, ids, payloads, worker ids and times come back as they were."""
    admin.execute("CREATE DATABASE odd ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    try:
        admin.execute("ALTER DATABASE odd SET datestyle TO 'German'")
        admin.execute("ALTER DATABASE odd SET timezone TO 'Asia/Kolkata'")
        queue = PostgresWorkerQueue(postgres.url.replace("/postgres?", "/odd?"))
        workers = ["w\0", "😀", "\ud800", "é", ""]
        for worker_id in workers:
            queue.enqueue(f"j\0😀{workers.index(worker_id)}", payload=b"\0\xff")
            claim = claimed(queue, worker_id)

            assert (claim.worker_id, claim.job_id[:3], claim.payload) == (worker_id, "j\0😀", b"\0\xff")
            assert claim.claimed_at == NOW
            assert queue.extend(claim=claim).lease_expires_at == NOW + timedelta(seconds=60)
            queue.ack(claim=claim)
        queue.close()
    finally:
        admin.execute("DROP DATABASE odd WITH (FORCE)")


# What a claim costs


def rows_looked_at(sql_of):
    """Return how many rows a claim looks at, by the server's own account, and undo the claim."""
    terms = {"claim_id": "c", "claimed_by": "w", "lease_ttl": timedelta(seconds=60), "attempts_max": 3}
    claim = postgres_schema.Table("ssq_jobs").about(postgres_schema.CLAIM).as_string(None)
    sql_of("BEGIN")
    ((plan,),) = _explained(sql_of, claim, terms)
    sql_of("ROLLBACK")

    def count(node):
        below = sum(count(each) for each in node.get("Plans", ()))
        if not node["Node Type"].endswith("Scan") or node["Node Type"] == "CTE Scan":
            return below
        removed = sum(node.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck"))
        return below + (node["Actual Rows"] + removed) * node["Actual Loops"]

    return count(plan[0]["Plan"])


def _explained(sql_of, statement, terms):
    named = {name: sql.Literal(value).as_string(None) for name, value in terms.items()}
    return sql_of(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement % named}")


OTHERS = {
    "queued": "UPDATE ssq_jobs SET available_at = NULL",
    "resting": "UPDATE ssq_jobs SET available_at = now() + interval '1 hour'",
    "held": "UPDATE ssq_jobs SET claim_id = seq, lease_expires_at = now() + interval '1 hour', attempts = 1",
    "dead": "UPDATE ssq_jobs SET died_at = now()",
}


@pytest.mark.scenario("postgres-backend/a-claim-reads-the-heads-of-two-indexes")
@pytest.mark.parametrize("others", OTHERS)
def test_the_cost_of_a_claim_does_not_grow(opened, sql_of, others):
    """A claim among 5,000 jobs looks at no more rows than one among 20, with and without statistics."""
    opened()
    # The server's own housekeeping would come in between.
    sql_of("ALTER TABLE ssq_jobs SET (autovacuum_enabled = off)")
    costs = []
    for count in (20, 4_980):
        sql_of(
            "INSERT INTO ssq_jobs (job_id, payload, enqueued_at)"
            " SELECT decode(md5(random()::text), 'hex'), 'x', now() FROM generate_series(1, %s)",
            count,
        )
        sql_of(OTHERS[others])
        sql_of("INSERT INTO ssq_jobs (job_id, payload, enqueued_at) VALUES ('last', 'x', now())")
        costs.append(rows_looked_at(sql_of))
        sql_of("ANALYZE ssq_jobs")
        costs.append(rows_looked_at(sql_of))
        sql_of("DELETE FROM ssq_jobs WHERE job_id = 'last'")

    assert max(costs[2:]) <= max(costs[:2])
    assert 1 <= max(costs[2:]) <= 3


@pytest.mark.scenario("postgres-backend/many-leases-that-ended-at-once-are-worked-off")
def test_many_leases_that_ended_at_once_are_worked_off(opened, frozen):
    """Of 150 jobs whose holders died together, those with an attempt left are claimed, the others dead."""
    queue = opened(retry=RetryPolicy(max_attempts=2))
    for number in range(150):
        queue.enqueue(f"j{number}")
    for number in range(150):
        claim = claimed(queue)
        if number % 2:
            queue.release(claim=claim)
            claimed(queue)
    frozen(NOW + timedelta(seconds=61))

    taken = drained(queue)

    assert sorted(taken) == sorted(f"j{number}" for number in range(0, 150, 2))
    assert {(job.job_id, job.attempts) for job in queue.dead()} == {(f"j{n}", 2) for n in range(1, 150, 2)}


@pytest.mark.scenario("postgres-backend/a-lower-bound-buries-what-is-above-it")
def test_a_lower_bound_buries_what_is_above_it(opened):
    """A job with more attempts than a handle allows is buried when met, and the next one is claimed."""
    generous, strict = opened(retry=RetryPolicy(max_attempts=5)), opened(retry=RetryPolicy(max_attempts=2))
    for job_id in ("j1", "j2"):
        generous.enqueue(job_id)
    for _ in range(3):
        generous.release(claim=claimed(generous))

    assert claimed(strict).job_id == "j2"
    assert [(job.job_id, job.attempts) for job in strict.dead()] == [("j1", 3)]


# Threads and forks


@pytest.mark.scenario("postgres-backend/threads-share-a-handle")
def test_threads_share_a_handle(opened):
    """Four threads claim through one handle: each job is claimed once."""
    queue = opened()
    for number in range(60):
        queue.enqueue(f"j{number}")

    taken = at_once(4, lambda number: drained(queue, f"w{number}"))

    assert sorted(job for each in taken for job in each) == sorted(f"j{number}" for number in range(60))


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
