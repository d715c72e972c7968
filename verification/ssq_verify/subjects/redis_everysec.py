"""The Redis queue on a server that syncs its log once a second (`appendfsync everysec`, as is usual).

After a loss of power the server may refuse its log, until `valkey-check-aof --fix` has cut off its end.
Whoever takes the power away does that (`ssq_stress.power.resident`), and counts how often.
"""

from dataclasses import replace
from pathlib import Path

from ssq_core.queue import LeaseQueue
from ssq_verify.subject import Policy, subject
from ssq_verify.subjects import redis

PROMISES = replace(redis.PROMISES, durability="process-crash")


@subject(promises=PROMISES, server="redis", server_settings={"appendfsync": "everysec"})
def open_queue(workdir: Path, policy: Policy) -> LeaseQueue:
    """Open the queue for one worker."""
    return redis.open_queue(workdir, policy)
