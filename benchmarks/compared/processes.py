"""How soon does plain repetition come upon each bug? Processes race on one folder, and one counts at the end.

Round by round: a producer and two consumers; where the bug takes a kill, all jobs are there before, and one
consumer gets SIGKILL at a random moment; where it takes leases that end, they last as long as a job does.
What a worker was about to acknowledge when it died is not counted as lost.
"""

import os
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

from bugs import FOUND, LEASE_SECONDS, MEMORY, NOT_FOUND, Bug, left_in, report

from ssq_verify.subjects.naive_file import NaiveFileQueue

JOBS = {Bug.KILLED: 300, Bug.HALF_WRITTEN: 300, Bug.SUPERSEDED: 20}
"""In the last few, for an expired job gets its turn when no other waits."""
ROUND_SECONDS = 1.0
KILL_SECONDS_MAX = 0.1
SHORT_SECONDS = 0.02


def _queue(folder: str, lease: float) -> NaiveFileQueue:
    return NaiveFileQueue(Path(folder), lease, lambda: datetime.now(UTC))


def produce(folder: str, begin: float, jobs: int) -> None:
    """Add all jobs."""
    queue = _queue(folder, LEASE_SECONDS)
    _wait_until(begin)
    for number in range(jobs):
        queue.enqueue(f"j{number}")


def consume(folder: str, begin: float, log: str, seed: int, lease: float) -> None:
    """Claim and acknowledge until the round is over, and write down what."""
    queue, random = _queue(folder, lease), Random(seed)  # noqa: S311 - no secret
    written = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    _wait_until(begin)
    while time.time() < begin + ROUND_SECONDS:
        try:
            claim = queue.claim(worker_id=log)
        except (ValueError, OSError):
            continue
        if claim is not None:
            if lease < 1:
                time.sleep(random.uniform(0, 2 * lease))
            os.write(written, f"{claim.job_id} begun\n".encode())
            queue.ack(claim=claim)
            os.write(written, f"{claim.job_id} acked\n".encode())


def _wait_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.time()))


def _has_failed(bug: Bug, random: Random) -> bool:
    with tempfile.TemporaryDirectory() as logs, tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        if bug is Bug.KILLED:
            produce(folder, 0.0, JOBS[bug])
        begin = time.time() + 0.5
        workers = [] if bug is Bug.KILLED else [_started(produce, folder, begin, JOBS[bug])]
        lease = SHORT_SECONDS if bug is Bug.SUPERSEDED else LEASE_SECONDS
        for number in range(2):
            about = (f"{logs}/{number}", random.getrandbits(32), lease)
            workers.append(_started(consume, folder, begin, *about))
        if bug is Bug.KILLED:
            _wait_until(begin + random.uniform(0, KILL_SECONDS_MAX))
            workers[-1].kill()
        for worker in workers:
            worker.join()
        lines = Counter(line for log in Path(logs).iterdir() for line in log.read_text().splitlines())
        jobs = {f"j{number}" for number in range(JOBS[bug])}
        if bug is Bug.SUPERSEDED:
            return any(lines[f"{job} acked"] > 1 for job in jobs)
        return not jobs <= left_in(Path(folder)) | {line.split()[0] for line in lines}


def _started(work: object, *about: object) -> BaseProcess:
    process = get_context("spawn").Process(target=work, args=about)
    process.start()
    return process


def searched(bug: Bug, seed: int, limit: float) -> str:
    """Repeat until the bug is found."""
    begin, random = time.perf_counter(), Random(seed)  # noqa: S311 - no secret
    while time.perf_counter() - begin < limit:
        if _has_failed(bug, random):
            return FOUND
    return NOT_FOUND


if __name__ == "__main__":
    report(searched)
