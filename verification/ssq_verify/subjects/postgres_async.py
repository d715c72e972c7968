"""The PostgreSQL queue on a server that answers before it has written (`synchronous_commit=off`)."""

from dataclasses import replace
from pathlib import Path

from ssq_core.queue import LeaseQueue
from ssq_verify.subject import Policy, subject
from ssq_verify.subjects import postgres

PROMISES = replace(postgres.PROMISES, durability="none")
"""What returned is for a moment in the server's own memory alone: its death, too, undoes the last of it."""


@subject(promises=PROMISES, server="postgres", server_settings={"synchronous_commit": "off"})
def open_queue(workdir: Path, policy: Policy) -> LeaseQueue:
    """Open the queue for one worker."""
    return postgres.open_queue(workdir, policy)
