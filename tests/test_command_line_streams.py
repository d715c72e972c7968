"""Do results reach whoever asked for them, whatever a queue prints and the shell has closed?"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SSQ = Path(sys.executable).with_name("ssq")
PRINTING = """
import os, subprocess, sys
from ssq_verify.subjects import memory

print("imported")

def open_queue(workdir, policy):
    print("opened")
    os.write(1, b"by number")
    subprocess.run(["echo", "from a program"])
    print("warned", file=sys.stderr)
    return memory.open_queue(workdir, policy)
"""
FEW = (
    "from dataclasses import replace\n"
    "from ssq_stress.cli import main\n"
    "from ssq_verify.profiles import PROFILES\n"
    "quick = PROFILES['quick']\n"
    "PROFILES['quick'] = replace(quick, effort=replace(quick.effort, examples=3))\n"
    "main()\n"
)
"""The command, with so few examples that it ends soon: what holds then is of no interest here."""


@pytest.mark.scenario("command-line/a-queue-that-prints")
def test_a_queue_that_prints_leaves_json_alone(tmp_path):
    """What a factory prints, writes by number, or has printed by a program, is in none of our streams."""
    (tmp_path / "mine.py").write_text(PRINTING)

    result = subprocess.run(
        [sys.executable, "-c", FEW, "verify", "mine.py:open_queue", "--json"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )

    assert json.loads(result.stdout)["subject"] == "mine.py:open_queue"
    assert result.stderr == ""


INTERRUPTED = (
    "import runpy, sys\n"
    "class Impatient:\n"
    "    def find_spec(self, name, path=None, target=None):\n"
    "        if name == 'ssq_stress.cli':\n"
    "            raise KeyboardInterrupt\n"
    "sys.meta_path.insert(0, Impatient())\n"
    "runpy.run_module('ssq_stress', run_name='__main__')\n"
)
"""The command, interrupted while it is being loaded."""


def test_who_is_impatient_is_told_in_a_line():
    """Loading takes some tenths of a second; an interruption then is no traceback either."""
    result = subprocess.run([sys.executable, "-c", INTERRUPTED], check=False, capture_output=True, text=True)

    assert (result.returncode, result.stdout) == (130, "")
    assert result.stderr == "ssq: interrupted; nothing was begun\n"


@pytest.mark.scenario("command-line/nowhere-to-print")
@pytest.mark.parametrize(("command", "code"), [("subjects", 0), ("subjects --json", 0), ("nonsense", 64)])
def test_closed_streams_change_nothing_else(tmp_path, command, code):
    """Where the shell closed all three streams, a command does as it would, and its exit code is the same."""
    result = subprocess.run(
        ["/bin/sh", "-c", f"'{SSQ}' {command} <&- >&- 2>&-"], cwd=tmp_path, check=False, capture_output=True
    )

    assert result.returncode == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.scenario("command-line/nowhere-to-print")
@pytest.mark.parametrize("arguments", [["subjects"], ["subjects", "--json"], ["verify", "memory"]])
def test_a_full_device_is_one_line(tmp_path, is_one_line, arguments):
    """Results for which there is no room are bad input, not a failure of ours."""
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [SSQ, *arguments], cwd=tmp_path, check=False, stdout=full, stderr=subprocess.PIPE, text=True
        )

    assert result.returncode == 64
    assert is_one_line(result.stderr, "standard output", "No space left on device", "send it elsewhere")
