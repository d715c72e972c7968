"""Does `ssq migrate` bring 100,000 jobs from a folder to PostgreSQL, however often it is killed on the way?

    python benchmarks/migration.py --json

Fills a folder with jobs, of which some are dead, some rest, and some were held by workers that are gone;
kills `ssq migrate` 20 times at random instants, lets it end, compares every job in its order, and drains what
is left with four workers. Ends with 1 if a job is lost, doubled or changed, or it ended before the last kill.

Measured on a machine with 2 cores that others used as well: killed 20 times at 0 to 58,000 jobs, 24 s; the
last run took 4.5 s; 100,000 jobs arrived as they stood (98,642 queued, 186 resting, 1,172 dead) and were
drained in 45 s, no job lost, doubled or changed.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psycopg

from ssq_core import RetryPolicy, utc_now
from ssq_core.file import FileWorkerQueue
from ssq_core.file_backlog import entries
from ssq_core.file_layout import Layout
from ssq_core.file_record import State, entry_key
from ssq_core.postgres import PostgresWorkerQueue
from ssq_stress.servers import Postgres

JOBS, KILLS, WORKERS = 100_000, 20, 4
REST_SECONDS = 20.0
SSQ = Path(sys.executable).with_name("ssq")
TABLE = """
SELECT convert_from(job_id, 'UTF8'), payload, attempts, died_at IS NOT NULL,
  (extract(epoch FROM coalesce(died_at, available_at)) * 1000000)::bigint
FROM ssq_jobs ORDER BY seq
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A job as it must arrive."""

    job_id: str
    payload: bytes
    attempts: int
    is_dead: bool
    micros: int | None
    """When it died, or until when it rests."""

    @property
    def is_spent(self) -> bool:
        """Whether it ends as a dead letter: a claim buries what was held at its last attempt."""
        return self.is_dead or self.attempts >= RetryPolicy().max_attempts


def filled(folder: str, jobs: int) -> list[Job]:
    """Fill a queue, and return what is in it, in its order. A tenth has been worked on."""
    plain = partial(FileWorkerQueue, folder, durability="process-crash")
    at_once, resting, gone = (
        plain(),
        plain(retry=RetryPolicy(backoff_base_seconds=REST_SECONDS)),
        plain(clock=lambda: utc_now() - timedelta(hours=2)),
    )
    for number in range(jobs):
        at_once.enqueue(f"j{number:06d}", payload=payload(number))
    for number in range(jobs // 50):
        for _ in range(3 if number % 2 else 1):
            claim = at_once.claim(worker_id="w")
            assert claim is not None
            (at_once if number % 2 else resting).release(claim=claim)
    # Last: anybody might claim these, as their leases ended long ago.
    for _ in range(jobs // 50):
        gone.claim(worker_id="gone")
    return standing(folder, jobs)


def payload(number: int) -> bytes:
    """Return what a job carries: of any length, with every byte."""
    return bytes(range(256)) * (number % 3) + b"%d" % number


def standing(folder: str, jobs: int) -> list[Job]:
    """Return what a folder's names say, and what was put in."""
    numbers = {entry_key(f"j{number:06d}".encode()): number for number in range(jobs)}
    return [
        Job(
            job_id=f"j{numbers[entry.key]:06d}",
            payload=payload(numbers[entry.key]),
            attempts=entry.attempt,
            is_dead=entry.state is State.DEAD,
            micros=entry.micros if entry.micros and entry.state is not State.CLAIMED else None,
        )
        for entry in entries(Layout(folder, durable=False))
    ]


