"""Does a queue keep its promises among real processes that are killed, frozen, and lied to about the time?

`stress` runs rounds, one after the other, each with its own faults, and has each judged while the next runs.
A verdict rests on all rounds; it is green only if every fault has struck every phase that it can. Whoever
interrupts a run learns what its whole rounds showed.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from multiprocessing import get_context
from pathlib import Path

import msgspec
from rich.text import Text

from ssq_stress import coverage
from ssq_stress.conductor import Round
from ssq_stress.faults import POWER_LOSS, REMOTE, Fault, elsewhere
from ssq_stress.judging import HISTORY, Judged, judge_round, prepare, without_cut_line
from ssq_stress.nemesis import connection_cut, disk_full, skew
from ssq_stress.nemesis.server import NOT_OURS
from ssq_stress.plan import Plan, kinds_of
from ssq_stress.power import powerless
from ssq_stress.power.losses import Losses
from ssq_stress.power.powerless import Lost
from ssq_stress.processes import libc_time
from ssq_stress.processes.effects import PROMISE
from ssq_stress.processes.fetching import loader
from ssq_stress.record import Record, added, recorded, summed
from ssq_stress.report import Report, reported, write
from ssq_stress.rounds import Ring, Seen, tail_seconds
from ssq_stress.servers import Server
from ssq_stress.volume import rounds_of
from ssq_verify import judge
from ssq_verify.children import ended_at_once, uninterrupted
from ssq_verify.history import Header, Terms
from ssq_verify.subject import Subject
from ssq_verify.verdict import together

ROUND_SECONDS = 15.0
FAULT_SECONDS_MIN = 6.0
"""No more rounds than can last so long: in less, one round shows more than several."""
SHORTEST_SECONDS = 0.5
TAKES_TIME = frozenset({"reclaims after expiry", "dead letters"})
"""What a longer run comes to, besides late acks, releases and extends."""
FURTHER_ROUNDS_MAX = 3
FURTHER_SECONDS = 3.0
"""For what did not come about in the time that was given; never more than as long again."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How a run looks while it runs."""

    round: int = 0
    rounds: int = 0
    seen: Seen | None = None
    losses: tuple[int, int] | None = None
    """After the rounds: how often the power has failed, of how often."""
    violations: tuple[str, ...] = ()
    """What was found broken in the rounds that are judged so far."""
    watch: str = ""
    """In a night: which of its runs this is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What came of a run, before anything is said of it."""

    record: Record
    story: list[Text]
    """The shortest of its violations."""
    rounds: dict[int, Round]
    broken_in: dict[str, int]
    """By what was violated, the round that shows it with the fewest events."""
    seconds_to_verdict: float
    interrupted: str | None = None
    """In what somebody ended it: that is left out."""


Tell = Callable[[Progress], None]


def stress(
    subject: Subject,
    plan: Plan,
    *,
    out: Path,
    server: Server | None = None,
    tell: Tell = lambda _: None,
    width: int = 100,
) -> tuple[Report, Observed]:
    """Stress a subject, and its server if that is ours, and return what is to be said of what was seen.

    `history.jsonl` and `verdicts.json` are then in `out`. Raises as `observe` does.
    """
    seen = observe(subject, plan, out=out, server=server, tell=tell, width=width)
    report = reported(
        seen.record,
        subject,
        plan,
        out,
        seconds_to_verdict=seen.seconds_to_verdict,
        interrupted=seen.interrupted,
    )
    write(report)
    return report, seen


def observe(
    subject: Subject,
    plan: Plan,
    *,
    out: Path,
    server: Server | None = None,
    tell: Tell = lambda _: None,
    width: int = 100,
) -> Observed:
    """Stress a subject, and return what its rounds showed; `history.jsonl` is then in `out`.

    Raises `SubjectFailed` if the queue can not be opened, `WorkerFailed`, `OSError` if `out` can not be
    written; `KeyboardInterrupt` if that comes before a round was over, or a second time.
    """
    not_available = unavailable(subject, plan, out, server)
    faults = plan.faults - elsewhere(subject.server) - set(not_available)
    faults -= {Fault.SKEW} if plan.clocks else set()
    run = _Run(subject=subject, plan=plan, faults=faults, out=out, server=server, tell=tell, width=width)
    with _judges(out) as judges:
        lost, interrupted = run.to_its_end(judges)
        ended = time.monotonic() if lost.count else run.ended
        results = [pending.result() for pending in run.pending]
    told = [story for _, story in results if story] + ([[*lost.story]] if lost.story else [])
    return Observed(
        record=run.record([judged for judged, _ in results], lost, not_available, until=ended),
        story=min(told, key=len, default=[]),
        rounds=run.plans,
        broken_in=_broken_in([judged for judged, _ in results]),
        seconds_to_verdict=time.monotonic() - ended,
        interrupted=interrupted,
    )


