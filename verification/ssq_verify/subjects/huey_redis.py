"""huey 3.5.4 on Redis, the storage of `RedisHuey`: a list of tasks, a sorted set of what is scheduled.

The driver does not try again by itself: a second LPUSH would be a second task. `huey-redis@3.4.0` is judged
by the same adapter.
"""

import hashlib
from pathlib import Path
from typing import Any

import redis
from huey import RedisHuey
from redis.backoff import NoBackoff
from redis.retry import Retry

from ssq_verify import servers
from ssq_verify.subject import Policy, subject
from ssq_verify.subjects.huey_sqlite import PROMISES, HueyAdapter


@subject(promises=PROMISES, server="redis")
def open_queue(workdir: Path, policy: Policy) -> Any:
    """Open the queue for one worker, under a name of its own."""
    place = servers.place("redis")
    pool = redis.ConnectionPool.from_url(place.url, retry=Retry(NoBackoff(), 0))
    name = f"{place.area or 'ssq'}{hashlib.sha256(bytes(workdir)).hexdigest()[:16]}"
    return HueyAdapter(RedisHuey(name, connection_pool=pool, blocking=False), policy)
