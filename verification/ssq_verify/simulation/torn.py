"""What may a file contain whose last writes were not synced? Its versions, and what half of a write leaves.

A file's size and its data reach the disk apart from each other. With a journal the data of a new block come
first; but what is appended to a block that the file already has is only more of that block, and nothing waits
for it: the new size may be there, and zeros where the data belong, even those of several appends. Real losses
on ext4 have shown that. Where nothing is promised, a new file, too, may have its size and read as zeros.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

BLOCK_BYTES = 4096
"""Of ext4, by default."""


def possible_contents(versions: Sequence[bytes], *, sized: int, journaled: bool) -> list[bytes]:
    """Return what a file may contain, the newest first, the last synced content last.

    Of so many of its versions the size may have survived without the data.
    """
    states = [versions[0]]
    for place, (before, after) in enumerate(pairwise(versions), start=1):
        if len(after) >= len(before):
            states += _holes(versions[:place], len(after), journaled=journaled) if place < sized else ()
            states += _halves(before, after)
        states.append(after)
    return list(dict.fromkeys(reversed(states)))


def _holes(earlier: Sequence[bytes], length: int, *, journaled: bool) -> Iterator[bytes]:
    """Yield contents, since the file was last truncated, with zeros up to a later size."""
    shrunk = [place for place, (old, new) in enumerate(pairwise(earlier), start=1) if len(new) < len(old)]
    for content in earlier[shrunk[-1] if shrunk else 0 :]:
        room = min(length - len(content), -len(content) % BLOCK_BYTES if journaled else length)
        if room:
            yield content + bytes(room)


def _halves(before: bytes, after: bytes) -> Iterator[bytes]:
    """Yield what a write may leave that was cut: its first half, all but its last byte."""
    pairs = enumerate(zip(before, after, strict=False))
    common = next((place for place, (old, new) in pairs if old != new), len(before))
    for end in ((common + len(after)) // 2, len(after) - 1):
        yield after[:end] + before[end:]
