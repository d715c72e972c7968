"""Which numbers stand in the README? Those in `benchmarks/results/`, as tables between two markers.

python benchmarks/readme.py --measure NAME   measures (some minutes), keeps the results, writes the tables
python benchmarks/readme.py                  writes the tables from the kept results
python benchmarks/throughput.py GROUP        measures how fast queues are (hours), and writes those tables
python benchmarks/readme.py --check          ends with 1 if one of the README's tables is another
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ssq_stress.bench.raw import SHORT

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", ROOT / "THROUGHPUT.md")
RESULTS = ROOT / "benchmarks/results"
SIZES = (10_000, 100_000, 1_000_000)
LIMIT_SECONDS = 20
"""For one search of the comparison."""
TABLE = re.compile(
    r"(?<=<!-- table: )(\w+)( \(benchmarks/readme\.py\) -->\n).*?(?=<!-- end -->)", flags=re.DOTALL
)

Results = dict[str, Any]


def judged() -> list[Results]:
    """Run the judge's benchmark at each size, each in a process of its own."""
    return [_output("judge", "--operations", str(size)) for size in SIZES]


def simulated() -> list[Results]:
    """Run the benchmark of the simulation."""
    return _output("simulation")["runs"]


def compared() -> list[Results]:
    """Run the comparison with other ways of testing."""
    return _output("comparison", "--limit", f"{LIMIT_SECONDS}")["runs"]


def powerless() -> list[Results]:
    """Let queues' disks lose their power."""
    return _output("power_losses")["runs"]


def milled(*options: str) -> list[Results]:
    """Put a million jobs through PostgreSQL, and kill workers all along; that takes up to some hours."""
    return _output("million", *options)["runs"]


def adapted(*options: str) -> list[Results]:
    """Let somebody else's queues be broken."""
    return _output("third_party", *options)["runs"]


