"""Which three defects of the naive file queue are looked for, and how does each way report what it found?"""

import argparse
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from ssq_verify.subjects.naive_file import NaiveFileQueue

LEASE_SECONDS = 60.0
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - new private folders are made inside


class Bug(StrEnum):
    """A defect, as the table names it."""

    KILLED = "killed inside claim"
    HALF_WRITTEN = "claim meets half an enqueue"
    SUPERSEDED = "ack of a superseded claim"


def left_in(folder: Path) -> set[str]:
    """Take all jobs that a worker can still get, when all leases have ended."""
    late = datetime.now(UTC) + timedelta(days=1)
    queue = NaiveFileQueue(folder, LEASE_SECONDS, lambda: late)
    found: set[str] = set()
    try:
        while (claim := queue.claim(worker_id="drain")) is not None:
            found.add(claim.job_id)
            queue.ack(claim=claim)
    except ValueError:
        pass  # a damaged record: what comes after it is out of reach
    return found


def report(search: Callable[[Bug, int, float], str]) -> None:
    """Search for the bug that the command line names, and print the outcome and how long it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bug", type=Bug)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=60.0, help="in seconds")
    asked = parser.parse_args()
    begin = time.perf_counter()
    outcome = search(asked.bug, asked.seed, asked.limit)
    print(json.dumps({"outcome": outcome, "seconds": time.perf_counter() - begin}))


FOUND, NOT_FOUND, COMPLETE = "found", "not found", "complete"
"""The last: the search came to its end, and found nothing."""
