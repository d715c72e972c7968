"""The limit of Redis: one script for a claim, which moves a list's head to a hash, and one for an ack."""

import hashlib
from pathlib import Path
from typing import Any

from redis import Redis

from ssq_stress.bench.raw import RawClaim
from ssq_verify import servers
from ssq_verify.subject import Policy, Promises, subject

CLAIM = """
local id = redis.call('LPOP', KEYS[1])
if not id then return nil end
redis.call('HSET', KEYS[2], id, ARGV[1])
return {id, redis.call('HGET', KEYS[3], id)}
"""
ACK = "redis.call('HDEL', KEYS[2], ARGV[1]); redis.call('HDEL', KEYS[3], ARGV[1])"
ENQUEUE = """
for place = 1, #ARGV, 2 do
    redis.call('HSET', KEYS[3], ARGV[place], ARGV[place + 1])
    redis.call('RPUSH', KEYS[1], ARGV[place])
end
"""


class RawRedis:
    """A list of what waits, a hash of what is taken, a hash of payloads."""

    def __init__(self, url: str, name: str) -> None:
        self._keys = [f"{{{name}}}:{part}" for part in ("waiting", "taken", "payload")]
        client = Redis.from_url(url)
        self._claim, self._ack, self._enqueue = (
            client.register_script(text) for text in (CLAIM, ACK, ENQUEUE)
        )

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Push a job."""
        self.enqueue_many([(job_id, payload)])

    def enqueue_many(self, jobs: list[tuple[str, bytes]]) -> None:
        """Push jobs by one script."""
        self._enqueue(self._keys, [part for job in jobs for part in job])

    def claim(self, *, worker_id: str) -> RawClaim | None:
        """Pop the list's head."""
        found = self._claim(self._keys, [worker_id])
        return RawClaim(found[0].decode(), found[0].decode()) if found else None

    def ack(self, *, claim: RawClaim) -> None:
        """Forget the job."""
        self._ack(self._keys, [claim.claim_id])


@subject(promises=Promises(lease=False, fencing=False, max_attempts=None), server="redis")
def open_limit(workdir: Path, _policy: Policy) -> Any:
    """Open the lists for one process."""
    name = f"raw-{hashlib.sha256(bytes(workdir)).hexdigest()[:16]}"
    return RawRedis(servers.place("redis").url, name)
