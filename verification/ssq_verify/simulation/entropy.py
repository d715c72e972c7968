"""Where do random numbers come from? From the worker's own generator, which the run's seed makes.

The functions of `random` draw, as in a process, from one generator of the worker's, which it may seed;
`os.urandom` and what rests on it (`secrets`, `uuid4`, `SystemRandom`) from another, which it can not.
"""

import os
import random
import tempfile
import uuid
from typing import Any

from ssq_verify.simulation.replacement import Call, Handler, replace
from ssq_verify.simulation.world import Worker, current

NODE = 0x02_00_00_00_00_01
"""The host's network address, as `uuid.getnode` tells it."""

UUIDS = {
    "uuid1": ("_last_timestamp",),
    "uuid6": ("_last_timestamp_v6",),
    "uuid7": ("_last_timestamp_v7", "_last_counter_v7"),
}
"""What the functions of `uuid` remember for a process."""

_seed = random.Random.seed
_NAMES = "names of temporary files"
_MODULE = "random"


def functions() -> tuple[str, ...]:
    """Return the functions of `random` that draw from the generator of the process."""
    own = random._inst  # noqa: SLF001 - whose methods they are
    return tuple(
        name
        for name in random.__all__
        if getattr(getattr(random, name), "__self__", None) is own and hasattr(random.Random, name)
    )


def install() -> None:
    """Replace what draws."""
    # So that no worker is the one whose first temporary file looks for a folder for all of them.
    tempfile.gettempdir()
    for name in functions():
        replace(random, name, _drawn(name))
    replace(os, "urandom", _urandom)
    replace(random, "_urandom", _urandom)
    replace(os, "getrandom", _urandom)
    random.Random.seed = _seeded  # type: ignore[method-assign]
    replace(tempfile, "_get_candidate_names", _candidate_names)
    replace(uuid, "getnode", lambda _worker, _real: NODE)
    for name, memories in UUIDS.items():
        replace(uuid, name, _remembering(memories))


def _urandom(worker: Worker, _real: Call, size: int, flags: int = 0) -> bytes:  # noqa: ARG001 - of getrandom
    return worker.random.randbytes(size)


def _seeded(self: random.Random, a: Any = None, version: int = 2) -> None:
    """Seed as ever; in a worker what has no seed gets one from it."""
    worker = current() if a is None else None
    if worker is not None:
        a = worker.random.getrandbits(256)
    _seed(self, a, version)


def _drawn(name: str) -> Handler:
    def handler(worker: Worker, _real: Call, *args: Any, **kwargs: Any) -> Any:
        if _MODULE not in worker.own:
            worker.own[_MODULE] = random.Random()  # noqa: S311 - stands for the module's own
        return getattr(worker.own[_MODULE], name)(*args, **kwargs)

    return handler


def _candidate_names(worker: Worker, _real: Call) -> Any:
    if _NAMES not in worker.own:
        worker.own[_NAMES] = tempfile._RandomNameSequence()  # type: ignore[attr-defined]  # noqa: SLF001 - one a process
    return worker.own[_NAMES]


def _remembering(memories: tuple[str, ...]) -> Handler:
    def handler(worker: Worker, real: Call, *args: Any, **kwargs: Any) -> Any:
        for memory in memories:
            setattr(uuid, memory, worker.own.get(memory))
        try:
            return real(*args, **kwargs)
        finally:
            for memory in memories:
                worker.own[memory] = getattr(uuid, memory)

    return handler
