"""What do claims leave behind in PostgreSQL, and what does a transaction held open elsewhere cost?

    python benchmarks/postgres_bloat.py [--jobs 100000] [--json]

A backlog stands still while so many jobs pass through it, on a server that syncs nothing, so that its own
work is seen and not the disk's. That is done three times: as it is, with a snapshot held open in another
session, and so once more with claims that look at everything each time. Single claims are timed before and
after, and the table and its indexes measured.

Measured with 100,000 jobs on two busy cores, the median claim in ms before -> after: as it is 0.19 -> 0.16;
held open elsewhere 0.09 -> 0.13; so, looking everywhere, 0.08 -> 13.8. The table had 42 MB, its indexes 14.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import psycopg

from ssq_core import postgres_claims
from ssq_core.postgres import PostgresWorkerQueue
from ssq_stress.servers import Postgres

BACKLOG = 2_000
BATCH = 100
TIMED = 1_000
LEASE_SECONDS = 5.0
"""Shorter than the run: what is left of leases that have ended counts as well."""
SIZES = """
SELECT pg_table_size('ssq_jobs'), pg_relation_size('ssq_jobs_ready'), pg_relation_size('ssq_jobs_due'),
  pg_indexes_size('ssq_jobs'), n_dead_tup, autovacuum_count
FROM pg_stat_user_tables WHERE relname = 'ssq_jobs'
"""
SIZE_NAMES = ("table", "ready", "due", "all indexes", "dead rows", "autovacuums")


def measured(url: str, jobs: int, *, is_held_open: bool, looks_everywhere: bool = False) -> dict[str, Any]:
    """Let so many jobs pass, and return what claims took before and after, and the sizes."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("DROP TABLE IF EXISTS ssq_jobs")
        queue = PostgresWorkerQueue(url, lease_ttl_seconds=LEASE_SECONDS)
        with closing(queue), _looking(everywhere=looks_everywhere), _held_open(url, is_held_open):
            _enqueued(queue, "b", BACKLOG + TIMED)
            before = timed(queue)
            begun = time.monotonic()
            for start in range(0, jobs, BATCH):
                _enqueued(queue, f"{start}", BATCH)
                queue.ack_many(claims=queue.claim_many(BATCH, worker_id="w1"))
            seconds = time.monotonic() - begun
            _enqueued(queue, "a", TIMED)
            after = timed(queue)
            sizes = admin.execute(SIZES).fetchall()[0]
    return {
        "jobs": jobs,
        "jobs_min": round(jobs / seconds * 60),
        "before_ms": before,
        "after_ms": after,
        "sizes": dict(zip(SIZE_NAMES, sizes, strict=True)),
    }


def timed(queue: PostgresWorkerQueue) -> dict[str, float]:
    """Claim and ack jobs one by one; return the median and the 95th percentile of a claim."""
    took = []
    for _ in range(TIMED):
        begun = time.perf_counter()
        claim = queue.claim(worker_id="w1")
        took.append((time.perf_counter() - begun) * 1000)
        if claim is not None:
            queue.ack(claim=claim)
    took.sort()
    return {"p50": round(took[TIMED // 2], 3), "p95": round(took[TIMED * 95 // 100], 3)}


def _enqueued(queue: PostgresWorkerQueue, name: str, count: int) -> None:
    queue.enqueue_many([(f"{name}-{number}", b"x" * 100) for number in range(count)])


@contextmanager
def _held_open(url: str, is_held_open: bool) -> Iterator[None]:  # noqa: FBT001 - a case of the table
    if not is_held_open:
        yield
        return
    with psycopg.connect(url) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM pg_class")
        yield


@contextmanager
def _looking(*, everywhere: bool) -> Iterator[None]:
    before = postgres_claims.LOOK_MAX
    if everywhere:
        postgres_claims.LOOK_MAX = timedelta(days=1)
    try:
        yield
    finally:
        postgres_claims.LOOK_MAX = before


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with Postgres(is_durable=False) as server:
        cases = {
            "as it is": measured(server.url, asked.jobs, is_held_open=False),
            "held open elsewhere": measured(server.url, asked.jobs, is_held_open=True),
            "so, looking everywhere": measured(
                server.url, asked.jobs, is_held_open=True, looks_everywhere=True
            ),
        }
    if asked.json:
        json.dump(cases, sys.stdout, indent=2)
        return
    print(f"{'':24}{'jobs/min':>10}  claim p50, p95 in ms before and after   table, indexes in MB, dead rows")
    for name, case in cases.items():
        sizes, before, after = case["sizes"], case["before_ms"], case["after_ms"]
        times = " ->".join(f"{each['p50']:>8}{each['p95']:>8}" for each in (before, after))
        space = f"{sizes['table'] / 1e6:>18.1f}{sizes['all indexes'] / 1e6:>8.1f}{sizes['dead rows']:>11,}"
        print(f"{name:24}{case['jobs_min']:>10,}  {times}{space}")


if __name__ == "__main__":
    main()
