"""Does `ssq bench --compare` stay green in the noise of this machine, and turn red at a real regression?

    python benchmarks/compare_noise.py --runs 20 --json

The queue is timed beside the limit of its class. The first run is the baseline. Each further one is the same
command, which must not be red; then comes one in which five milliseconds of sleep stand in the queue's claim,
which must be.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SSQ = (sys.executable, "-c", "from ssq_stress.cli import main; main()")
LOAD = ("--backlog", "3000", "--workers", "4", "--repeat", "5")
QUEUE = """
import time
from pathlib import Path

from ssq_verify.subject import load

SLEEP_SECONDS = float(Path(__file__).with_name("sleep_seconds").read_text())
inner = load("{subject}").factory


def open_queue(workdir, policy):
    queue = inner(workdir, policy)
    if SLEEP_SECONDS:
        claim = queue.claim

        def sleeping(*, worker_id):
            time.sleep(SLEEP_SECONDS)
            return claim(worker_id=worker_id)

        queue.claim = sleeping
    return queue


open_queue.ssq_promises = inner.ssq_promises
"""
"""The subject as it is, or with a sleep in its claim: the same file, so that it has the same name."""


def run(folder: Path, out: str, baseline: Path | None, sleep_seconds: float = 0.0) -> dict[str, Any]:
    """Time it once, against a baseline if there is one; return the ratio, and whether it was red."""
    (folder / "sleep_seconds").write_text(str(sleep_seconds))
    compared = () if baseline is None else ("--compare", str(baseline))
    arguments = ("bench", "sleeping.py:open_queue", *LOAD, *compared, "--out", out, "--json")
    done = subprocess.run([*SSQ, *arguments], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    if not done.stdout:
        raise SystemExit(done.stderr)
    document = json.loads(done.stdout)
    (change,) = document["changes"] or [None]
    ratio = document["series"][1]["times_first"]
    broken = [name for series in document["series"] for each in series["runs"] for name in each["broken"]]
    return {
        "ratio": ratio,
        "factor": None if change is None else change["now"] / change["before"],
        "is_red": done.returncode != 0 and not broken,
        "broken": broken,
    }


def measured(subject: str, runs: int, sleep_seconds: float) -> dict[str, Any]:
    """Make the baseline, the runs that must not be red, and the one that must."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        (folder / "sleeping.py").write_text(QUEUE.format(subject=subject))
        first = run(folder, "first", None)
        baseline = folder / "first/bench.json"
        same = [_told(run(folder, f"run{number}", baseline)) for number in range(1, runs + 1)]
        slower = _told(run(folder, "slower", baseline, sleep_seconds))
    return {
        "subject": subject,
        "baseline": first["ratio"],
        "runs": same,
        "red": sum(each["is_red"] for each in same),
        "with_sleep": slower,
    }


def _told(result: dict[str, Any]) -> dict[str, Any]:
    verdict = "red" if result["is_red"] else "green"
    print(f"{result['factor']:.2f} of the baseline: {verdict}", file=sys.stderr)
    return result


def main() -> int:
    """Measure, print; end with 1 if noise was red, or the sleep was not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subject", default="file-process-crash")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--sleep-ms", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    results = measured(asked.subject, asked.runs, asked.sleep_ms / 1000)
    if asked.json:
        print(json.dumps(results))
    else:
        factors = sorted(each["factor"] for each in results["runs"])
        spread = f"{factors[0]:.2f} to {factors[-1]:.2f} of the baseline" if factors else "none"
        print(f"{len(factors)} runs of the same queue: {spread}, {results['red']} red (0 wanted)")
        print(
            f"with a sleep: {results['with_sleep']['factor']:.2f}, red is {results['with_sleep']['is_red']}"
        )
    return 1 if results["red"] or not results["with_sleep"]["is_red"] else 0


if __name__ == "__main__":
    sys.exit(main())
