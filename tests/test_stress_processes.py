"""Does every process of a stress run end, whatever ends the run?"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ssq_stress.processes.board import Stage

SSQ = Path(sys.executable).with_name("ssq")
WITNESS = '''
"""Starts a stress run, ends it in a stage by a signal, and waits until all that it started has ended."""
import ctypes, json, os, signal, struct, subprocess, sys, threading
from pathlib import Path

stage, number, out, *command = sys.argv[1:]
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans become our children
run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def come():
    for board in Path(out).glob("rounds/*/board"):
        field = board.read_bytes()[:8]
        if len(field) == 8 and struct.unpack("=q", field)[0] >= int(stage):
            return True
    return run.poll() is not None


while not come():
    threading.Event().wait(0.005)
os.kill(run.pid, int(number))
error = run.stderr.read().decode()
codes = {}
while True:
    try:
        pid, status = os.wait()
    except ChildProcessError:
        break
    codes[pid] = os.waitstatus_to_exitcode(status)
print(json.dumps({"code": codes.pop(run.pid), "error": error, "orphans": len(codes)}))
'''


def ended_in(stage, number, out):
    """Return how a run ended that met a signal in a stage, once none of its processes was left."""
    command = [SSQ, "stress", "file", "--for", "1s", "--workers", "3", "--out", out]
    done = subprocess.run(
        [sys.executable, "-c", WITNESS, str(int(stage)), str(int(number)), out, *command],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)


@pytest.mark.scenario("stress/interrupted")
@pytest.mark.parametrize("stage", [Stage.FILL, Stage.FAULTS, Stage.DRAIN], ids=lambda stage: stage.name)
def test_an_interruption_leaves_no_process(tmp_path, is_one_line, stage):
    """Ctrl-C in any stage ends all processes, says so in a line, and leaves whole lines and no mount."""
    out = tmp_path / "out"
    ended = ended_in(stage, signal.SIGINT, out)

    assert ended["code"] == 130
    assert is_one_line(ended["error"], "interrupted")
    for path in out.rglob("*.jsonl"):
        assert path.read_bytes()[-1:] in {b"", b"\n"}, path
    assert str(out) not in Path("/proc/mounts").read_text(encoding="utf-8")


@pytest.mark.scenario("command-line/ended-by-a-signal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_to_end_leaves_no_process(tmp_path, is_one_line, number):
    """Who stops a service, or closes a terminal, ends a run as Ctrl-C does; the code names the signal."""
    out = tmp_path / "out"
    ended = ended_in(Stage.FAULTS, number, out)

    assert ended["code"] == 128 + number
    assert is_one_line(ended["error"], "interrupted")
    assert str(out) not in Path("/proc/mounts").read_text(encoding="utf-8")


@pytest.mark.scenario("stress/the-supervisor-is-killed")
def test_a_killed_supervisor_leaves_no_process(tmp_path):
    """SIGKILL of the supervisor ends the fork server, and with it every worker."""
    ended = ended_in(Stage.FAULTS, signal.SIGKILL, tmp_path / "out")

    assert ended["code"] == -signal.SIGKILL
    assert ended["orphans"] > 0
