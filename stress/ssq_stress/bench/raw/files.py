"""The limit of a folder: a bare rename, read and unlink a job, in as many processes; no two want the same."""

import os
from pathlib import Path
from typing import Any

from ssq_stress.bench.raw import RawClaim
from ssq_verify.subject import Policy, Promises, subject

PROMISES = Promises(lease=False, fencing=False, max_attempts=None, order=None, durability="process-crash")


class RawFiles:
    """Each worker has its own jobs, by the beginning of their names; only in the end it takes others'."""

    def __init__(self, root: Path, *, is_synced: bool) -> None:
        self._root, self._is_synced = str(root), is_synced
        self._names: list[str] = []

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Write the job's file."""
        fd = os.open(f"{self._root}/{job_id}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, payload)
        self._synced(fd)
        os.close(fd)
        self._sync()

    def claim(self, *, worker_id: str) -> RawClaim | None:
        """Rename the next file, and read it."""
        while True:
            if not self._names:
                self._names = self._listed(worker_id)
            if not self._names:
                return None
            path = self._names.pop()
            taken = f"{path}.claimed"
            try:
                os.rename(path, taken)  # noqa: PTH104 - bare calls are what is measured
            except FileNotFoundError:
                continue
            fd = os.open(taken, os.O_RDONLY)
            os.read(fd, 65_536)
            os.close(fd)
            return RawClaim(os.path.basename(path), taken)  # noqa: PTH119 - as above

    def ack(self, *, claim: RawClaim) -> None:
        """Unlink the file."""
        os.unlink(claim.claim_id)  # noqa: PTH108 - as above
        self._sync()

    def _listed(self, worker_id: str) -> list[str]:
        waiting = sorted((name for name in os.listdir(self._root) if "." not in name), reverse=True)  # noqa: PTH208 - as above
        mine = [name for name in waiting if name.startswith(f"{worker_id}-")]
        return [f"{self._root}/{name}" for name in mine or waiting]

    def _synced(self, fd: int) -> None:
        if self._is_synced:
            os.fsync(fd)

    def _sync(self) -> None:
        if self._is_synced:
            fd = os.open(self._root, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)


@subject(promises=PROMISES)
def open_unsynced(workdir: Path, _policy: Policy) -> Any:
    """Open the folder for one process that syncs nothing."""
    return _opened(workdir, is_synced=False)


@subject(promises=PROMISES)
def open_synced(workdir: Path, _policy: Policy) -> Any:
    """Open the folder for one process that syncs each enqueue and each ack."""
    return _opened(workdir, is_synced=True)


def _opened(workdir: Path, *, is_synced: bool) -> RawFiles:
    root = workdir / "raw"
    root.mkdir(exist_ok=True)
    return RawFiles(root, is_synced=is_synced)
