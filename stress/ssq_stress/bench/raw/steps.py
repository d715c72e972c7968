"""The limit of the file queue as it is: its own system calls and syncs, bare, in as many processes.

What is left out is what Python does between them: names, checks, records, views. No two want the same job.
"""

import fcntl
import os
from pathlib import Path
from typing import Any

from ssq_stress.bench.raw import RawClaim
from ssq_stress.bench.raw.files import PROMISES
from ssq_verify.subject import Policy, subject

BUCKET_SIZE, GATHERED = 1_024, 32
RECORD_BYTES_MAX = 1 << 14


# Bare calls are what is measured.
# ruff: noqa: PTH103, PTH104, PTH108, PTH116, PTH119, PTH208


class RawSteps:
    """Entries in buckets, each with a second name in `ids`, claimed by a rename and acked by two unlinks."""

    def __init__(self, root: Path, *, is_synced: bool) -> None:
        self._root, self._is_synced = str(root), is_synced
        self._ids, self._returns = f"{root}/ids", f"{root}/returns"
        os.makedirs(self._ids, exist_ok=True)
        os.close(os.open(self._returns, os.O_CREAT, 0o600))
        self._paths: list[str] = []
        self._acked: list[str] = []
        self._count = 0

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Write a record, link its id, rename it into its place."""
        worker, _, _ = job_id.partition("-")
        bucket = f"{self._root}/{worker}.{self._count // BUCKET_SIZE:08d}"
        self._count += 1
        os.makedirs(bucket, exist_ok=True)
        pending = f"{bucket}/{job_id}.pending"
        fd = os.open(pending, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, payload)
        if self._is_synced:
            os.fsync(fd)
        os.close(fd)
        os.link(pending, f"{self._ids}/{job_id}")
        self._sync(self._ids)
        os.rename(pending, f"{bucket}/{job_id}")
        self._sync(bucket)
        self._sync(self._root)

    def claim(self, *, worker_id: str) -> RawClaim | None:
        """Look at the counter; open and read the record; rename it."""
        while True:
            if not self._paths and not self._list(worker_id):
                return None
            path = self._paths.pop()
            os.stat(self._returns)
            taken = f"{path}.claimed"
            try:
                fd = os.open(path, os.O_RDONLY)
                os.read(fd, RECORD_BYTES_MAX)
                os.close(fd)
                os.rename(path, taken)
            except FileNotFoundError:  # in the end, when some help others
                continue
            return RawClaim(os.path.basename(path), taken)

    def ack(self, *, claim: RawClaim) -> None:
        """Unlink the entry, sync its bucket; remove the ids of some at once."""
        os.unlink(claim.claim_id)
        self._sync(claim.claim_id[: claim.claim_id.rindex("/")])
        self._acked.append(f"{self._ids}/{claim.job_id}")
        if len(self._acked) >= GATHERED:
            self._free()

    def _free(self) -> None:
        folder = os.open(self._ids, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)
        for path in self._acked:
            if self._is_synced:
                fd = os.open(path, os.O_RDONLY)
                os.read(fd, RECORD_BYTES_MAX)
                os.close(fd)
            os.stat(path)
            os.unlink(path)
        self._acked.clear()
        os.close(folder)

    def _list(self, worker_id: str) -> bool:
        buckets = sorted(name for name in os.listdir(self._root) if "." in name)
        mine = [name for name in buckets if name.startswith(f"{worker_id}.")]
        for bucket in mine + buckets:
            names = [name for name in os.listdir(f"{self._root}/{bucket}") if not name.endswith(".claimed")]
            if names:
                self._paths = [f"{self._root}/{bucket}/{name}" for name in sorted(names, reverse=True)]
                return True
        return False

    def _sync(self, folder: str) -> None:
        if self._is_synced:
            fd = os.open(folder, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)


@subject(promises=PROMISES)
def open_unsynced(workdir: Path, _policy: Policy) -> Any:
    """Open the folder for one process that syncs nothing."""
    return RawSteps(workdir / "raw", is_synced=False)


@subject(promises=PROMISES)
def open_synced(workdir: Path, _policy: Policy) -> Any:
    """Open the folder for one process that syncs each enqueue and each ack."""
    return RawSteps(workdir / "raw", is_synced=True)
