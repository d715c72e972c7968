"""At which system calls can a worker be stopped? Those named get a stand-in before the queue is imported."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from ssq_verify.standalone.answers import WORKDIR
from ssq_verify.standalone.turns import point

PATHS = {"os.rename": (0, 1), "os.replace": (0, 1), "os.link": (0, 1), "os.symlink": (1,)}
abspath, readlink = os.path.abspath, os.readlink


def stop_at(calls: Iterable[str]) -> None:
    """Let the workers stop at these calls within the working folder."""
    for call in calls:
        module, _, name = call.partition(".")
        if module == "os" and hasattr(os, name):
            setattr(os, name, with_point(call, getattr(os, name)))


def with_point(call: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is a point, and then the real one."""

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        if any(is_inside(args[place]) for place in PATHS.get(call, (0,)) if place < len(args)):
            point(call)
        return real(*args, **kwargs)

    return stand_in


def is_inside(place: Any) -> bool:
    """Whether a path, or a descriptor, leads into the working folder."""
    try:
        path = readlink(f"/proc/self/fd/{place}") if isinstance(place, int) else abspath(os.fsdecode(place))
    except (OSError, TypeError):
        return False
    return f"{path}/".startswith(f"{WORKDIR}/")
