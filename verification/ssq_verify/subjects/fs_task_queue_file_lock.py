"""fs-task-queue 0.1.9 with its file lock (`plugins.filelock`), as its README describes it."""

from pathlib import Path
from typing import Any

from fs_task_queue.plugins.filelock import FileLock

from ssq_verify.subject import Policy, subject
from ssq_verify.subjects.fs_task_queue import PROMISES, FsTaskQueueAdapter


@subject(promises=PROMISES, clock="system")
def open_queue(workdir: Path, _policy: Policy) -> Any:
    """Open the queue's folder for one worker."""
    return FsTaskQueueAdapter(workdir / "queue", FileLock)
