"""How fast are the queues, beside the limit of their backends, and beside what a user would pick instead?

    python benchmarks/throughput.py file synced servers peers tiers --log-issue 5

Each group is a few runs of `ssq bench`, each of which times its subjects in turn and judges what they did.
Their figures are kept in `benchmarks/results/throughput.json`; the README's tables are then made of them.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssq_stress.bench.raw import CALLS, LIMITS

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/throughput.json"
SSQ = (sys.executable, "-c", "from ssq_stress.cli import main; main()")
MANY = 1_000_000
MANY_CLAIMS = 20_000
"""Timed of a backlog of a million."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run of `ssq bench`."""

    name: str
    subjects: tuple[str, ...]
    backlogs: tuple[int, ...]
    workers: tuple[int, ...] = (4,)
    options: tuple[str, ...] = ()
    repeat_max: int = 5
    """A million jobs take minutes to enqueue."""

    def command(self, repeat: int) -> list[str]:
        """Return its arguments."""
        repeat = min(repeat, self.repeat_max)
        backlogs = ("--backlog", _listed(self.backlogs)) if self.backlogs else ()
        workers = ("--workers", _listed(self.workers)) if self.workers else ()
        return ["bench", *self.subjects, *backlogs, *workers, "--repeat", str(repeat), *self.options]


def _listed(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


def _flat(name: str, *subjects: str) -> Run:
    return Run(name=name, subjects=subjects, backlogs=(2_000, MANY), options=CLAIMS, repeat_max=1)


def _servers() -> Iterator[Run]:
    for name in ("sqlite", "postgres", "redis"):
        pair = (LIMITS[name], name)
        yield Run(name=f"{name}-workers", subjects=pair, backlogs=(2_000,), workers=(1, 4, 10))
        yield _flat(f"{name}-million", *pair)
        if name != "sqlite":
            batch = ("--batch", "1,10")
            yield Run(name=f"{name}-batch", subjects=(name,), backlogs=(20_000,), options=batch)


CLAIMS = ("--claims", str(MANY_CLAIMS))
UNSYNCED = (LIMITS["file-process-crash"], "file-process-crash")
GROUPS: dict[str, tuple[Run, ...]] = {
    "file": (
        Run(name="file-naive", subjects=("naive-file", "file-process-crash"), backlogs=(2_000,)),
        # The naive queue takes minutes for all of these; it is timed for as long as a run may take.
        Run(name="file-naive-20000", subjects=("naive-file", "file-process-crash"), backlogs=(20_000,)),
        Run(
            name="file-workers",
            subjects=(*UNSYNCED, CALLS["file-process-crash"]),
            backlogs=(2_000,),
            workers=(1, 4, 10),
        ),
        _flat("file-million", *UNSYNCED),
    ),
    "synced": (Run(name="file-synced", subjects=(CALLS["file"], "file"), backlogs=(2_000,), workers=(1, 4)),),
    "servers": tuple(_servers()),
    "peers": (
        Run(name="peers-file", subjects=("file-process-crash", "dirq", "huey-file"), backlogs=(2_000,)),
        Run(
            name="peers-sqlite",
            subjects=("sqlite-process-crash", "litequeue", "huey-sqlite"),
            backlogs=(20_000,),
        ),
        # It promises to work in one process.
        Run(
            name="peers-sqlite-alone",
            subjects=("sqlite-process-crash", "persist-queue"),
            backlogs=(2_000,),
            workers=(1,),
        ),
        Run(name="peers-postgres", subjects=("postgres", "procrastinate", "pgqueuer"), backlogs=(2_000,)),
        Run(name="peers-redis", subjects=("redis", "rq", "huey-redis"), backlogs=(2_000,)),
    ),
    "tiers": tuple(
        Run(name=f"tier-{name}", subjects=(name,), backlogs=(), workers=(), options=("--tier", tier))
        for name, tier in (("file", "0"), ("sqlite", "0"), ("postgres", "1"), ("redis", "1"))
    ),
}


def measured(run: Run, *, repeat: int, log_issue: int | None) -> int:
    """Time it, keep its document, and return the exit code; a figure of a broken queue is marked in it."""
    arguments = run.command(repeat)
    log = () if log_issue is None else ("--log-issue", str(log_issue))
    done = subprocess.run(  # noqa: S603 - our own
        [*SSQ, *arguments, "--out", f".ssq/throughput/{run.name}", "--json", *log],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.endswith("_URL")},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.stdout:
        keep(run.name, kept_of(" ".join(["ssq", *arguments]), json.loads(done.stdout)))
    return done.returncode


def keep(name: str, kept: dict[str, Any]) -> None:
    """Keep a run's figures in the place of those that it had before."""
    known = json.loads(RESULTS.read_text(encoding="utf-8"))["runs"] if RESULTS.exists() else {}
    order = [run.name for group in GROUPS.values() for run in group]
    runs = known | {name: kept}
    document = {"runs": {each: runs[each] for each in order if each in runs}}
    RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def kept_of(command: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a run's document: for each series the figures of the run in the middle."""
    return {
        "command": command,
        "environment": document["environment"],
        "repeat": document["repeat"],
        "tier": document["tier"],
        "rows": [_row(series) for series in document["series"]],
    }


def _row(series: dict[str, Any]) -> dict[str, Any]:
    runs = sorted(series["runs"], key=lambda run: run["claims"] / run["elapsed_s"])
    middle = runs[len(runs) // 2]
    return {
        "subject": series["subject"],
        "backlog": series["backlog"],
        "workers": series["workers"],
        "batch": series["batch"],
        "claims": middle["claims"],
        "jobs_min": round(60 * middle["claims"] / middle["elapsed_s"]),
        "claim_p50_ms": middle["claim"]["p50_ms"],
        "claim_p95_ms": middle["claim"]["p95_ms"],
        "claim_p99_ms": middle["claim"]["p99_ms"],
        "times_first": series["times_first"],
        "broken": sorted({name for run in runs for name in run["broken"]}),
    }


def main() -> int:
    """Measure the groups that were asked for; return the worst exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("groups", nargs="+", choices=[*GROUPS, "all"])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", metavar="NAME", help="one run of a group")
    parser.add_argument("--log-issue", type=int, metavar="N")
    asked = parser.parse_args()
    groups = GROUPS if "all" in asked.groups else dict.fromkeys(asked.groups)
    runs = [run for group in groups for run in GROUPS[group] if asked.only in {None, run.name}]
    worst = 0
    for run in runs:
        print(f"{run.name}: ssq {' '.join(run.command(asked.repeat))}", file=sys.stderr)
        worst = max(worst, measured(run, repeat=asked.repeat, log_issue=asked.log_issue))
    subprocess.run([sys.executable, ROOT / "benchmarks/readme.py"], check=True)  # noqa: S603 - our own
    return worst


if __name__ == "__main__":
    sys.exit(main())
