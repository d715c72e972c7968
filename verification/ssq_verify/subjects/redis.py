"""The Redis queue of this package, on Redis or Valkey: one script a transition, the server's clock."""

import hashlib
import os
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from ssq_core.redis import RedisWorkerQueue  # before its driver, which may be missing

import redis  # isort: skip

from ssq_core.queue import LeaseQueue
from ssq_core.redis_scripts import ASK_TIME, Script, keys
from ssq_verify import server_time, servers
from ssq_verify.server_time import InServerTime
from ssq_verify.servers import BY_SQL, Place
from ssq_verify.subject import Policy, Promises, subject

TOLD_TIME = "ARGV[#ARGV - 1], ARGV[#ARGV]"
"""What stands in a script for the server's clock where that can't be set."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InTurns:
    """One pool of connections for all the workers of this process, keys for each queue, a clock for all."""

    def __init__(self, place: Place) -> None:
        self.now = _EPOCH
        self.client = redis.Redis.from_url(place.url)
        self._place = place
        self._names: dict[Path, str] = {}

    def name(self, workdir: Path) -> str:
        """Return a queue's name, and drop those whose queue's folder has gone: nobody will ask for them."""
        if workdir not in self._names:
            for gone in [known for known in self._names if not known.exists()]:
                self.client.unlink(*keys(self._names.pop(gone)))
            self._names[workdir] = name_of(workdir, self._place)
        return self._names[workdir]

    def move(self, now: datetime) -> None:
        """Set the server's clock."""
        self.now = now
        if self._place.clock not in {None, BY_SQL}:
            server_time.show(Path(str(self._place.clock)), now)


class ToldTheTime(RedisWorkerQueue):
    """The queue on a server whose clock can't be set: each script is told the time instead of asking."""

    def __init__(self, shared: InTurns, **settings: Any) -> None:
        super().__init__(client=shared.client, **settings)
        asked = self._server.run

        def run(operation: str, script: Script, *args: Any) -> list[Any]:
            microseconds = (shared.now - _EPOCH) // timedelta(microseconds=1)
            return asked(operation, told(script), *args, *divmod(microseconds, 1_000_000))

        self._server.run = run  # type: ignore[method-assign]


@cache
def told(script: Script) -> Script:
    """Return a script that finds the time behind its other arguments."""
    return Script(text=script.text.replace(ASK_TIME, TOLD_TIME))


def name_of(workdir: Path, place: Place) -> str:
    """Return the name of the queue that a folder stands for, the same in each process."""
    return f"{place.area or 'ssq'}-{hashlib.sha256(bytes(workdir)).hexdigest()[:16]}"


_in_turns: dict[tuple[int, Place], InTurns] = {}
"""By process: a forked one has none of its parent's."""


PROMISES = Promises(order="fifo", max_clock_skew_seconds=None)
"""On a server that syncs each write before it answers, as the one that is started for it does."""


@subject(promises=PROMISES, server="redis")
def open_queue(workdir: Path, policy: Policy) -> LeaseQueue:
    """Open the queue for one worker, under a name of its own."""
    place = servers.place("redis")
    terms: dict[str, Any] = {"lease_ttl_seconds": policy.lease_ttl_seconds, "retry": policy.retry}
    if place.clock is None:
        return RedisWorkerQueue(place.url, name=name_of(workdir, place), **terms)
    shared = _in_turns.setdefault((os.getpid(), place), InTurns(place))
    terms["name"] = shared.name(workdir)
    queue = (
        ToldTheTime(shared, **terms)
        if place.clock == BY_SQL
        else RedisWorkerQueue(client=shared.client, **terms)
    )
    return InServerTime(queue, move=shared.move, time=policy.server_time)
