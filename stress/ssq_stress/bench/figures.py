"""How fast was it? From the times of all processes to throughput, and to latencies as an HDR histogram.

Latency runs from the instant at which a claim was due, so that in open loop a stall is not hidden by the
claims that it kept from being asked for (coordinated omission; Tene, "How NOT to Measure Latency", 2013).
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from statistics import median

import msgspec

from ssq_stress.bench.load import Load
from ssq_stress.bench.times import Effort, Filled, Pair
from ssq_stress.latency import Latency, encoded, histogram, summary


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one measurement showed."""

    claims: int
    elapsed_s: float
    """From the first claim's beginning to the last ack's end."""
    claim: Latency
    ack: Latency
    histogram: str
    """Of the claims' latencies in nanoseconds, HDR, compressed, in base64."""
    empty_claims: int
    enqueued: int
    fill_s: float
    cpu_s: float
    """Of all workers together, without a server's."""
    peak_mb: float
    """Of the worker that needed the most."""
    batch: int = 1
    """How many jobs a call was about, at most."""
    broken: tuple[str, ...] = ()
    """Invariants that this very run broke: its figures are not those of a queue that keeps its promises."""

    @property
    def jobs_s(self) -> float:
        """Claim and ack pairs a second."""
        return self.claims / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def jobs_min(self) -> float:
        """Throughput: claim and ack pairs a minute."""
        return 60 * self.jobs_s

    @property
    def enqueues_s(self) -> float:
        """Enqueues a second, by as many producers as there are workers."""
        return self.enqueued / self.fill_s if self.fill_s else 0.0


def figures(pairs: Sequence[Pair], efforts: Sequence[Effort], filled: Sequence[Filled]) -> Figures:
    """Return what a run's times come to."""
    calls = _calls(pairs)
    answered = (pair.claimed_ns - pair.due_ns for pair in calls)
    claims = histogram(chain(answered, *(effort.empty_ns for effort in efforts)))
    return Figures(
        claims=len(pairs),
        elapsed_s=_span((pair.due_ns, pair.acked_ns) for pair in pairs),
        claim=summary(claims),
        ack=summary(histogram(pair.acked_ns - pair.claimed_ns for pair in calls)),
        histogram=encoded(claims),
        empty_claims=sum(len(effort.empty_ns) for effort in efforts),
        enqueued=len(filled),
        fill_s=_span((each.asked_ns, each.done_ns) for each in filled),
        cpu_s=sum(effort.cpu_seconds for effort in efforts),
        peak_mb=max((effort.peak_bytes for effort in efforts), default=0) / 1e6,
    )


def _calls(pairs: Sequence[Pair]) -> list[Pair]:
    """Return a pair for each call: one with many jobs took its time once."""
    return list({(pair.worker, pair.asked_ns): pair for pair in pairs}.values())


def middle(values: Iterable[Figures]) -> Figures:
    """Return the measurement whose throughput is the median; of two, the lower."""
    ordered = sorted(values, key=lambda each: each.jobs_s)
    return ordered[(len(ordered) - 1) // 2]


def ratio(own: Sequence[Figures], base: Sequence[Figures]) -> float:
    """Return how many times faster, by the median of the turns in which both were measured."""
    each = [mine.jobs_s / other.jobs_s for mine, other in zip(own, base, strict=True) if other.jobs_s]
    return median(each) if each else 0.0


def result_line(figure: Figures, load: Load) -> str:
    """Return the line that scripts read."""
    return (
        f"result queued_jobs={load.backlog} claims={figure.claims} workers={load.workers} "
        f"elapsed_s={figure.elapsed_s:.3f} jobs_s={figure.jobs_s:.1f} jobs_min={figure.jobs_min:.0f} "
        f"claim_p50_ms={figure.claim.p50_ms:.3f} claim_p95_ms={figure.claim.p95_ms:.3f} "
        f"claim_p99_ms={figure.claim.p99_ms:.3f}"
    )


def _span(intervals: Iterable[tuple[int, int]]) -> float:
    begun, ended = None, 0
    for start, end in intervals:
        begun = start if begun is None else min(begun, start)
        ended = max(ended, end)
    return 0.0 if begun is None else (ended - begun) / 1e9
