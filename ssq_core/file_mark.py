"""What does a queue folder's `version` say once its jobs move? Words, which older code refuses."""

import re

from ssq_core.stored import Mark

_MARK = re.compile(r"(migrating|migrated) ([0-9a-f]{16}) (.+)\n?", re.DOTALL)


def written(mark: Mark) -> bytes:
    """Return the content of `version`."""
    word = "migrated" if mark.is_complete else "migrating"
    return f"{word} {mark.token} {mark.destination}\n".encode(errors="surrogateescape")


def parsed(content: bytes) -> Mark | None:
    """Return what a content of `version` says of a move, None if nothing."""
    found = _MARK.fullmatch(content.decode(errors="surrogateescape"))
    if found is None:
        return None
    return Mark(token=found[2], destination=found[3].rstrip("\n"), is_complete=found[1] == "migrated")
