"""What does the file queue sync, and in which order?"""

import os

import pytest

from ssq_core.file import FileWorkerQueue
from ssq_core.queue import RetryPolicy


@pytest.fixture
def disk(monkeypatch):
    """Tell what happens to the disk, in order: each path by its entry's state, or its folder."""
    told, paths = [], {}
    real = {name: getattr(os, name) for name in ("open", "fsync", "link", "rename", "unlink")}

    def short(path):
        folder, name = str(path).split("/")[-2:]
        if name.count(".") == 5:
            return name.split(".")[2]
        return folder if folder == "ids" else "bucket" if len(name) == 14 else name

    def opened(path, *args, **named):
        fd = real["open"](path, *args, **named)
        paths[fd] = path
        return fd

    def synced(fd):
        told.append(f"sync {short(paths[fd])}")
        real["fsync"](fd)

    def moved(name):
        def move(*args):
            told.append(" ".join([name, *map(short, args)]))
            real[name](*args)

        return move

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "fsync", synced)
    for name in ("link", "rename", "unlink"):
        monkeypatch.setattr(os, name, moved(name))
    return told


@pytest.mark.scenario("file-backend/what-an-enqueue-syncs-and-when")
def test_an_enqueue_syncs_content_then_identity_then_entry(disk, tmp_path):
    """With `power-loss`, the record is synced before its id, its id before its entry, then the folders."""
    queue = FileWorkerQueue(tmp_path / "q")
    disk.clear()
    queue.enqueue("j")

    assert disk == ["sync t", "link t ids", "sync ids", "rename t q", "sync bucket", "sync queue"]


@pytest.mark.scenario("file-backend/what-other-operations-sync")
def test_each_operation_syncs_what_it_promises(disk, tmp_path):
    """With `power-loss`, ack, release and requeue sync the bucket; a claim and an extension sync nothing."""
    queue = FileWorkerQueue(tmp_path / "q", retry=RetryPolicy(max_attempts=1))
    queue.enqueue("j")
    disk.clear()
    claim = queue.extend(claim=queue.claim(worker_id="w"))
    assert disk == ["rename q c", "rename c c"]
    disk.clear()
    queue.release(claim=claim)
    assert disk == ["rename c d", "sync bucket"]
    disk.clear()
    queue.requeue_dead("j")
    assert disk == ["rename d q", "sync bucket"]
    claim = queue.claim(worker_id="w")
    disk.clear()
    queue.ack(claim=claim)
    assert disk == ["unlink c", "sync bucket"]
    queue.close()
    assert disk[2:] == ["unlink ids"]


def test_an_enqueue_of_a_live_id_syncs_before_it_relies_on_it(disk, tmp_path):
    """With `power-loss`, an enqueue that finds its id live makes sure that the job survives."""
    queue = FileWorkerQueue(tmp_path / "q")
    queue.enqueue("j")
    disk.clear()
    queue.enqueue("j")

    assert [step for step in disk if step.startswith("sync")] == ["sync ids", "sync bucket", "sync queue"]


def test_a_stale_identity_goes_after_its_ack_was_synced(disk, tmp_path):
    """With `power-loss`, an id is used again only after the old entry's removal is on the disk."""
    queue = FileWorkerQueue(tmp_path / "q")
    queue.enqueue("j")
    queue.ack(claim=queue.claim(worker_id="w"))
    disk.clear()
    queue.enqueue("j")

    assert disk[:3] == ["sync bucket", "unlink ids", "sync t"]


@pytest.mark.scenario("file-backend/nothing-is-synced")
def test_process_crash_mode_syncs_nothing(disk, tmp_path):
    """With `process-crash`, no operation syncs anything, opening included."""
    queue = FileWorkerQueue(tmp_path / "q", durability="process-crash")
    for number in range(3):
        queue.enqueue(f"{number}")
    queue.release(claim=queue.claim(worker_id="w"))
    while claim := queue.claim(worker_id="w"):
        queue.ack(claim=claim)

    assert [step for step in disk if step.startswith("sync")] == []


def test_of_a_removed_bucket_the_removal_is_synced(disk, tmp_path):
    """An ack whose emptied bucket another handle removed meanwhile syncs the folder it was removed from."""
    queue = FileWorkerQueue(tmp_path / "q")
    disk.clear()
    queue._layout.sync(queue._layout.bucket(5000))

    assert disk == ["sync queue"]
