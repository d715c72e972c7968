"""How long did claims take while faults struck? From the histories of the rounds, each a histogram, added up.

A claim's latency is the time from its call until it returned a claim or None. One that never returned, or
raised, is not among them: how often that happened is in the counts of operations.
"""

from collections.abc import Iterable

import msgspec
from hdrh.histogram import HdrHistogram

from ssq_verify.history import EventType, History

LOWEST_US, HIGHEST_US, DIGITS = 1, 600_000_000, 3
"""From a microsecond to ten minutes, each to a thousandth of itself."""
HEALED = "heal"


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long claims took, in milliseconds."""

    claims: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


def claims(history: History) -> str:
    """Return the encoded histogram of the claims that returned before the faults ended."""
    healed = (event.time_ns for event in history.events if event.f == HEALED)
    until_ns = next(healed, None)
    histogram = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
    for operation in history.operations:
        if operation.f == "claim" and operation.outcome is EventType.OK:
            if until_ns is not None and operation.ret_ns > until_ns:
                continue
            histogram.record_value((operation.ret_ns - operation.inv_ns + 999) // 1_000)
    encoded: bytes = histogram.encode()
    return encoded.decode()


def added(encoded: Iterable[str]) -> str:
    """Return several encoded histograms as one; an empty text is that of no claim."""
    total: bytes = _total(encoded).encode()
    return total.decode()


def together(encoded: Iterable[str]) -> Latency | None:
    """Return what the claims of several histories come to; None if there were none."""
    total = _total(encoded)
    if not total.get_total_count():
        return None
    p50_ms, p95_ms, p99_ms = (total.get_value_at_percentile(share) / 1e3 for share in (50, 95, 99))
    return Latency(
        claims=total.get_total_count(),
        p50_ms=p50_ms,
        p95_ms=p95_ms,
        p99_ms=p99_ms,
        max_ms=total.get_max_value() / 1e3,
    )


def _total(encoded: Iterable[str]) -> HdrHistogram:
    total = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
    for each in encoded:
        if each:
            total.add(HdrHistogram.decode(each))
    return total
