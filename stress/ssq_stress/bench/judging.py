"""Did the queue keep its promises while it was timed? Its times become a history, judged like any other."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any

from ssq_stress.bench.times import Filled, Pair
from ssq_verify.history import Event, EventType, Header, History, Terms

JUDGED = frozenset({"bounded-retries", "fencing", "no-resurrection", "integrity", "linearizable"})
"""What a run without faults can break. A job is acked at once, so no claim is valid for long enough to see
another beside it; but two acks of one job are."""
LOST = "no-lost-job"

_Noted = tuple[int, str, EventType, str, dict[str, Any]]


def broken(
    subject: str, terms: Terms, filled: Sequence[Filled], pairs: Sequence[Pair], left: int | None
) -> tuple[str, ...]:
    """Return the invariants that a timed run broke; `left` is how many jobs the queue says it still has."""
    from ssq_verify import judge  # noqa: PLC0415 - it loads DuckDB

    found = judge.evidence(history(subject, terms, filled, pairs), only=JUDGED)
    names = [each.invariant for each in found if each.violation is not None]
    if left is not None and left != len(filled) - len({pair.job_id for pair in pairs}):
        names.append(LOST)
    return tuple(names)


def history(subject: str, terms: Terms, filled: Iterable[Filled], pairs: Sequence[Pair]) -> History:
    """Return what happened to all jobs that were claimed: jobs are independent of each other."""
    claimed = {pair.job_id for pair in pairs}
    mine = [*_enqueues(each for each in filled if each.job_id in claimed), *_claims(pairs)]
    # What a worker did at one instant stays in its order.
    mine.sort(key=itemgetter(0))
    events = tuple(
        Event(index=index, time_ns=time_ns, worker=worker, type=type_, f=f, **fields)
        for index, (time_ns, worker, type_, f, fields) in enumerate(mine)
    )
    return History(header=Header(subject=subject, terms=terms), events=events)


def _enqueues(filled: Iterable[Filled]) -> Iterator[_Noted]:
    for each in filled:
        # Many of one worker may have been under way at once.
        alone, fields = f"enqueue of {each.job_id}", {"job_id": each.job_id}
        yield each.asked_ns, alone, EventType.INVOKE, "enqueue", fields
        yield each.done_ns, alone, EventType.OK, "enqueue", fields


def _claims(pairs: Iterable[Pair]) -> Iterator[_Noted]:
    for _, together in groupby(pairs, key=attrgetter("worker", "asked_ns")):
        call = list(together)
        fields = [
            {"job_id": pair.job_id, "claim_id": pair.claim_id, "lane": lane} for lane, pair in enumerate(call)
        ]
        for about in fields:
            yield call[0].asked_ns, call[0].worker, EventType.INVOKE, "claim", {"lane": about["lane"]}
        for pair, about in zip(call, fields, strict=True):
            yield pair.claimed_ns, pair.worker, EventType.OK, "claim", about | {"attempt": pair.attempt}
        for type_, time_ns in ((EventType.INVOKE, call[0].claimed_ns), (EventType.OK, call[0].acked_ns)):
            for about in fields:
                yield time_ns, call[0].worker, type_, "ack", about
