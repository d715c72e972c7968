"""The Redis queue on a server that keeps snapshots alone, once a minute: its death undoes what came after."""

from dataclasses import replace
from pathlib import Path

from ssq_core.queue import LeaseQueue
from ssq_verify.subject import Policy, subject
from ssq_verify.subjects import redis

PROMISES = replace(redis.PROMISES, durability="none")


@subject(promises=PROMISES, server="redis", server_settings={"appendonly": "no", "save": "60 1"})
def open_queue(workdir: Path, policy: Policy) -> LeaseQueue:
    """Open the queue for one worker."""
    return redis.open_queue(workdir, policy)
