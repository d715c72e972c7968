"""Which failures has a night seen? Each once, however often it came, the most telling first.

Two violations are taken for one failure if they break the same promise by the same events in the same order.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ssq_stress.processes.effects import PROMISE
from ssq_stress.record import Record
from ssq_verify import judge
from ssq_verify.history import Event

SIGHTINGS_MAX = 3
FAILURES_MAX = 50
"""More than a person will read; of a queue that breaks in more ways, those of the last rank are not told."""
ORDER = {name: place for place, name in enumerate([*judge.IDS[:1], PROMISE, *judge.IDS[1:]])}


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """One watch that shows a failure."""

    watch: int
    events: int
    """In the witness: the fewer, the easier to understand."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which a queue broke."""

    invariant: str
    shape: tuple[str, ...]
    """The witness, but for who did it to what, and when."""
    count: int
    """In how many watches."""
    sentence: str
    """Of its shortest sighting."""
    sightings: tuple[Sighting, ...]
    """The shortest of them."""


def seen_in(record: Record, watch: int) -> list[Failure]:
    """Return the failures of one watch."""
    violations = [each.violation for each in record.evidence if each.violation is not None]
    found = [(each.invariant, each.sentence, each.witness) for each in violations]
    if record.clashes:
        shortest = min(record.clashes, key=lambda clash: len(clash.witness))
        found.append((PROMISE, shortest.sentence, shortest.witness))
    return [_failure(name, sentence, witness, watch) for name, sentence, witness in found]


def folded(known: Iterable[Failure], found: Iterable[Failure]) -> tuple[Failure, ...]:
    """Return all failures, those that are one put together, in the order of their rank."""
    by_shape: dict[tuple[str, tuple[str, ...]], Failure] = {}
    for each in [*known, *found]:
        key = each.invariant, each.shape
        by_shape[key] = _joined(by_shape[key], each) if key in by_shape else each
    return tuple(sorted(by_shape.values(), key=_rank)[:FAILURES_MAX])


def worth_keeping(failures: Sequence[Failure], bytes_of: Mapping[int, int], *, bytes_max: int) -> set[int]:
    """Return whose histories are kept: one of each failure, then a second one, while there is room."""
    kept: set[int] = set()
    left = bytes_max
    for nth in range(SIGHTINGS_MAX):
        for failure in failures:
            for sighting in failure.sightings[nth : nth + 1]:
                size = 0 if sighting.watch in kept else bytes_of.get(sighting.watch, 0)
                if size <= left:
                    kept.add(sighting.watch)
                    left -= size
    return kept


def _failure(name: str, sentence: str, witness: tuple[Event, ...], watch: int) -> Failure:
    return Failure(
        invariant=name,
        shape=tuple(f"{event.f} {event.type}" for event in witness),
        count=1,
        sentence=sentence,
        sightings=(Sighting(watch=watch, events=len(witness)),),
    )


def _joined(one: Failure, other: Failure) -> Failure:
    first = min(one, other, key=lambda each: each.sightings[0].events)
    sightings = sorted([*one.sightings, *other.sightings], key=lambda each: (each.events, each.watch))
    return msgspec.structs.replace(
        first, count=one.count + other.count, sightings=tuple(sightings[:SIGHTINGS_MAX])
    )


def _rank(failure: Failure) -> tuple[int, int, int]:
    """By the promise, then by how short it is to tell, then by how often it came."""
    place = ORDER.get(failure.invariant, len(ORDER))
    return place, failure.sightings[0].events, -failure.count
