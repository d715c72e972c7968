"""What do queues lose when a real file system loses its power? And does the simulation know what is left?

    python benchmarks/power_losses.py --json        (as root)

Each queue is at work in two processes when its disk is cut off, many times over; what had been acknowledged
before is looked for after each recovery, and the whole history is judged. Then the file queue is simulated on
such a disk, and each state that a real loss leaves is looked for among those of the models. A promise
broken, or a state that a model lacks, ends the program with 1.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ssq_stress.nemesis.power_loss import NotAvailable
from ssq_stress.power.disk_states import Compared, compare
from ssq_stress.power.losses import Losses, held_to_power_loss, lose_power, undone
from ssq_stress.power.resident import OnDisk, resident
from ssq_verify import invariants
from ssq_verify.judge import judge
from ssq_verify.scenario import SEED
from ssq_verify.simulation.surviving import Model
from ssq_verify.subject import load
from ssq_verify.verdict import Finding

SUBJECTS = {
    "file": "file",
    "sqlite": "sqlite",
    "file, unsynced": "ssq_verify.subjects.file:open_unsynced",
    "sqlite, unsynced": "ssq_verify.subjects.sqlite:open_unsynced",
    "postgres": "postgres",
    "postgres, synchronous_commit=off": "postgres-async",
    "redis, appendfsync=always": "redis",
    "redis, appendfsync=everysec": "redis-everysec",
}
UNDONE_MAX = 1_000_000
MODELS = {"file": tuple(Model), "file, unsynced": (Model.ORDERED,)}
"""What syncs nothing may leave more states in posix than can be gone through."""


def measured(name: str, losses: int, compared: int, seed: int) -> dict[str, Any]:
    """Return what a queue lost, and, if the simulation can follow it, how its states compare."""
    states = contained(name, count=compared if name in MODELS else 0, seed=seed)
    return {**lost(name, losses=losses, seed=seed), "states": states}


def lost(name: str, *, losses: int, seed: int) -> dict[str, Any]:
    """Let a queue's disk lose its power so many times; return what was acknowledged, and what was lost."""
    begun, subject = time.monotonic(), load(SUBJECTS[name])
    living = resident(subject)
    with tempfile.TemporaryDirectory(prefix="ssq-") as folder:
        history = lose_power(subject, Losses(count=losses, seed=seed), Path(folder), living)
    verdicts = judge(history, ways=("stress",))
    gone = undone(history, limit=UNDONE_MAX)
    return {
        "queue": name,
        "promises": history.terms.durability,
        "losses": losses,
        "operations": len(history.operations),
        "acknowledged": invariants.exercised(held_to_power_loss(history), "durable"),
        "lost": len(gone),
        "losses_with_lost": len({violation.run for violation in gone}),
        "mended": living.mended if isinstance(living, OnDisk) else 0,
        "violated": [each.invariant for each in verdicts if each.verdict is Finding.VIOLATED],
        "unknown": [each.invariant for each in verdicts if each.verdict is Finding.UNKNOWN],
        "seconds": round(time.monotonic() - begun, 1),
    }


def contained(name: str, *, count: int, seed: int) -> dict[str, Any]:
    """Compare so many real states of a queue with those that the models of a disk allow."""
    begun, extents, missing = time.monotonic(), Counter[str](), []
    models = MODELS.get(name, ())
    with tempfile.TemporaryDirectory(prefix="ssq-") as folder:
        # What can't be simulated isn't opened either: a server's queue has no server here.
        for each in compare(load(SUBJECTS[name]), Path(folder), count=count, seed=seed) if count else ():
            extents[_extent(each)] += 1
            missing += [f"{model}, seed {each.seed}" for model in models if not each.is_allowed(model)]
    return {
        "compared": count,
        "models": [model.value for model in models],
        "extents": {extent: extents[extent] for extent in ("whole", "in part", "synced")},
        "missing": missing,
        "seconds": round(time.monotonic() - begun, 1),
    }


def _extent(each: Compared) -> str:
    if each.is_whole:
        return "whole"
    return "synced" if each.is_barest else "in part"


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--losses", type=int, default=50)
    parser.add_argument("--compared", type=int, default=200)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    try:
        runs = [measured(name, asked.losses, asked.compared, asked.seed) for name in SUBJECTS]
    except NotAvailable as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({"runs": runs}, indent=None if asked.json else 2))
    return int(any(run["violated"] or run["unknown"] or run["states"]["missing"] for run in runs))


if __name__ == "__main__":
    sys.exit(main())
