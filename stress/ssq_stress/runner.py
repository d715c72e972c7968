"""Does a queue keep its promises among real processes that are killed, frozen, and lied to about the time?

`stress` runs rounds, one after the other, each with its own faults, and has each judged while the next runs.
A verdict rests on all rounds; it is green only if every fault has struck every phase that it can.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from multiprocessing import get_context
from pathlib import Path

import msgspec
from rich.text import Text

from ssq_stress import coverage, latency
from ssq_stress.conductor import Crew, Round
from ssq_stress.faults import REMOTE, Fault, elsewhere
from ssq_stress.judging import Judged, judge_round, prepare
from ssq_stress.latency import Latency
from ssq_stress.nemesis import connection_cut, disk_full, skew
from ssq_stress.nemesis.server import NOT_OURS
from ssq_stress.nemesis.skew import WrongClock
from ssq_stress.power import powerless
from ssq_stress.power.losses import Losses
from ssq_stress.power.powerless import Lost
from ssq_stress.processes import libc_time
from ssq_stress.processes.effects import PROMISE, Clash
from ssq_stress.processes.fetching import loader
from ssq_stress.rounds import Ring, Seen, tail_seconds
from ssq_stress.servers import Server
from ssq_stress.side_verdicts import coverage_verdict, short_of, side_effects_verdict, summed
from ssq_stress.volume import rounds_of
from ssq_verify import judge
from ssq_verify.history import Header, Terms
from ssq_verify.scenario import Settings
from ssq_verify.subject import Subject
from ssq_verify.verdict import Verdict, together
from ssq_verify.whole import whole

WAY = "stress"
SETTINGS = Settings(
    lease_ttl_seconds=1.0,
    max_attempts=3,
    backoff_base_seconds=0.3,
    backoff_max_seconds=1.0,
    max_clock_skew_seconds=0.2,
)
"""Short, so that many leases end in a minute; a rest is longer than clocks may differ, so that it shows."""

ROUND_SECONDS = 15.0
FAULT_SECONDS_MIN = 6.0
"""No more rounds than can last so long: in less, one round shows more than several."""
SHORTEST_SECONDS = 0.5
TAKES_TIME = frozenset({"reclaims after expiry", "dead letters"})
"""What a longer run comes to, besides late acks, releases and extends."""
FURTHER_ROUNDS_MAX = 3
FURTHER_SECONDS = 3.0
"""For what did not come about in the time that was given; never more than as long again."""
MIXES: tuple[frozenset[Fault], ...] = (
    frozenset(Fault),
    frozenset({Fault.PAUSE}),
    frozenset({Fault.KILL, Fault.SKEW, Fault.PAUSE}),
    frozenset({Fault.KILL, Fault.IO_ERROR, Fault.DISK_FULL, *REMOTE}),
)
"""All together first; then fewer, so that more can be decided."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is asked of a stress run."""

    seconds: float = 60.0
    consumers: int = 8
    producers: int = 2
    faults: frozenset[Fault] = frozenset(Fault)
    rate: float | None = None
    jobs: int | None = None
    """Go on until so many are enqueued, and done with, in whatever time."""
    seed: int = 0
    profile: str = "ci"
    strikes: int | None = None
    """End the faults of each round after so many, in whatever time."""
    takes_power: bool = False
    """Let the power fail, too, after the rounds."""
    clocks: tuple[WrongClock, ...] = ()
    """Those of the first consumers, while faults strike; `skew` then strikes nobody."""
    is_served: bool = False
    """By a server that somebody gave, and that is not to be struck."""
    settings: Settings = SETTINGS

    @property
    def crew(self) -> Crew:
        """Who works."""
        return Crew(consumers=self.consumers, producers=self.producers, rate=self.rate, clocks=self.clocks)


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How a run looks while it runs."""

    round: int
    rounds: int
    seen: Seen
    violations: tuple[str, ...]
    """What was found broken in the rounds that are judged so far."""


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

    @property
    def history(self) -> Path:
        """Where all that happened is written."""
        return Path(self.out) / "history.jsonl"

    @property
    def histories(self) -> tuple[Path, ...]:
        """That, and what losses of power made."""
        more = (Path(self.out) / powerless.HISTORY,) if self.power_losses else ()
        return (self.history, *more)


Tell = Callable[[Progress], None]


def stress(
    subject: Subject,
    plan: Plan,
    *,
    out: Path,
    server: Server | None = None,
    tell: Tell = lambda _: None,
    width: int = 100,
) -> tuple[Report, list[Text]]:
    """Stress a subject, and its server if that is ours, and return what came of it, with the shortest story.

    `history.jsonl` and `verdicts.json` are then in `out`.
    Raises `SubjectFailed` if the queue can not be opened, `OSError` if `out` can not be written.
    """
    not_available = unavailable(subject, plan, out, server)
    faults = plan.faults - elsewhere(subject.server) - set(not_available)
    faults -= {Fault.SKEW} if plan.clocks else set()
    run = _Run(subject=subject, plan=plan, faults=faults, out=out, server=server, tell=tell, width=width)
    begun = time.monotonic()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=prepare) as judges:
        run.through_rounds(judges)
        lost = _losses(subject, plan, out, width)
        ended = time.monotonic() if lost.count else run.ended
        results = [pending.result() for pending in run.pending]
    judged = [result for result, _ in results]
    matrix = summed(each.matrix for each in judged)
    kills = sum(each.kills for each in judged)
    paced = sum(each.kills for each in judged if each.number in run.kill_seconds)
    kill_seconds = sum(run.kill_seconds.values())
    report = Report(
        subject=subject.reference,
        seed=plan.seed,
        profile=plan.profile,
        verdicts=tuple(_verdicts(judged, run, not_available, lost)),
        faults=tuple(sorted(faults)),
        matrix=matrix,
        applicable=tuple(coverage.cell(*each) for each in coverage.applicable(faults, run.terms)),
        kills=kills,
        kills_per_second=round(paced / kill_seconds, 1) if kill_seconds else 0.0,
        not_available=lost.reasons(not_available),
        power_losses=lost.count,
        tally=summed(each.tally for each in judged),
        rounds=len(judged),
        jobs=run.enqueued,
        claim_latency=latency.together(each.claims for each in judged),
        rounds_seconds=round(run.ended - begun, 3),
        seconds=round(ended - begun, 3),
        seconds_to_verdict=round(time.monotonic() - ended, 3),
        clashes=tuple(clash for each in judged for clash in each.clashes),
        struck=_joined(each.struck for each in judged),
        out=str(out),
    )
    write(report)
    stories = sorted((told for told in [*(told for _, told in results), [*lost.story]] if told), key=len)
    return report, stories[0] if stories else []


def write(report: Report) -> None:
    """Write the verdicts beside the history."""
    encoded = msgspec.json.format(msgspec.json.encode(report), indent=2)
    with whole(Path(report.out) / "verdicts.json") as draft:
        draft.write_bytes(encoded + b"\n")


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


def _losses(subject: Subject, plan: Plan, out: Path, width: int) -> Lost:
    if not plan.takes_power:
        return Lost()
    asked = Losses(count=powerless.COUNTS[plan.profile], seed=plan.seed)
    return powerless.losses(subject, asked, out=out, width=width, is_given=plan.is_served)


def kinds_of(faults: frozenset[Fault]) -> list[frozenset[Fault]]:
    """Return what the rounds have in turn: all the faults that were chosen, then fewer."""
    return list(dict.fromkeys(mix & faults for mix in MIXES if mix & faults)) or [faults]


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
    terms: Terms = field(default_factory=Terms)
    kill_seconds: dict[int, float] = field(default_factory=dict)
    """How long kills were to strike, of each round in which they kept their pace."""
    started: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    """When the last round was over."""
    enqueued: int = 0

    def through_rounds(self, judges: ProcessPoolExecutor) -> None:
        """Run all rounds, and hand each to the judge."""
        assert not self.plan.clocks or libc_time.unavailable(self.subject) is None, libc_time.NOT_INSTALLED
        load = loader(self.subject)
        with libc_time.preloaded(self.subject, self.out):
            for each in chain(self.rounds(), self.further_rounds()):
                self._through(each, load, judges)

    def _through(self, each: Round, load: Callable[[], Subject], judges: ProcessPoolExecutor) -> None:
        folder = self.out / "rounds" / f"{each.number:04d}"
        ring = Ring(
            plan=each,
            crew=self.plan.crew,
            settings=self.plan.settings,
            folder=folder,
            load=load,
            tell=partial(self._tell, each),
            server=self.server,
        )
        with ring.run() as (folders, self.terms):
            if Fault.KILL in each.faults and each.cells is None:
                self.kill_seconds[each.number] = ring.fault_seconds
            header = Header(subject=self.subject.reference, terms=self.terms)
            self.pending.append(
                judges.submit(judge_round, folders, header, each.number, self.out, self.width)
            )
        self.enqueued += ring.enqueued
        self.ended = time.monotonic()

    def rounds(self) -> Iterator[Round]:
        """Yield the rounds that fit into the time, each when the one before is over."""
        tail, until = tail_seconds(self.plan.settings), self.started + self.plan.seconds
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
            if is_late or _broken(judged) or not (missing or _unseen(judged)):
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
        return coverage.empty(matrix, self.faults, self.terms, profile=self.plan.profile)

    @property
    def count(self) -> int:
        """How many rounds there are: of each kind one, if that is possible."""
        kinds = len(kinds_of(self.faults))
        possible = int(self.plan.seconds / (tail_seconds(self.plan.settings) + FAULT_SECONDS_MIN))
        return max(1, min(kinds, possible), int(self.plan.seconds / ROUND_SECONDS))

    def _tell(self, each: Round, seen: Seen) -> None:
        done = [pending.result()[0] for pending in self.pending if pending.done()]
        self.tell(
            Progress(
                round=each.number + 1,
                rounds=max(self.count, each.number + 1),
                seen=seen,
                violations=tuple(sorted(_broken(done))),
            )
        )


def _verdicts(judged: list[Judged], run: _Run, not_available: dict[Fault, str], lost: Lost) -> list[Verdict]:
    verdicts, everything = [], [*(found for each in judged for found in each.evidence), *lost.evidence]
    for name in judge.IDS:
        parts = [found for found in everything if found.invariant == name]
        verdicts.append(powerless.resting(judge.verdict(together(parts), ways=(WAY,)), lost))
    gate = coverage_verdict(
        judged, run.faults, run.terms, lost.reasons(not_available), profile=run.plan.profile
    )
    if run.plan.jobs is not None:
        gate = short_of(gate, run.plan.jobs, run.enqueued)
    return [*verdicts, side_effects_verdict(judged), gate]


def _broken(judged: Iterable[Judged]) -> set[str]:
    """Return what was violated in these rounds."""
    found = {each.invariant for one in judged for each in one.evidence if each.violation is not None}
    return found | {PROMISE for one in judged if one.clashes}


def _unseen(judged: list[Judged]) -> bool:
    """Whether there is something that time alone brings about, and none of the rounds came to it."""
    parts = [found for each in judged for found in each.evidence if found.invariant == judge.NOT_VACUOUS]
    seen = together(parts).seen
    return not all(count for what, count in seen.items() if "superseded" in what or what in TAKES_TIME)


def _joined(parts: Iterable[dict[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    joined: dict[str, set[str]] = {}
    for part in parts:
        for name, kinds in part.items():
            joined.setdefault(name, set()).update(kinds)
    return {name: tuple(sorted(kinds)) for name, kinds in sorted(joined.items())}
