"""Do real processes and threads share one file queue?"""

import multiprocessing
import os
import signal
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from ssq_core.file import FileWorkerQueue

SPAWN = multiprocessing.get_context("spawn")
JOBS = 200


def opened(folder):
    return FileWorkerQueue(folder, durability="process-crash")


def enqueue_own_and_work(folder, name):
    """Enqueue this process's jobs, while claiming and acking whatever there is."""
    queue = opened(folder)
    done = []
    for number in range(JOBS):
        queue.enqueue(f"{name}-{number}", payload=str(number).encode())
        if claim := queue.claim(worker_id=name):
            done.append(claim.job_id)
            queue.ack(claim=claim)
    while claim := queue.claim(worker_id=name):
        done.append(claim.job_id)
        queue.ack(claim=claim)
    return done


def enqueue_the_same(folder, name):
    """Enqueue what all others enqueue too."""
    queue = opened(folder)
    for number in range(JOBS):
        queue.enqueue(f"{number}", payload=name.encode())


@pytest.mark.scenario("file-backend/four-processes-share-a-queue")
def test_four_processes_do_each_job_exactly_once(tmp_path):
    """Four processes enqueue 200 jobs each and work on all: each job is claimed once, and none is left."""
    with ProcessPoolExecutor(4, mp_context=SPAWN) as pool:
        done = Counter()
        for jobs in pool.map(enqueue_own_and_work, [tmp_path / "q"] * 4, "abcd"):
            done.update(jobs)
    queue = opened(tmp_path / "q")
    while claim := queue.claim(worker_id="rest"):
        done[claim.job_id] += 1
        queue.ack(claim=claim)

    assert done == Counter(f"{name}-{number}" for name in "abcd" for number in range(JOBS))
    assert list((tmp_path / "q" / "ids").iterdir()) == []


def test_four_processes_that_enqueue_the_same_ids_add_each_once(tmp_path):
    """An id that four processes enqueue at once becomes one job."""
    with ProcessPoolExecutor(4, mp_context=SPAWN) as pool:
        list(pool.map(enqueue_the_same, [tmp_path / "q"] * 4, "abcd"))
    queue = opened(tmp_path / "q")

    assert queue.stats().queued == JOBS
    assert sorted(int(queue.claim(worker_id="w").job_id) for _ in range(JOBS)) == list(range(JOBS))
    assert queue.claim(worker_id="w") is None


def test_threads_may_share_a_handle(tmp_path):
    """Four threads with one handle do each job exactly once."""
    queue = opened(tmp_path / "q")
    for number in range(JOBS):
        queue.enqueue(f"{number}")

    def work(name):
        done = []
        while claim := queue.claim(worker_id=name):
            done.append(int(claim.job_id))
            queue.ack(claim=claim)
        return done

    with ThreadPoolExecutor(4) as pool:
        done = [job for jobs in pool.map(work, "abcd") for job in jobs]
    while claim := queue.claim(worker_id="rest"):
        done.append(int(claim.job_id))
        queue.ack(claim=claim)

    assert sorted(done) == list(range(JOBS))


def hold_forever(folder, ready):
    """Claim a job and be killed with it."""
    opened(folder).claim(worker_id="doomed")
    ready.set()
    signal.pause()


def test_the_job_of_a_killed_process_stays_claimed_until_its_lease_ends(tmp_path):
    """A killed holder's job is neither lost nor handed out early."""
    queue = opened(tmp_path / "q")
    queue.enqueue("j")
    ready = SPAWN.Event()
    holder = SPAWN.Process(target=hold_forever, args=(tmp_path / "q", ready))
    holder.start()
    assert ready.wait(30)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()

    assert queue.claim(worker_id="w") is None
    assert queue.stats().claimed == 1
