"""What does the file queue take for a job id, a payload, a folder, and what does it refuse?"""

import os
import stat
from datetime import datetime

import pytest

from ssq_core.file import FileWorkerQueue
from ssq_core.queue import (
    InvalidJobId,
    QueueDataCorruptedError,
    QueueIOError,
    RetryPolicy,
    UnsupportedSchema,
)


@pytest.fixture
def opened(tmp_path):
    """Open a handle on one and the same queue."""

    def open_handle(**settings):
        return FileWorkerQueue(tmp_path / "q", **({"durability": "process-crash"} | settings))

    return open_handle


def claimed(queue, worker_id="w1"):
    claim = queue.claim(worker_id=worker_id)
    return claim and claim.job_id


@pytest.mark.scenario("file-backend/ids-that-look-like-paths")
@pytest.mark.parametrize(
    "job_id",
    ["/", "../../etc/passwd", "a\0b", ".", "x" * 200, "ø" * 100, "\n", "\0" * 200, "🜁", " ", "a" * 64],
)
def test_any_text_is_a_job_id(opened, tmp_path, job_id):
    """An id of up to 200 bytes comes back as it was, and nothing is made outside of the queue."""
    queue = opened()
    queue.enqueue(job_id, payload=b"\n\0")
    queue.enqueue(job_id, payload=b"other")
    claim = queue.claim(worker_id="w1")
    queue.ack(claim=claim)

    assert (claim.job_id, claim.payload) == (job_id, b"\n\0")
    assert claimed(queue) is None
    assert os.listdir(tmp_path) == ["q"]


@pytest.mark.scenario("file-backend/ids-that-are-too-long-or-no-text")
@pytest.mark.parametrize("job_id", ["", "x" * 201, "ø" * 101, "\ud800", b"bytes", None])
def test_other_job_ids_are_refused(opened, job_id):
    """An id that is empty, longer than 200 bytes or no text is refused before anything is written."""
    queue = opened()

    with pytest.raises(InvalidJobId):
        queue.enqueue(job_id)
    assert queue.stats().queued == 0


def test_a_payload_must_be_bytes(opened):
    """A payload that is not bytes is refused."""
    with pytest.raises(TypeError, match="give bytes"):
        opened().enqueue("j", payload="text")


@pytest.mark.parametrize("payload", [b"", b"\n" * 3, bytes(range(256)) * 8192])
def test_payloads_come_back_byte_for_byte(opened, payload):
    """A payload comes back as it was: empty, of newlines, of two megabytes."""
    queue = opened()
    queue.enqueue("j", payload=payload)

    assert queue.claim(worker_id="w1").payload == payload


@pytest.mark.scenario("file-backend/a-new-queue-folder")
def test_folders_and_files_are_private(opened, tmp_path):
    """Folders are made 0700 and files 0600, missing parents included."""
    queue = opened()
    FileWorkerQueue(tmp_path / "deep" / "er")
    queue.enqueue("j")
    for folder, _, files in os.walk(tmp_path):
        if folder != str(tmp_path):
            assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700, folder
        for name in files:
            assert stat.S_IMODE(os.stat(f"{folder}/{name}").st_mode) == 0o600, name


@pytest.mark.scenario("file-backend/a-link-in-place-of-a-folder")
@pytest.mark.parametrize("name", ["ids", "queue", "damaged"])
def test_a_linked_folder_is_refused_at_open(opened, tmp_path, name):
    """A symbolic link in place of a folder of the queue is not followed."""
    opened()
    (tmp_path / "elsewhere").mkdir()
    os.rename(tmp_path / "q" / name, tmp_path / "gone")
    os.symlink(tmp_path / "elsewhere", tmp_path / "q" / name)

    with pytest.raises(QueueDataCorruptedError):
        opened()


@pytest.mark.scenario("file-backend/a-link-in-place-of-a-file")
@pytest.mark.parametrize("name", ["order", "returns"])
def test_a_linked_counter_is_not_followed(opened, tmp_path, name):
    """A symbolic link in place of a counter is not written through."""
    queue = opened(retry=RetryPolicy(max_attempts=2))
    queue.enqueue("j")
    target = tmp_path / "target"
    target.write_bytes(b"")
    (tmp_path / "q" / name).unlink(missing_ok=True)
    os.symlink(target, tmp_path / "q" / name)

    with pytest.raises(QueueIOError):
        queue.enqueue("k") if name == "order" else queue.release(claim=queue.claim(worker_id="w"))
    assert target.read_bytes() == b""


@pytest.mark.scenario("file-backend/another-schema")
def test_another_schema_is_refused(opened, tmp_path):
    """A queue that another version wrote is refused, and so is a version that can't be read."""
    opened()
    (tmp_path / "q" / "version").write_text("2\n")
    with pytest.raises(UnsupportedSchema, match="schema version 2"):
        opened()
    (tmp_path / "q" / "version").write_text("")

    with pytest.raises(QueueDataCorruptedError):
        opened()


def test_a_file_in_the_queue_s_place_is_refused(opened, tmp_path):
    """A file where the queue's folder should be is one clear error."""
    (tmp_path / "q").write_text("")

    with pytest.raises(QueueIOError, match="open failed"):
        opened()


@pytest.mark.scenario("file-backend/a-folder-without-permission")
def test_a_folder_without_permission_is_refused(opened, monkeypatch):
    """A queue in a folder that may not be written to is refused when it is opened."""
    opened()

    def denied(path, *_args, **_named):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(QueueIOError, match="Permission denied"):
        opened()


@pytest.mark.parametrize(
    "settings",
    [
        {"lease_ttl_seconds": 0},
        {"lease_ttl_seconds": float("nan")},
        {"max_clock_skew_seconds": -1},
        {"durability": "hope"},
        {"clock": lambda: datetime(2024, 1, 1)},  # noqa: DTZ001 - the fault under test
    ],
)
def test_settings_that_no_queue_could_keep_are_refused(opened, settings):
    """No lease, a negative skew, an unknown durability or a clock without a zone is a ValueError."""
    with pytest.raises(ValueError, match="give"):
        opened(**settings).claim(worker_id="w1")


def test_a_relative_folder_is_kept_when_the_working_folder_changes(tmp_path, monkeypatch):
    """A handle opened by a relative path stays with its folder after a change of directory."""
    monkeypatch.chdir(tmp_path)
    queue = FileWorkerQueue("q", durability="process-crash")
    monkeypatch.chdir("/")
    queue.enqueue("j")

    assert claimed(FileWorkerQueue(tmp_path / "q")) == "j"
