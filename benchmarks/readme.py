"""Which numbers stand in the README? Those in `benchmarks/results/`, as a table between two markers.

python benchmarks/readme.py --measure   measures (some minutes), keeps the results, writes the table
python benchmarks/readme.py             writes the table from the kept results
python benchmarks/readme.py --check     ends with 1 if the README's table is another
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks/results/judge.json"
SIZES = (10_000, 100_000, 1_000_000)
TABLE = re.compile(
    r"(?<=<!-- table: judge \(benchmarks/readme\.py\) -->\n).*?(?=<!-- end -->)", flags=re.DOTALL
)


def measured() -> dict[str, Any]:
    """Run the judge's benchmark at each size, each in a process of its own."""
    load = round(os.getloadavg()[0], 1)
    runs = []
    for size in SIZES:
        command = [sys.executable, ROOT / "benchmarks/judge.py", "--operations", str(size), "--json"]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own
        runs.append(json.loads(output))
    return {"python": platform.python_version(), "cores": os.cpu_count(), "load_average": load, "runs": runs}


def table(results: dict[str, Any]) -> str:
    """Return the results as a table in Markdown, under a line that says where they were measured."""
    lines = [
        f"Python {results['python']}, {results['cores']} cores, load average {results['load_average']}",
        "from other work at the start. A history with overlapping operations of twelve workers is read,",
        "loaded and judged by every SQL invariant, and by the exact check.",
        "",
        _row(
            "operations",
            "read",
            "load",
            "SQL invariants",
            "operations/s",
            "peak memory",
            "exact, operations/s",
        ),
        _row(*["---:"] * 7),
    ]
    return "\n".join([*lines, *(_run(run) for run in results["runs"])]) + "\n"


def _run(run: dict[str, Any]) -> str:
    seconds = (f"{run[part]:.2f} s" for part in ("read_seconds", "load_seconds", "sql_seconds"))
    rates = (f"{run[part]:,}" for part in ("operations_per_second", "exact_operations_per_second"))
    judged, exact = rates
    return _row(f"{run['operations']:,}", *seconds, judged, f"{run['peak_rss_mb']:,} MB", exact)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Measure, write or check, as asked; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    if asked.measure:
        RESULTS.write_text(json.dumps(measured(), indent=2) + "\n", encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    wanted = TABLE.sub(lambda _: table(json.loads(RESULTS.read_text(encoding="utf-8"))), text)
    if asked.check and wanted != text:
        print("README.md: its table is out of date; run python benchmarks/readme.py", file=sys.stderr)
        return 1
    README.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
