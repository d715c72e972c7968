"""What follows when stress broke something? A search in simulation, or else how often it breaks again."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.text import Text

from ssq_stress import back_to_simulation
from ssq_stress.back_to_simulation import SAME, Sought, with_repros
from ssq_stress.plan import Plan
from ssq_stress.repeating import SECONDS_MAX, Rate, Repetition, repeat, save
from ssq_stress.report import Report, write
from ssq_stress.runner import Observed, Tell, stress
from ssq_stress.servers import Server
from ssq_verify.subject import Subject


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """How often something broke again."""

    invariant: str
    rate: Rate
    seconds: float
    """How long faults lasted in each repetition."""
    path: str
    """The file that repeats it."""

    @property
    def told(self) -> str:
        """It in words."""
        return f"{self.invariant} broke again in {self.rate.told(self.invariant)} of {self.seconds:.1f} s"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stressed:
    """A run with what followed."""

    seen: Observed
    report: Report
    sought: Sought
    again: tuple[Again, ...]
    interrupted: str | None
    """In what somebody ended it, be it the run or what followed."""

    @property
    def story(self) -> list[Text]:
        """The shortest of its violations."""
        return self.seen.story


@dataclass(frozen=True, kw_only=True, slots=True)
class Stressing:
    """Stresses a subject, and goes after what that breaks."""

    subject: Subject
    out: Path
    """Where repros and repetitions are written."""
    processes: int
    """For the search."""
    server: Server | None
    tell: Tell
    width: int = 100
    unsearched: str | None = None
    """Why nothing is searched for in simulation, if it is not."""

    def run(self, plan: Plan, folder: Path, *, known: Collection[str] = ()) -> Stressed:
        """Stress it, with the history in a folder; what is known to break is gone after no more.

        Raises as `stress` does.
        """
        report, seen = stress(
            self.subject, plan, out=folder, server=self.server, tell=self.tell, width=self.width
        )
        sought, again, interrupted = self._followed(plan, seen, report, known)
        report = msgspec.structs.replace(report, verdicts=with_repros(report.verdicts, sought.repros))
        write(report)
        return Stressed(
            seen=seen,
            report=report,
            sought=sought,
            again=again,
            interrupted=seen.interrupted or interrupted,
        )

    def _followed(
        self, plan: Plan, seen: Observed, report: Report, known: Collection[str]
    ) -> tuple[Sought, tuple[Again, ...], str | None]:
        """Go after what was broken, until that is found or somebody ends it."""
        wanted = back_to_simulation.wanted(report) - set(known)
        if not wanted:
            return Sought(), (), None
        sought = Sought(missing=tuple(sorted(wanted)), reason="the run was interrupted")
        if seen.interrupted is not None:
            return sought, (), None
        again: list[Again] = []
        try:
            sought = self._sought(report, wanted)
            again.extend(self._again(plan, seen, set(sought.missing)))
        except KeyboardInterrupt:
            return sought, tuple(again), "the search for repros"
        return sought, tuple(again), None

    def _sought(self, report: Report, wanted: frozenset[str]) -> Sought:
        if self.unsearched is not None:
            return Sought(missing=tuple(sorted(wanted)), reason=self.unsearched)
        return back_to_simulation.seek(
            self.subject, report, out=self.out, processes=self.processes, wanted=wanted
        )

    def _again(self, plan: Plan, seen: Observed, missing: set[str]) -> Iterator[Again]:
        """Repeat each round that shows one of these, all together in no more time than the run had."""
        rounds: dict[int, set[str]] = {}
        for name, number in seen.broken_in.items():
            if SAME.get(name, name) in missing:
                rounds.setdefault(number, set()).add(SAME.get(name, name))
        share = min(SECONDS_MAX, plan.seconds) / max(1, len(rounds))
        for number, names in sorted(rounds.items()):
            one = Repetition(
                subject=self.subject.reference,
                skew_seconds=_bound(self.subject),
                round=seen.rounds[number],
                crew=plan.crew,
                settings=plan.settings,
            )
            rate = repeat(
                self.subject, one, out=self.out, server=self.server, tell=self.tell, seconds_max=share
            )
            path = self.out / "repetitions" / f"{'+'.join(sorted(names))}.json"
            save(one, path)
            for name in sorted(names):
                yield Again(invariant=name, rate=rate, seconds=one.short.seconds, path=str(path))


def _bound(subject: Subject) -> float | None:
    """Return what a subject is held to, if that is a number of seconds."""
    promised = subject.promises.max_clock_skew_seconds
    return None if isinstance(promised, str) else promised
