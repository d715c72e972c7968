"""Is it fast enough? The two tiers of the contract, as limits that a run passes or fails."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from ssq_stress.bench.load import Load
from ssq_stress.bench.series import Series
from ssq_verify.subject import Subject

MIGRATE_TO = "postgresql://… or redis://… (`ssq migrate SOURCE DESTINATION`)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tier:
    """What a queue must reach, and under which load."""

    number: int
    workers: int
    backlog: int
    jobs_min: float
    p95_ms: float
    is_embedded: bool
    """Meant for a queue without a server: past its limits it is time for one."""


TIERS = {
    0: Tier(number=0, workers=4, backlog=2_000, jobs_min=20.0, p95_ms=250.0, is_embedded=True),
    1: Tier(number=1, workers=10, backlog=20_000, jobs_min=100.0, p95_ms=200.0, is_embedded=False),
}


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one series reached a tier, and what it missed."""

    tier: int
    subject: str
    workers: int
    backlog: int
    missed: tuple[str, ...]
    advice: str = ""

    @property
    def is_passed(self) -> bool:
        """Whether it missed nothing."""
        return not self.missed


def fits(tier: Tier, load: Load) -> bool:
    """Whether a load is one that the tier speaks of."""
    if tier.is_embedded:
        return load.workers <= tier.workers and load.backlog <= tier.backlog
    return load.workers >= tier.workers


def judged(tier: Tier, series: Series, subject: Subject) -> Judgement:
    """Return whether a series reaches a tier; figures of a queue that broke its promises do not count."""
    missed = tuple(_missed(tier, series))
    is_past = tier.is_embedded and subject.server is None and bool(missed) and not series.broken
    return Judgement(
        tier=tier.number,
        subject=series.subject,
        workers=series.workers,
        backlog=series.backlog,
        missed=missed,
        advice=f"past what an embedded queue is for: migrate to {MIGRATE_TO}" if is_past else "",
    )


def _missed(tier: Tier, series: Series) -> Iterator[str]:
    figures = series.median
    if series.broken:
        yield f"broke {', '.join(series.broken)}"
    if figures.jobs_min < tier.jobs_min:
        yield f"{figures.jobs_min:,.0f} jobs/min, at least {tier.jobs_min:,.0f} are asked"
    if figures.claim.p95_ms > tier.p95_ms:
        yield f"claim p95 {figures.claim.p95_ms:,.1f} ms, at most {tier.p95_ms:,.0f} ms are allowed"
