"""Are the README's tables made of what was measured, and does the comparison say what each way found?"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WAYS = {"ssq", "frontrun (DPOR)", "frontrun (random)", "hypothesis alone", "processes, repeated"}
BUGS = {"killed inside claim", "claim meets half an enqueue", "ack of a superseded claim"}


@pytest.fixture(scope="module")
def readme():
    """Load the script that makes the tables."""
    spec = importlib.util.spec_from_file_location("benchmarks_readme", ROOT / "benchmarks/readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compared(**found):
    """Return the results of a comparison of one way on one defect."""
    result = {"found": 0, "of": 5, "seconds": 1.234, "complete": False} | found
    run = {"way": "a way", "limit_seconds": 20.0, "bugs": {"a defect": result}}
    return {"python": "3.11.7", "cores": 2, "load_average": 0.5, "runs": [run]}


@pytest.mark.scenario("measurements/what-each-way-found")
@pytest.mark.parametrize(
    ("found", "cell"),
    [
        ({"found": 5}, "1.23 s (5 of 5)"),
        ({"found": 2}, "2 of 5"),
        ({"found": 0}, "not found"),
        ({"found": 0, "complete": True}, "search complete, not found (1.23 s)"),
    ],
    ids=["by most", "by few", "by none", "sure that there is none"],
)
def test_a_cell_says_what_was_found(readme, found, cell):
    """A median is shown only where most seeds have one, and a search that ended is no search that was cut."""
    *_, row = readme.comparison_table(compared(**found))

    assert row == f"| a way | {cell} |"


def test_a_row_says_how_fast_a_queue_is_and_whether_that_counts(readme):
    """The run's command stands above it, and what was broken beside the queue's name."""
    row = {"subject": "a queue", "backlog": 2_000, "workers": 4, "jobs_min": 61_234, "times_first": 0.5}
    row |= {"claim_p50_ms": 0.1, "claim_p95_ms": 0.25, "claim_p99_ms": 4.0, "broken": ["no-lost-job"]}
    where = {"cores": 2, "file_system": "ext4", "load_average": 0.1}
    run = {"command": "ssq bench it", "repeat": 5, "environment": where, "rows": [row]}
    lines = list(readme.runs_table({"runs": {"a run": run}}))

    assert lines[0].startswith("`ssq bench it`, medians of 5")
    assert lines[-2] == (
        "| `a queue` (broke no-lost-job) | 2,000 | 4 | 61,234 | 0.50 | 0.100 ms | 0.250 ms | 4.000 ms |"
    )


@pytest.mark.scenario("measurements/each-way-on-each-defect")
def test_each_way_was_tried_on_each_defect():
    """No cell of the comparison is empty, and all searches had the same time."""
    kept = json.loads((ROOT / "benchmarks/results/comparison.json").read_text(encoding="utf-8"))

    assert {run["way"] for run in kept["runs"]} == WAYS
    assert all(set(run["bugs"]) == BUGS for run in kept["runs"])
    assert len({run["limit_seconds"] for run in kept["runs"]}) == 1


@pytest.mark.scenario("measurements/a-table-from-kept-results")
def test_a_table_that_was_changed_by_hand_is_noticed(tmp_path):
    """The README's own tables are those of the kept results, and one number more is one too many."""
    for folder in ("benchmarks", "benchmarks/results"):
        (tmp_path / folder).mkdir()
    kept = (ROOT / "benchmarks/results").glob("*.json")
    for path in ["benchmarks/readme.py", *kept, "README.md", "THROUGHPUT.md"]:
        copied = (ROOT / path).relative_to(ROOT)
        (tmp_path / copied).write_bytes((ROOT / path).read_bytes())

    assert checked(tmp_path).returncode == 0

    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(text.replace("(5 of 5)", "(4 of 5)", 1), encoding="utf-8")
    refused = checked(tmp_path)
    assert refused.returncode == 1
    assert "out of date" in refused.stderr


def checked(folder):
    """Compare the README of a folder with the results that are kept there."""
    script = [sys.executable, folder / "benchmarks/readme.py", "--check"]
    return subprocess.run(script, cwd=folder, check=False, capture_output=True, text=True)
