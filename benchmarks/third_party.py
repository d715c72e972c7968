"""What do somebody else's queues on real servers break, in turns and under real faults, version by version?

    python benchmarks/third_party.py --json

Each is driven by `ssq verify`, and by `ssq stress` with its sweeper beside the workers. The versions that are
not the installed ones are put beside them by `ssq install` first.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from typing import Any

REFERENCES = (
    "procrastinate",
    "pgqueuer",
    "pgqueuer@0.25.1",
    "pgqueuer@0.25.0",
    "huey-redis",
    "huey-redis@3.4.0",
)
FAULTS = "kill,pause,skew"
SECONDS = 20
SSQ = (sys.executable, "-c", "from ssq_stress.cli import main; main()")
SWEPT = " while sweep"


def measured(reference: str, seconds: int) -> dict[str, Any]:
    """Return what was broken in turns and in real processes, and how much was done to it there."""
    in_turns = _told("verify", reference)
    crew = ("--workers", "4", "--producers", "1")
    stressed = _told("stress", reference, "--for", f"{seconds}s", "--faults", FAULTS, *crew)
    return {
        "subject": reference,
        "in_turns": _violated(in_turns),
        "stressed": _violated(stressed),
        "operations": stressed["tally"]["operations"],
        "kills": stressed["kills"],
        "sweeps_struck": sum(count for name, count in stressed["matrix"].items() if name.endswith(SWEPT)),
    }


def _violated(document: dict[str, Any]) -> list[str]:
    return [each["invariant"] for each in document["verdicts"] if each["verdict"] == "violated"]


def _told(*arguments: str) -> dict[str, Any]:
    # On a server of its own, whatever else is named in the environment.
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(  # noqa: S603 - our own
            [*SSQ, *arguments, "--json"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if not done.stdout:
        raise SystemExit(done.stderr)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def main() -> int:
    """Install, measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--for", type=int, default=SECONDS, dest="seconds")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    for reference in REFERENCES:
        if "@" in reference:
            subprocess.run([*SSQ, "install", reference], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own
    runs = [measured(reference, asked.seconds) for reference in REFERENCES]
    print(json.dumps({"seconds": asked.seconds, "runs": runs}, indent=None if asked.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
