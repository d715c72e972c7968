"""How long do a million jobs take through PostgreSQL while workers are killed, and the verdict on them?

    python benchmarks/million.py --json
    python benchmarks/million.py --read DIR --json     of a run that is over: what it wrote there

Ends with 1 if anything was violated, or jobs are missing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

JOBS = 1_000_000
SSQ = Path(sys.executable).with_name("ssq")
COMMAND = "stress postgres --jobs {jobs} --workers 10 --producers 5 --faults kill"


def ran(jobs: int, out: str) -> None:
    """Put so many jobs through; what came of it is then in `out`."""
    words = COMMAND.format(jobs=jobs).split()
    subprocess.run([SSQ, *words, "--out", out], check=False, stdout=subprocess.DEVNULL)  # noqa: S603 - our own


def told(out: Path) -> dict[str, Any]:
    """Return what a run says of itself."""
    report = json.loads((out / "verdicts.json").read_text(encoding="utf-8"))
    tally, latency = report["tally"], report["claim_latency"]
    violated = [each["invariant"] for each in report["verdicts"] if each["verdict"] == "violated"]
    sentences = {each["invariant"]: each["sentence"] for each in report["verdicts"]}
    return {
        "subject": report["subject"],
        "jobs": report["jobs"],
        "operations": tally["operations"],
        "rounds": report["rounds"],
        "seconds": report["rounds_seconds"],
        "kills": report["kills"],
        "attempts_after_the_first": tally["attempts after the first"],
        "dead": tally.get("dead", 0),
        "claim_ms": {name: latency[f"{name}_ms"] for name in ("p50", "p95", "p99", "max")},
        "seconds_to_verdict": report["seconds_to_verdict"],
        "violated": violated,
        "no_lost_job": sentences["no-lost-job"],
        "side_effects": sentences["side-effects"],
        "bounded_retries": sentences["bounded-retries"],
    }


def main() -> int:
    """Run the benchmark, or read what one wrote; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--read", type=Path)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.read is None:
            ran(asked.jobs, f"{folder}/out")
        result = told(asked.read or Path(folder) / "out")
    if asked.json:
        print(json.dumps({"runs": [result]}, indent=2))
    else:
        print(*(f"{name}: {value}" for name, value in result.items()), sep="\n")
    is_short = asked.read is None and result["jobs"] < asked.jobs
    return 1 if result["violated"] or is_short else 0


if __name__ == "__main__":
    sys.exit(main())
