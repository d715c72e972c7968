"""Which folder is a worker in, and what may its new files? `chdir` and `umask` are each worker's own."""

import os
from typing import Any

from ssq_verify.simulation.replacement import Call, perform, replace
from ssq_verify.simulation.world import Worker


def install() -> None:
    """Replace what moves a process."""
    replace(os, "chdir", _chdir)
    replace(os, "fchdir", _chdir)
    replace(os, "umask", _umask)


def _chdir(worker: Worker, real: Call, folder: Any) -> None:
    before = os.getcwd()  # noqa: PTH109 - the point
    perform(worker, real, folder)
    worker.surroundings.moved(os.getcwd(), before)  # noqa: PTH109 - the point


def _umask(worker: Worker, real: Call, mask: int) -> int:
    before: int = real(mask)
    worker.surroundings.masked(mask, before)
    return before
