"""Which ways of testing find three real defects of a naive file queue, and how soon?

    pip install -e '.[comparison]' && python benchmarks/comparison.py --json

Each way is one script in `benchmarks/compared/`, which uses its tool as the tool's documentation says and
stops at the first failure; none of them shrinks. Each search is a process of its own, timed without its
start.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "compared"
BUGS = ("killed inside claim", "claim meets half an enqueue", "ack of a superseded claim")
FRONTRUN = [str(Path(sys.executable).with_name("frontrun"))]
WAYS: dict[str, tuple[list[str], str, dict[str, str]]] = {
    "ssq": ([], "ssq.py", {}),
    "frontrun (DPOR)": (FRONTRUN, "threads.py", {"STRATEGY": "dpor"}),
    "frontrun (random)": (FRONTRUN, "threads.py", {"STRATEGY": "random"}),
    "hypothesis alone": ([], "rules.py", {}),
    "processes, repeated": ([], "processes.py", {}),
}
"""By name: what it is run under, its script, its environment."""


def compared(way: str, *, seeds: int, limit: float) -> dict[str, Any]:
    """Let one way look for each bug, once for each seed."""
    bugs = {bug: _searched(way, bug, seeds, limit) for bug in BUGS}
    return {"way": way, "limit_seconds": limit, "bugs": bugs}


def _searched(way: str, bug: str, seeds: int, limit: float) -> dict[str, Any]:
    results = [_result(way, bug, seed, limit) for seed in range(1, seeds + 1)]
    seconds = statistics.median(result["seconds"] for result in results)
    # One that comes within the limit's last piece of work is over the limit all the same.
    found = sum(result["outcome"] == "found" and result["seconds"] <= limit for result in results)
    complete = all(result["outcome"] == "complete" for result in results)
    return {"found": found, "of": seeds, "complete": complete, "seconds": round(seconds, 2)}


def _result(way: str, bug: str, seed: int, limit: float) -> Any:
    under, script, variables = WAYS[way]
    command = [*under, sys.executable, str(FOLDER / script), bug, "--seed", str(seed), "--limit", str(limit)]
    environment = {**os.environ, **variables, "PYTHONHASHSEED": "0"}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own
    return json.loads(output.splitlines()[-1])


def main() -> None:
    """Compare all ways and print what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for one search")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    runs = [compared(way, seeds=asked.seeds, limit=asked.limit) for way in WAYS]
    if asked.json:
        print(json.dumps({"runs": runs}))
        return
    for run in runs:
        for bug, result in run["bugs"].items():
            print(f"{run['way']}, {bug}: {result}")


if __name__ == "__main__":
    main()
