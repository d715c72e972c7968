"""What does `ssq migrate` say? How many jobs moved, as what, and what to do next."""

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

from ssq_stress.command.console import BadInput, migration_shown, say, say_json
from ssq_verify.verdict import EXIT_OK

if TYPE_CHECKING:
    from ssq_core.migration import Migration
    from ssq_core.stored import Destination, Moved, Source

GOES_ON = "the same command goes on from there"


def migrate(
    source: str, destination: str, *, table: str | None, skew_seconds: float, is_dry: bool, as_json: bool
) -> int:
    """Move a stopped queue's jobs. Raises `BadInput`."""
    from ssq_core.migration import destination_at, source_at  # noqa: PLC0415 - other commands need no queue
    from ssq_core.queue import QueueError  # noqa: PLC0415 - as above

    if not math.isfinite(skew_seconds):
        raise BadInput(f"--skew {skew_seconds}: give 0 or more, and a finite number")
    try:
        giving = source_at(source, skew_seconds=skew_seconds)
        try:
            if is_dry:
                return _counted(giving, as_json=as_json)
            taking = destination_at(destination, name=table)
            try:
                return _moved(giving, taking, as_json=as_json)
            finally:
                taking.close()
        finally:
            giving.close()
    except (QueueError, ValueError) as error:
        raise BadInput(" ".join(str(error).split())) from error


def _counted(source: "Source", *, as_json: bool) -> int:
    mark, jobs = source.mark(), source.count()
    if as_json:
        say_json({"source": source.where, "jobs": jobs, "is_dry_run": True})
    elif mark is None:
        say([f"{_many(jobs)} would move from {source.where}; nothing was changed"])
    else:
        state = "have moved" if mark.is_complete else "are on their way"
        say([f"{_many(jobs)} of {source.where} {state} to {mark.destination}; nothing was changed"])
    return EXIT_OK


def _moved(source: "Source", destination: "Destination", *, as_json: bool) -> int:
    from ssq_core import migration  # noqa: PLC0415 - as above
    from ssq_core.queue import OutcomeUnknown, QueueIOError, QueueUnavailable  # noqa: PLC0415 - as above

    try:
        with migration_shown() as tell:
            ended = migration.migrate(source, destination, tell=tell)
    except (OutcomeUnknown, QueueUnavailable, QueueIOError) as error:
        raise BadInput(f"{error.operation} stopped: {error.reason}; nothing is lost, {GOES_ON}") from error
    if as_json:
        say_json(_document(source, destination, ended))
    else:
        say(_lines(source, destination, ended))
    return EXIT_OK


def _lines(source: "Source", destination: "Destination", ended: "Migration") -> list[str]:
    moved = ended.moved
    jobs = moved.queued + moved.resting + moved.dead
    states = f"{moved.queued:,} queued, {moved.resting:,} resting, {moved.dead:,} dead"
    before = " (by an earlier run; there was nothing left to do)" if ended.was_complete else ""
    lines = [f"{_many(jobs)} moved: {states}; in their order{before}"]
    if moved.met:
        lines.append(f"{moved.met:,} were enqueued there meanwhile, under the same id: those stand")
    if moved.damaged:
        lines.append(f"{moved.damaged:,} could not be read, and stay in {source.where}")
    return [
        *lines,
        f"next: start the workers on {destination.where}; {source.where} is kept, and refuses them",
    ]


def _document(source: "Source", destination: "Destination", ended: "Migration") -> dict[str, object]:
    moved: Moved = ended.moved
    counts = {name: count for name, count in asdict(moved).items() if name != "position"}
    jobs = moved.queued + moved.resting + moved.dead
    ends = {"source": source.where, "destination": destination.where}
    return ends | {"jobs": jobs} | counts | {"was_complete": ended.was_complete}


def _many(jobs: int) -> str:
    return f"{jobs:,} job" if jobs == 1 else f"{jobs:,} jobs"