def unavailable(subject: Subject, plan: Plan, out: Path, server: Server | None = None) -> dict[Fault, str]:
    """Return which of the faults this machine can't do, or this queue does not bear, with the reason."""
    promised = subject.promises.max_clock_skew_seconds
    skew_seconds = plan.settings.max_clock_skew_seconds if promised == "policy" else promised
    reasons = {
        Fault.SKEW: lambda: skew.unavailable(skew_seconds) or libc_time.unavailable(subject),
        Fault.DISK_FULL: lambda: disk_full.unavailable(out / "rounds" / "trial"),
        Fault.CONNECTION_CUT: connection_cut.unavailable,
    }
    if server is None:
        reasons |= dict.fromkeys(REMOTE, lambda: NOT_OURS)
    asked_for = plan.faults - elsewhere(subject.server)
    asked = {fault: reasons[fault]() for fault in sorted(asked_for & set(reasons))}
    return {fault: reason for fault, reason in asked.items() if reason is not None}


@contextmanager
def _judges(out: Path) -> Iterator[ProcessPoolExecutor]:
    """Give the process that judges; who is interrupted while only it still works does not wait for it."""
    executor = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=prepare)
    with uninterrupted():
        executor.submit(int)
    try:
        with ended_at_once(executor):
            yield executor
    except KeyboardInterrupt:
        without_cut_line(out / HISTORY)
        raise


