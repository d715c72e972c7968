"""How is a subject opened for one worker? By its factory; what is wrong with that is told in one line."""

from pathlib import Path

from ssq_core.queue import Clock, WorkerQueue, utc_now
from ssq_verify.scenario import Settings
from ssq_verify.simulation.point import NotSimulatable
from ssq_verify.subject import Policy, Subject, SubjectFailed

NEEDED = ("enqueue", "claim", "ack")
"""What a queue can not lack; without the others less is judged."""


def policy(
    settings: Settings, *, clock: Clock = utc_now, server_time: Clock = utc_now, has_sweeper: bool = False
) -> Policy:
    """Return what a queue is asked for by a scenario's settings, for a worker with this clock."""
    return Policy(
        lease_ttl_seconds=settings.lease_ttl_seconds,
        retry=settings.retry,
        max_clock_skew_seconds=settings.max_clock_skew_seconds,
        clock=clock,
        server_time=server_time,
        has_sweeper=has_sweeper,
    )


def opened(subject: Subject, workdir: Path, asked: Policy, *, name: str) -> WorkerQueue:
    """Open the queue for one worker. Raises `SubjectFailed`, `NotSimulatable`."""
    try:
        queue = subject.factory(workdir, asked)
    except NotSimulatable:
        raise
    # Were `sys.exit` let through, its code would be taken for a verdict.
    except (Exception, SystemExit) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise _failed(subject, name, f"raised {told}") from error
    missing = [each for each in NEEDED if not callable(getattr(queue, each, None))]
    if missing:
        raise _failed(subject, name, f"gave a {type(queue).__name__} without {', '.join(missing)}")
    return queue


def _failed(subject: Subject, name: str, what: str) -> SubjectFailed:
    expected = "a factory takes (workdir: Path, policy: Policy) and returns a queue"
    return SubjectFailed(f"{subject.reference}: opening it for {name} {what}; {expected}")
