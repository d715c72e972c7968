"""What was run for an issue, and what came of it? A dated block is added to the issue's file."""

import shlex
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ssq_verify.whole import whole

FOLDER = Path("openspec/_ops/task_runs")
PLAN, RUNS = "## Plan", "## Runs"


def block(
    *, title: str, command: Sequence[str], key_output: Iterable[str], evidence: Iterable[str], at: datetime
) -> str:
    """Return what is added: command, key output, evidence."""
    shown = "\n".join(f"  {line}" for line in key_output)
    proof = "\n".join(f"  - {line}" for line in evidence)
    return (
        f"### {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC {title}\n\n"
        f"- Command: `{shlex.join(command)}`\n"
        f"- Key output:\n\n  ```\n{shown}\n  ```\n\n"
        f"- Evidence:\n{proof}\n"
    )


def append(number: int, text: str, *, folder: Path = FOLDER) -> Path:
    """Add a block to an issue's file, made if it is missing; return the file. Raises `OSError`."""
    path = folder / f"ISSUE-{number}.md"
    folder.mkdir(parents=True, exist_ok=True)
    known = path.read_text() if path.exists() else f"# ISSUE-{number}\n\n{PLAN}\n\n{RUNS}\n"
    with whole(path) as draft:
        draft.write_text(f"{known.rstrip()}\n\n{text}")
    return path
