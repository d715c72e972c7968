"""Does the PostgreSQL queue work through a real PgBouncer that gives each transaction any connection?"""

import shutil
import signal
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from ssq_core.postgres import PostgresWorkerQueue
from ssq_core.queue import QueueStats
from ssq_stress.servers.process import ServerProcess

PROGRAM = shutil.which("pgbouncer")
SESSIONS, HANDLES, JOBS = 3, 6, 20
SETTINGS = """
[databases]
* = host={server} port=5432 user=postgres
[pgbouncer]
pool_mode = transaction
default_pool_size = {sessions}
listen_addr =
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
"""


@pytest.fixture
def pooled(postgres, dsn):
    """Start PgBouncer before a fresh database, and return its URL."""
    if PROGRAM is None:
        pytest.skip("pgbouncer is not installed")
    process = ServerProcess("pgbouncer", at_once=signal.SIGTERM)
    try:
        folder = process.folder
        settings = SETTINGS.format(server=postgres.folder, folder=folder, sessions=SESSIONS)
        (folder / "ini").write_text(settings)
        (folder / "users").write_text('"postgres" ""\n')
        process.start([PROGRAM, str(folder / "ini")], is_ready=(folder / ".s.PGSQL.6432").exists)
        database = dsn.partition("@/")[2].partition("?")[0]
        yield f"postgresql://postgres@/{database}?host={folder}&port=6432"
    finally:
        process.close()


def prepared(url):
    """Return the names of what is prepared in the session that answers."""
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM pg_prepared_statements")}


@pytest.mark.scenario("postgres-backend/a-pooler-gives-each-transaction-another-connection")
def test_more_handles_than_sessions_do_each_job_once(pooled, sql_of):
    """Six handles share three sessions of a real pooler: each job is done once, and no lock stays behind."""

    def work(number):
        queue = PostgresWorkerQueue(pooled)
        for each in range(JOBS):
            queue.enqueue(f"{number}-{each}")
        done = []
        while (claim := queue.claim(worker_id=f"w{number}")) is not None:
            queue.ack(claim=queue.extend(claim=claim))
            done.append(claim.job_id)
        stats = queue.stats()
        queue.close()
        return done, stats

    with ThreadPoolExecutor(HANDLES) as threads:
        results = list(threads.map(work, range(HANDLES)))
    done = [job_id for each, _ in results for job_id in each]
    sessions = sql_of(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    assert sorted(done) == sorted(f"{number}-{each}" for number in range(HANDLES) for each in range(JOBS))
    assert any(stats == QueueStats(queued=0, delayed=0, claimed=0, expired=0, dead=0) for _, stats in results)
    assert sessions == [(SESSIONS,)]
    assert prepared(pooled) == set()
    assert sql_of("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]
