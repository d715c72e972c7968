"""When does the name of an acked job go, and never too early? The file queue lets some gather first."""

import multiprocessing
import os

import pytest

from ssq_core import file_identity
from ssq_core.file import FileWorkerQueue
from ssq_core.filesystem import locked_folder
from ssq_core.queue import Durability


@pytest.fixture
def folder(tmp_path):
    """Return where the queue is."""
    return tmp_path / "q"


def opened(folder, durability: Durability = "process-crash"):
    """Open a handle, as another process would."""
    return FileWorkerQueue(folder, durability=durability)


def ids(folder):
    """Return how many names of jobs there are."""
    return len(os.listdir(folder / "ids"))


def worked_off(queue, count):
    """Claim and ack so many jobs."""
    for _ in range(count):
        queue.ack(claim=queue.claim(worker_id="w1"))


@pytest.mark.scenario("file-backend/the-ids-of-acked-jobs-are-freed-together")
@pytest.mark.parametrize("durability", ["process-crash", "power-loss"])
def test_ids_go_when_enough_have_gathered(folder, durability):
    """The ids of acked jobs wait until there are 32 of them, and then go at once."""
    queue = opened(folder, durability)
    queue.enqueue_many([(f"j{number}", b"") for number in range(file_identity.GATHERED + 1)])
    worked_off(queue, file_identity.GATHERED - 1)
    assert ids(folder) == file_identity.GATHERED + 1

    worked_off(queue, 1)

    assert ids(folder) == 1


@pytest.mark.parametrize("end", [FileWorkerQueue.close, lambda queue: queue.claim(worker_id="w1")])
def test_ids_go_when_nothing_is_left_to_do(folder, end):
    """What has gathered goes when the handle is closed, or a claim finds nothing."""
    queue = opened(folder)
    queue.enqueue("j1")
    worked_off(queue, 1)
    assert ids(folder) == 1

    end(queue)

    assert ids(folder) == 0


@pytest.mark.scenario("file-backend/an-id-is-enqueued-again-before-its-name-went")
@pytest.mark.parametrize("durability", ["process-crash", "power-loss"])
def test_an_id_that_was_used_again_is_left_alone(folder, durability):
    """A handle does not remove the name of a job that was enqueued again since its ack, nor of one acked."""
    queue, other = opened(folder, durability), opened(folder, durability)
    queue.enqueue("j1", payload=b"first")
    worked_off(queue, 1)
    other.enqueue("j1", payload=b"second")
    queue.close()
    other.enqueue("j1", payload=b"third")

    assert queue.claim(worker_id="w1").payload == b"second"
    assert queue.stats().claimed == 1


def test_an_ack_that_is_not_on_the_disk_keeps_its_id(folder):
    """With `power-loss` a handle frees only ids whose acks it has synced: another's may be taken back."""
    queue, other = opened(folder, "power-loss"), opened(folder, "power-loss")
    queue.enqueue("j1")
    worked_off(queue, 1)
    other.enqueue("j1")
    # Between the two halves of its ack: gone, and not synced yet.
    other._leave(other.claim(worker_id="w2"), other._unlink)

    queue.close()

    assert ids(folder) == 1


@pytest.mark.scenario("file-backend/a-killed-process-leaves-ids")
def test_what_a_killed_process_left_goes_when_the_queue_is_drained(folder):
    """The first claim of a handle that finds no job at all removes the names that dead processes left."""
    queue = opened(folder)
    queue.enqueue_many([("j1", b""), ("j2", b"")])
    worked_off(queue, 1)
    del queue
    successor = opened(folder)
    worked_off(successor, 1)
    assert ids(folder) == 2

    assert successor.claim(worker_id="w2") is None

    assert ids(folder) == 0


def test_a_lock_that_another_holds_delays_nobody(folder):
    """While another process holds the lock, acks go on, and the names go later."""
    queue = opened(folder)
    queue.enqueue("j1")
    with locked_folder(str(folder / "ids")):
        worked_off(queue, 1)
        queue.close()
        assert ids(folder) == 1

    queue.close()

    assert ids(folder) == 0


def test_a_forked_child_does_not_keep_the_lock(folder):
    """A child that was forked while the lock was held has no part in it once its parent let it go."""
    opened(folder)
    context = multiprocessing.get_context("fork")
    gate = context.Event()
    with locked_folder(str(folder / "ids")):
        child = context.Process(target=gate.wait)
        child.start()
    try:
        with locked_folder(str(folder / "ids"), waits=False):
            pass
    finally:
        gate.set()
        child.join()
