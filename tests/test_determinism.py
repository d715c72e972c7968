"""Does a seed mean the same run everywhere, and another seed another run?"""

import os
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

DIGESTS = Path(__file__).with_name("digests.py")
SEEDS = 1_000


@cache
def elsewhere(subject, seeds, hash_seed):
    """Return what another process with that hash seed prints."""
    command = [sys.executable, str(DIGESTS), subject, str(seeds)]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split(
        "\n"
    )


@pytest.mark.scenario("simulation/a-thousand-seeds")
def test_a_thousand_seeds_mean_the_same_in_two_processes():
    """Processes with different hash seeds make the same histories on the same tapes."""
    first = elsewhere("file", SEEDS, "1")

    assert len(first) == SEEDS + 1
    assert elsewhere("file", SEEDS, "2") == first


@pytest.mark.scenario("simulation/other-seeds")
def test_other_seeds_are_other_runs():
    """A thousand seeds choose hundreds of schedules, and no single one more than now and then."""
    tapes = Counter(line.split()[1] for line in elsewhere("file", SEEDS, "1") if line)

    assert len(tapes) > SEEDS / 2
    assert max(tapes.values()) < SEEDS / 4


@pytest.mark.parametrize("subject", ["naive-file", "sqlite"])
def test_seeds_mean_the_same_whatever_the_subject(subject):
    """So it is with a queue that uses `pathlib` and `open`, and with one in SQLite."""
    assert elsewhere(subject, 100, "1") == elsewhere(subject, 100, "2")
