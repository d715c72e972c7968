"""How long did operations take? A histogram of HDR, which adds up over rounds, and the shares that are shown.

A claim's latency is the time from its call until it returned a claim or None. One that never returned, or
raised, is not among them: how often that happened is in the counts of operations.
"""

from collections.abc import Iterable

import msgspec
from hdrh.histogram import HdrHistogram

from ssq_verify.history import Event, EventType, History, Operation

LOWEST_NS, HIGHEST_NS, DIGITS = 1, 3_600_000_000_000, 3
"""From a nanosecond to an hour, each to a thousandth of itself."""
HEALED = "heal"


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long operations took, in milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


def histogram(nanoseconds: Iterable[int]) -> HdrHistogram:
    """Return so many durations as a histogram."""
    found = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
    for value in nanoseconds:
        found.record_value(max(LOWEST_NS, value))
    return found


def encoded(found: HdrHistogram) -> str:
    """Return a histogram as text: compressed, in base64."""
    text: bytes = found.encode()
    return text.decode()


def summary(found: HdrHistogram) -> Latency:
    """Return what is shown of a histogram; all is 0 where nothing was recorded."""
    p50, p95, p99, p999 = (found.get_value_at_percentile(share) / 1e6 for share in (50, 95, 99, 99.9))
    return Latency(
        count=found.get_total_count(),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        p999_ms=p999,
        max_ms=found.get_max_value() / 1e6,
    )


def claims(history: History) -> str:
    """Return the encoded histogram of the claims that returned before the faults ended."""
    healed_ns = _healed_ns(history.events)
    return encoded(
        histogram(
            operation.ret_ns - operation.inv_ns
            for operation in history.operations
            if _is_returned_claim(operation) and (healed_ns is None or operation.ret_ns <= healed_ns)
        )
    )


def added(texts: Iterable[str]) -> str:
    """Return several encoded histograms as one; an empty text is that of no claim."""
    return encoded(_total(texts))


def together(texts: Iterable[str]) -> Latency | None:
    """Return what the claims of several histories come to; None if there were none."""
    total = summary(_total(texts))
    return total if total.count else None


def _is_returned_claim(operation: Operation) -> bool:
    # A call with many jobs is one claim as to its time.
    return operation.f == "claim" and operation.outcome is EventType.OK and operation.lane == 0


def _healed_ns(events: Iterable[Event]) -> int | None:
    return next((event.time_ns for event in events if event.f == HEALED), None)


def _total(texts: Iterable[str]) -> HdrHistogram:
    total = histogram(())
    for text in texts:
        if text:
            total.add(HdrHistogram.decode(text))
    return total
