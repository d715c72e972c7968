"""What does a stress run say in the end? Verdicts, what struck where, and how much was done."""

from pathlib import Path

import msgspec

from ssq_stress import latency
from ssq_stress.faults import Fault
from ssq_stress.latency import Latency
from ssq_stress.plan import Plan
from ssq_stress.power import powerless
from ssq_stress.processes.effects import Clash
from ssq_stress.record import Record
from ssq_stress.side_verdicts import verdicts
from ssq_verify.subject import Subject
from ssq_verify.verdict import Verdict
from ssq_verify.whole import write_json


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that a stress run says."""

    subject: str
    seed: int
    profile: str
    verdicts: tuple[Verdict, ...]
    faults: tuple[Fault, ...]
    """Those that were to strike, and can."""
    matrix: dict[str, int]
    """How often each cell was struck."""
    applicable: tuple[str, ...]
    """The cells that must have been struck."""
    kills: int
    kills_per_second: float
    """While kills were to strike."""
    not_available: dict[str, str]
    """Faults that this machine can't do, with the reason."""
    power_losses: int
    """How often the power failed; what came of it is in a history of its own."""
    tally: dict[str, int]
    rounds: int
    jobs: int
    """How many were enqueued, of those whose enqueueing returned."""
    claim_latency: Latency | None
    """Of claims that returned while faults struck."""
    rounds_seconds: float
    """How long all rounds took, each with its end."""
    seconds: float
    seconds_to_verdict: float
    """From the end of the last round to here."""
    clashes: tuple[Clash, ...]
    struck: dict[str, tuple[str, ...]]
    """By what was violated, the events that struck whoever was about it."""
    out: str
    interrupted: str | None = None
    """In what somebody ended the run: that is left out."""

    @property
    def history(self) -> Path:
        """Where all that happened is written."""
        return Path(self.out) / "history.jsonl"

    @property
    def histories(self) -> tuple[Path, ...]:
        """That, and what losses of power made."""
        more = (Path(self.out) / powerless.HISTORY,) if self.power_losses else ()
        return (self.history, *more)


def reported(
    record: Record,
    subject: Subject,
    plan: Plan,
    out: Path,
    *,
    seconds_to_verdict: float = 0.0,
    interrupted: str | None = None,
) -> Report:
    """Return what the record of a run comes to."""
    return Report(
        subject=subject.reference,
        seed=plan.seed,
        profile=plan.profile,
        verdicts=verdicts(record, needed=plan.needed, jobs=plan.jobs),
        faults=record.faults,
        matrix=record.matrix,
        applicable=record.applicable,
        kills=record.kills,
        kills_per_second=record.kills_per_second,
        not_available=record.not_available,
        power_losses=record.power_losses,
        tally=record.tally,
        rounds=record.rounds,
        jobs=record.jobs,
        claim_latency=latency.together([record.claims]),
        rounds_seconds=record.rounds_seconds,
        seconds=record.seconds,
        seconds_to_verdict=round(seconds_to_verdict, 3),
        clashes=record.clashes,
        struck=record.struck,
        out=str(out),
        interrupted=interrupted,
    )


def write(report: Report) -> None:
    """Write the verdicts beside the history."""
    write_json(report, Path(report.out) / "verdicts.json")
