"""huey 3.5.4 in a folder, the storage of `FileHuey`: a file a task, one lock around each operation."""

from pathlib import Path
from typing import Any

from huey import FileHuey

from ssq_verify.subject import Policy, subject
from ssq_verify.subjects.huey_sqlite import PROMISES, HueyAdapter


@subject(promises=PROMISES, clock="system")
def open_queue(workdir: Path, policy: Policy) -> Any:
    """Open the folder for one worker."""
    return HueyAdapter(FileHuey("ssq", path=str(workdir / "huey")), policy)