def _output(script: str, *options: str) -> Any:
    command = [sys.executable, ROOT / f"benchmarks/{script}.py", *options, "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603 - our own


def judge_table(results: Results) -> Iterator[str]:
    """Yield the lines of what judging takes."""
    yield from _where(results)
    yield "A history with overlapping operations of twelve workers is read,"
    yield "loaded and judged by every SQL invariant, and by the exact check."
    yield ""
    exact = "exact, operations/s"
    yield _row("operations", "read", "load", "SQL invariants", "operations/s", "peak memory", exact)
    yield _row(*["---:"] * 7)
    for run in results["runs"]:
        seconds = (f"{run[part]:.2f} s" for part in ("read_seconds", "load_seconds", "sql_seconds"))
        rates = (f"{run[part]:,}" for part in ("operations_per_second", "exact_operations_per_second"))
        rate, exact = rates
        yield _row(f"{run['operations']:,}", *seconds, rate, f"{run['peak_rss_mb']:,} MB", exact)


def simulation_table(results: Results) -> Iterator[str]:
    """Yield the lines of what simulating takes."""
    yield from _where(results)
    yield "Two workers claim and ack one of two jobs each, in random turns, with set-up, drain, history"
    yield "and all checks, on one core; beside it the same operations, called directly. Medians of five."
    yield ""
    cost = ("directly, runs/s of CPU time", "cost of simulation")
    yield _row("queue", "schedules/s of CPU time", "by the clock", "aim", *cost)
    yield _row(":---", *["---:"] * 5)
    for run in results["runs"]:
        parts = ("schedules_per_cpu_second", "schedules_per_second", "aim", "direct_runs_per_cpu_second")
        yield _row(run["subject"], *(f"{run[part]:,}" for part in parts), f"{run['times_direct']:.1f} times")


def comparison_table(results: Results) -> Iterator[str]:
    """Yield the lines of what each way of testing found, and when."""
    yield from _where(results)
    limit = f"{results['runs'][0]['limit_seconds']:.0f} s"
    yield f"Median time to the first failure, of five seeds with {limit} each, and how many found it."
    yield ""
    bugs = list(results["runs"][0]["bugs"])
    yield _row("way", *bugs)
    yield _row(":---", *["---:"] * len(bugs))
    for run in results["runs"]:
        yield _row(run["way"], *(_found(run["bugs"][bug]) for bug in bugs))


def power_losses_table(results: Results) -> Iterator[str]:
    """Yield the lines of what real losses of power took, and of what the models say to that."""
    yield from _where(results)
    yield "One or two processes enqueue, claim and ack when their ext4 is cut off; acknowledged are enqueues"
    yield "and acks that had returned. Mended is what a server refused to start on until its log was cut off."
    yield "States are what losses left of the simulated queue, beside its models."
    yield ""
    states = ("states compared", "with a part of the unsynced", "not allowed")
    yield _row("queue", "losses", "acknowledged", "of these lost", "in so many losses", "mended", *states)
    yield _row(":---", *["---:"] * 8)
    for run in results["runs"]:
        parts = (f"{run[part]:,}" for part in ("losses", "acknowledged", "lost", "losses_with_lost"))
        yield _row(run["queue"], *parts, str(run["mended"] or ""), *_states(run["states"]))


def million_table(results: Results) -> Iterator[str]:
    """Yield the lines of what a million jobs took."""
    yield from _where(results)
    yield "Ten workers and five producers, killed all along, on the server that `ssq` starts; all is recorded"
    yield "and judged, in rounds while the next one runs. Latency is of claims while workers were killed."
    yield ""
    claims = ("claim p50", "p95", "p99", "max")
    counts = ("kills", "attempts after the first", "dead letters", "violations")
    yield _row("jobs", "operations", "time", "jobs/min", *counts, *claims, "verdict after the end")
    yield _row(*["---:"] * 13)
    for run in results["runs"]:
        minutes, latency = run["seconds"] / 60, run["claim_ms"]
        counted = (run["kills"], run["attempts_after_the_first"], run["dead"], len(run["violated"]))
        yield _row(
            f"{run['jobs']:,}",
            f"{run['operations']:,}",
            f"{minutes:.0f} min",
            f"{run['jobs'] / minutes:,.0f}",
            *(f"{count:,}" for count in counted),
            *(f"{latency[name]:.0f} ms" for name in ("p50", "p95", "p99", "max")),
            f"{run['seconds_to_verdict']:.1f} s",
        )


def _states(states: Results) -> tuple[str, str, str]:
    if not states["compared"]:
        return "", "", ""
    return str(states["compared"]), str(states["extents"]["in part"]), str(len(states["missing"]))


def third_party_table(results: Results) -> Iterator[str]:
    """Yield the lines of what somebody else's queues break."""
    yield from _where(results)
    yield "`ssq verify`, and `ssq stress` with four workers, a producer and the queue's own sweeper"
    yield "that are killed, stopped and misled about the time."
    yield ""
    yield _row("queue", "broken in turns", "under stress", "operations", "kills", "strikes inside a sweep")
    yield _row(":---", ":---", ":---", *["---:"] * 3)
    for run in results["runs"]:
        broken = (", ".join(run[way]) or "nothing" for way in ("in_turns", "stressed"))
        numbers = (f"{run[what]:,}" for what in ("operations", "kills", "sweeps_struck"))
        yield _row(f"`{run['subject']}`", *broken, *numbers)


def throughput_table(results: Results) -> Iterator[str]:
    """Yield the lines of how fast the queues are: a row a queue and load, beside what it was timed with."""
    yield "Medians of claim and ack pairs a minute; each run and its command: [THROUGHPUT.md](THROUGHPUT.md)."
    yield ""
    yield _row("queue", "backlog", "workers", "jobs/min", "ratio", "to", "claim p95")
    yield _row(":---", *["---:"] * 4, ":---", "---:")
    for run in results["runs"].values():
        first = run["rows"][0]["subject"]
        for row in run["rows"]:
            if row["subject"] != first:
                counts = (f"{row[name]:,}" for name in ("backlog", "workers", "jobs_min"))
                ratio, p95 = f"{row['times_first']:.2f}", f"{row['claim_p95_ms']:.2f} ms"
                yield _row(_named(row), *counts, ratio, SHORT.get(first, f"`{first}`"), p95)


def runs_table(results: Results) -> Iterator[str]:
    """Yield the lines of how fast the queues are: a table a run, under its command."""
    for run in results["runs"].values():
        where = run["environment"]
        yield f"`{run['command']}`, medians of {run['repeat']}, {where['cores']} cores,"
        yield f"{where['file_system']}, load average {where['load_average']} from other work at the start:"
        yield ""
        yield _row("queue", "backlog", "workers", "jobs/min", "x first", "claim p50", "p95", "p99")
        yield _row(":---", *["---:"] * 7)
        for row in run["rows"]:
            latencies = (f"{row[f'claim_{name}_ms']:.3f} ms" for name in ("p50", "p95", "p99"))
            counts = (f"{row[name]:,}" for name in ("backlog", "workers", "jobs_min"))
            yield _row(_named(row), *counts, f"{row['times_first']:.2f}", *latencies)
        yield ""


def _named(row: Results) -> str:
    name = SHORT.get(row["subject"], f"`{row['subject']}`")
    name += f", {row['batch']} a call" if row.get("batch", 1) > 1 else ""
    return f"{name} (broke {', '.join(row['broken'])})" if row["broken"] else name


def _found(result: Results) -> str:
    if result["complete"]:
        return f"search complete, not found ({result['seconds']:.2f} s)"
    if result["found"] == 0:
        return "not found"
    of = f"{result['found']} of {result['of']}"
    return f"{result['seconds']:.2f} s ({of})" if 2 * result["found"] > result["of"] else of


MEASURES: dict[str, Callable[..., list[Results]]] = {
    "judge": judged,
    "simulation": simulated,
    "comparison": compared,
    "power_losses": powerless,
    "million": milled,
    "third_party": adapted,
}
TABLES = {
    "judge": judge_table,
    "simulation": simulation_table,
    "comparison": comparison_table,
    "power_losses": power_losses_table,
    "million": million_table,
    "third_party": third_party_table,
    "throughput": throughput_table,
    "runs": runs_table,
}


def measured(name: str, *options: str) -> Results:
    """Run one benchmark; return its results and where they were measured."""
    load = round(os.getloadavg()[0], 1)
    where = {"python": platform.python_version(), "cores": os.cpu_count(), "load_average": load}
    return {**where, "runs": MEASURES[name](*options)}


def table(name: str) -> str:
    """Return kept results as a table in Markdown, under a line that says where they were measured."""
    kept = {"runs": "throughput"}.get(name, name)
    results = json.loads((RESULTS / f"{kept}.json").read_text(encoding="utf-8"))
    return "\n".join(TABLES[name](results)) + "\n"


def _where(results: Results) -> Iterator[str]:
    yield f"Python {results['python']}, {results['cores']} cores, load average {results['load_average']}"
    yield "from other work at the start."


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Measure, write or check, as asked; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", choices=MEASURES)
    parser.add_argument("--read", metavar="DIR", help="with --measure million: of a run that is over")
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    if asked.measure is not None:
        options = () if asked.read is None else ("--read", asked.read)
        results = json.dumps(measured(asked.measure, *options), indent=2)
        (RESULTS / f"{asked.measure}.json").write_text(results + "\n", encoding="utf-8")
    stale = [path for path in DOCUMENTS if not _is_written(path, is_only_checked=asked.check)]
    for path in stale:
        print(f"{path.name}: a table is out of date; run python benchmarks/readme.py", file=sys.stderr)
    return 1 if stale else 0


def _is_written(path: Path, *, is_only_checked: bool) -> bool:
    """Write a document's tables; or, with nothing written, find out whether they are as they should be."""
    text = path.read_text(encoding="utf-8")
    wanted = TABLE.sub(lambda found: found[1] + found[2] + table(found[1]), text)
    if not is_only_checked:
        path.write_text(wanted, encoding="utf-8")
    return wanted == text or not is_only_checked


if __name__ == "__main__":
    sys.exit(main())
