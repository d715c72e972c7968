"""Does a process that simulates or judges end when its parent does, however that goes?"""

import os
import select
import signal
import subprocess
import sys

import pytest

SECONDS_MAX = 60.0
PARENT = """
import os, signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from {module} import {initializer}

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer={initializer})
    print(pool.submit(os.getpid).result(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.scenario("stress/the-supervisor-is-killed")
@pytest.mark.parametrize(
    ("module", "initializer"),
    [("ssq_verify.simulation.pool", "_fall_silent"), ("ssq_stress.judging", "prepare")],
)
def test_a_pool_ends_with_whoever_made_it(tmp_path, module, initializer):
    """A process of a pool waits on a pipe that it holds open itself; yet SIGKILL of its maker ends it."""
    (tmp_path / "parent.py").write_text(PARENT.format(module=module, initializer=initializer))

    command = [sys.executable, tmp_path / "parent.py"]
    parent = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    assert parent.returncode == -signal.SIGKILL
    assert has_ended(int(parent.stdout))


def has_ended(pid):
    """Wait for the end of a process that is not our child; False if it does not come."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], SECONDS_MAX)[0])
    finally:
        os.close(process)
