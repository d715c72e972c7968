"""Does the PostgreSQL queue know its table, keep the server's time, and cost no more as the table grows?"""

from datetime import timedelta

import pytest
from psycopg import sql

from conftest import FROZEN_AT
from postgres_races import LEVELS, at_level, at_once
from ssq_core import (
    QueueDataCorruptedError,
    QueueUnavailable,
    RetryPolicy,
    UnsupportedSchema,
    postgres_schema,
)
from ssq_core.postgres import PostgresWorkerQueue
from ssq_verify.workplace import claimed, drained

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
    sql_of("COMMENT ON TABLE ssq_jobs IS 'ssq job queue, schema 3'")

    with pytest.raises(UnsupportedSchema, match=r"table ssq_jobs at .* version 3, .* 2") as refused:
        opened()

    assert (refused.value.found, refused.value.expected) == (3, 2)
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
    frozen(FROZEN_AT + timedelta(seconds=60))
    assert queue.claim(worker_id="w2") is None

    frozen(FROZEN_AT + timedelta(hours=1))
    second = claimed(queue, "w2")
    frozen(FROZEN_AT)

    assert queue.claim(worker_id="w3") is None
    assert (first.claimed_at, first.lease_expires_at) == (FROZEN_AT, FROZEN_AT + timedelta(seconds=60))
    assert second.lease_expires_at == FROZEN_AT + timedelta(hours=1, seconds=60)


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
            assert claim.claimed_at == FROZEN_AT
            assert queue.extend(claim=claim).lease_expires_at == FROZEN_AT + timedelta(seconds=60)
            queue.ack(claim=claim)
        queue.close()
    finally:
        admin.execute("DROP DATABASE odd WITH (FORCE)")


# What a claim costs


def rows_looked_at(sql_of, statement):
    """Return how many rows a claim looks at, by the server's own account, and undo the claim."""
    terms = {"claim_id": b"c", "claimed_by": "w", "lease_us": 60_000_000, "attempts_max": 3, "limit": 1}
    terms |= {"seq_from": 0, "due_from": FROZEN_AT - timedelta(days=9_000)}
    claim = postgres_schema.Table("ssq_jobs").about(statement)
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
    "held": "UPDATE ssq_jobs SET claim_id = 'c', lease_expires_at = now() + interval '1 hour', attempts = 1",
    "dead": "UPDATE ssq_jobs SET died_at = now()",
}


@pytest.mark.scenario("postgres-backend/a-claim-reads-the-heads-of-two-indexes")
@pytest.mark.parametrize("statement", ["CLAIM_READY", "CLAIM_READY_MANY", "CLAIM"])
@pytest.mark.parametrize("others", OTHERS)
def test_the_cost_of_a_claim_does_not_grow(opened, sql_of, others, statement):
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
        costs.append(rows_looked_at(sql_of, getattr(postgres_schema, statement)))
        sql_of("ANALYZE ssq_jobs")
        costs.append(rows_looked_at(sql_of, getattr(postgres_schema, statement)))
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
    frozen(FROZEN_AT + timedelta(seconds=61))

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