@dataclass(kw_only=True, slots=True)
class _Run:
    subject: Subject
    plan: Plan
    faults: frozenset[Fault]
    out: Path
    server: Server | None
    tell: Tell
    width: int
    pending: list[Future[tuple[Judged, list[Text]]]] = field(default_factory=list)
    plans: dict[int, Round] = field(default_factory=dict)
    terms: Terms = field(default_factory=Terms)
    paced_seconds: dict[int, float] = field(default_factory=dict)
    """How long kills were to strike, of each round in which they kept their pace."""
    started: float = field(default_factory=time.monotonic)
    ended: float = field(default_factory=time.monotonic)
    """When the last round was over."""
    enqueued: int = 0
    doing: str = "opening the queue"

    def to_its_end(self, judges: ProcessPoolExecutor) -> tuple[Lost, str | None]:
        """Run all rounds, then take the power away, or do until somebody interrupts what is told then."""
        try:
            self.through_rounds(judges)
            return self.losses(), None
        except KeyboardInterrupt:
            if not self.pending:
                raise
            for left in (self.folder(len(self.pending)), self.out / "rounds" / POWER_LOSS):
                shutil.rmtree(left, ignore_errors=True)
            return Lost(), self.doing

    def through_rounds(self, judges: ProcessPoolExecutor) -> None:
        """Run all rounds, and hand each to the judge."""
        assert not self.plan.clocks or libc_time.unavailable(self.subject) is None, libc_time.NOT_INSTALLED
        load = loader(self.subject)
        with libc_time.preloaded(self.subject, self.out):
            for each in chain(self.rounds(), self.further_rounds()):
                self._through(each, load, judges)

    def _through(self, each: Round, load: Callable[[], Subject], judges: ProcessPoolExecutor) -> None:
        ring = Ring(
            plan=each,
            crew=self.plan.crew,
            settings=self.plan.settings,
            folder=self.folder(each.number),
            load=load,
            tell=partial(self._tell, each),
            server=self.server,
        )
        self.doing = f"round {each.number + 1}"
        with ring.run() as (folders, self.terms):
            if Fault.KILL in each.faults and each.cells is None:
                self.paced_seconds[each.number] = ring.fault_seconds
            self.plans[each.number] = each
            header = Header(subject=self.subject.reference, terms=self.terms)
            self.pending.append(
                judges.submit(judge_round, folders, header, each.number, self.out, self.width)
            )
        self.enqueued += ring.enqueued
        self.ended = time.monotonic()

    def losses(self) -> Lost:
        """Let the power fail, as often as is asked for."""
        if not self.plan.losses:
            return Lost()
        self.doing = "the losses of power"
        return powerless.losses(
            self.subject,
            Losses(count=self.plan.losses, seed=self.plan.seed),
            out=self.out,
            width=self.width,
            is_given=self.plan.is_served,
            tell=self._tell_loss,
        )

    def record(
        self, judged: list[Judged], lost: Lost, not_available: dict[Fault, str], *, until: float
    ) -> Record:
        """Return all that was seen."""
        applicable = coverage.applicable(self.faults, self.terms) if judged else []
        around = Record(
            evidence=lost.evidence,
            faults=tuple(sorted(self.faults)),
            not_available=lost.reasons(not_available),
            applicable=tuple(coverage.cell(*each) for each in applicable),
            power_losses=lost.count,
            jobs=self.enqueued,
            rounds_seconds=round(self.ended - self.started, 3),
            seconds=round(until - self.started, 3),
        )
        return added([recorded(judged, self.paced_seconds), around])

    def folder(self, number: int) -> Path:
        """Return where a round has its files."""
        return self.out / "rounds" / f"{number:04d}"

    def rounds(self) -> Iterator[Round]:
        """Yield the rounds that fit into the time, each when the one before is over."""
        tail, until = tail_seconds(self.plan.settings), self.started + self.seconds
        kinds = kinds_of(self.faults)
        if self.plan.jobs is not None:
            yield from rounds_of(self.plan.jobs, kinds, seed=self.plan.seed, enqueued=lambda: self.enqueued)
            return
        for number in count():
            # A round that had done its operations before its time leaves some for more.
            left = until - time.monotonic()
            if number >= self.count and left < tail + FAULT_SECONDS_MIN:
                return
            share = left / max(1, self.count - number)
            yield Round(
                number=number,
                faults=kinds[number % len(kinds)],
                seconds=max(SHORTEST_SECONDS, min(share, 2 * ROUND_SECONDS) - tail),
                seed=f"{self.plan.seed}/{number}",
                strikes=self.plan.strikes,
                is_full=number == 0,
            )

    def further_rounds(self) -> Iterator[Round]:
        """Yield a few short rounds more, that do what the others did not."""
        if self.plan.strikes is not None:
            return
        begun = len(self.pending)
        for number in range(begun, begun + FURTHER_ROUNDS_MAX):
            judged = [pending.result()[0] for pending in self.pending]
            missing = self._never_struck(judged)
            lasted = time.monotonic() - self.started
            is_late = lasted > 2 * self.plan.seconds
            if is_late or recorded(judged, {}).broken or not (missing or _unseen(judged)):
                return
            yield Round(
                number=number,
                # What a run never came to takes time without deaths.
                faults=self.faults if missing else self.faults & {Fault.PAUSE},
                seconds=FURTHER_SECONDS,
                seed=f"{self.plan.seed}/{number}",
                cells=frozenset(missing) if missing else None,
                is_full=bool(missing),
            )

    def _never_struck(self, judged: list[Judged]) -> list[coverage.Cell]:
        matrix = summed(each.matrix for each in judged)
        return coverage.empty(matrix, self.faults, self.terms, needed=self.plan.needed)

    @property
    def seconds(self) -> float:
        """For how long there are rounds: losses of power have their share of the time."""
        return self.plan.seconds - self.plan.losses_seconds

    @property
    def count(self) -> int:
        """How many rounds there are: of each kind one, if that is possible."""
        kinds = len(kinds_of(self.faults))
        possible = int(self.seconds / (tail_seconds(self.plan.settings) + FAULT_SECONDS_MIN))
        return max(1, min(kinds, possible), int(self.seconds / ROUND_SECONDS))

    def _tell(self, each: Round, seen: Seen) -> None:
        self.doing = f"round {each.number + 1} ({seen.stage})"
        rounds = max(self.count, each.number + 1)
        self.tell(Progress(round=each.number + 1, rounds=rounds, seen=seen, violations=self._broken_so_far()))

    def _tell_loss(self, done: int) -> None:
        self.tell(Progress(losses=(done, self.plan.losses), violations=self._broken_so_far()))

    def _broken_so_far(self) -> tuple[str, ...]:
        done = [pending.result()[0] for pending in self.pending if pending.done()]
        return tuple(sorted(recorded(done, {}).broken))


def _unseen(judged: list[Judged]) -> bool:
    """Whether there is something that time alone brings about, and none of the rounds came to it."""
    parts = [found for each in judged for found in each.evidence if found.invariant == judge.NOT_VACUOUS]
    seen = together(parts).seen
    return not all(count for what, count in seen.items() if "superseded" in what or what in TAKES_TIME)


def _broken_in(judged: list[Judged]) -> dict[str, int]:
    shortest: dict[str, tuple[int, int]] = {}
    for each in judged:
        broken = [found.violation for found in each.evidence if found.violation is not None]
        lengths = {found.invariant: len(found.witness) for found in broken}
        if each.clashes:
            lengths[PROMISE] = min(len(clash.witness) for clash in each.clashes)
        for name, length in lengths.items():
            shortest[name] = min(shortest.get(name, (length, each.number)), (length, each.number))
    return {name: number for name, (_, number) in shortest.items()}