def killed(
    command: list[str], url: str, *, jobs: int, kills: int, chance: random.Random
) -> tuple[list[int], float]:
    """Kill the command so often at random instants; return how far it was each time, and how long it took."""
    begun = time.monotonic()
    subprocess.run([*command, "--dry-run"], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own
    seconds_to_start = time.monotonic() - begun
    struck: list[int] = []
    begun = time.monotonic()
    while len(struck) < kills:
        # The kills are to lie all along the way: a move that is ahead of them is struck sooner.
        is_ahead = bool(struck) and struck[-1] * kills > len(struck) * jobs
        seconds_max = seconds_to_start * (1.1 if is_ahead else 2.2)
        mover = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - our own
        try:
            mover.wait(chance.uniform(0, seconds_max))
            break
        except subprocess.TimeoutExpired:
            mover.kill()
            mover.wait()
            struck.append(arrived(url))
    return struck, time.monotonic() - begun


def arrived(url: str) -> int:
    """Return how many jobs are in the destination."""
    with psycopg.connect(url) as connection:
        ((there_is_one,),) = connection.execute("SELECT to_regclass('ssq_jobs') IS NOT NULL")
        ((count,),) = connection.execute("SELECT count(*) FROM ssq_jobs") if there_is_one else ((0,),)
    return int(count)


def compared(url: str, expected: list[Job]) -> list[str]:
    """Return how what arrived differs from what must arrive."""
    with psycopg.connect(url) as connection:
        rows = [
            Job(job_id=job_id, payload=payload, attempts=attempts, is_dead=is_dead, micros=micros)
            for job_id, payload, attempts, is_dead, micros in connection.execute(TABLE, binary=True)
        ]
    rested = utc_now().timestamp() * 1_000_000
    differences = [f"{len(rows)} arrived of {len(expected)}"] if len(rows) != len(expected) else []
    for job, other in zip(expected, rows, strict=False):
        # A rest that was over when its job moved is none any more.
        is_over = other.micros is None and job.micros is not None and not job.is_dead and job.micros < rested
        if job != other and not (is_over and (job.job_id, job.attempts) == (other.job_id, other.attempts)):
            differences.append(f"{job} arrived as {other}")
    return differences


def drained(url: str, worker: int) -> list[tuple[str, int]]:
    """Claim and ack until all rests are over and nothing comes; return the jobs, and at which attempt."""
    queue, taken = PostgresWorkerQueue(url), []
    last = time.monotonic() + REST_SECONDS
    while True:
        claim = queue.claim(worker_id=f"w{worker}")
        if claim is not None:
            queue.ack(claim=claim)
            taken.append((claim.job_id, claim.attempt))
        elif time.monotonic() > last:
            return taken
        else:
            time.sleep(0.05)


def worked_off(url: str, expected: list[Job]) -> list[str]:
    """Drain the queue with all workers; return what was not as it must be."""
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        shares = list(pool.map(drained, [url] * WORKERS, range(WORKERS)))
    taken = Counter(each for share in shares for each in share)
    due = Counter((job.job_id, job.attempts + 1) for job in expected if not job.is_spent)
    queue = PostgresWorkerQueue(url)
    letters = [job.job_id for job in queue.dead()]
    faults = [
        f"{job}: taken {taken[job]} times, not {due[job]}" for job in taken | due if taken[job] != due[job]
    ]
    if letters != [job.job_id for job in expected if job.is_spent]:
        faults.append("the dead letters differ")
    return faults


def run(jobs: int, kills: int, seed: int) -> dict[str, Any]:
    """Fill, kill, compare, drain; return the figures."""
    with tempfile.TemporaryDirectory() as folder, Postgres(is_durable=False) as server:
        expected = filled(f"{folder}/queue", jobs)
        command = [str(SSQ), "migrate", f"file://{folder}/queue", server.url, "--json"]
        struck, seconds = killed(command, server.url, jobs=jobs, kills=kills, chance=random.Random(seed))  # noqa: S311 - no secret
        begun = time.monotonic()
        ended = subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own
        last_seconds = time.monotonic() - begun
        differences = compared(server.url, expected)
        begun = time.monotonic()
        faults = worked_off(server.url, expected)
        return {
            "jobs": jobs,
            "kills": len(struck),
            "arrived_at_each_kill": struck,
            "seconds_while_killed": round(seconds, 1),
            "seconds_of_the_last_run": round(last_seconds, 1),
            "told": json.loads(ended.stdout),
            "differences": differences[:10],
            "seconds_to_drain": round(time.monotonic() - begun, 1),
            "faults_of_the_drain": faults[:10],
        }


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    result = run(asked.jobs, asked.kills, asked.seed)
    if asked.json:
        print(json.dumps({"runs": [result]}, indent=2))
    else:
        print(*(f"{name}: {value}" for name, value in result.items()), sep="\n")
    is_short = result["kills"] < asked.kills
    return 1 if result["differences"] or result["faults_of_the_drain"] or is_short else 0


if __name__ == "__main__":
    sys.exit(main())
