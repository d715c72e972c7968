"""What did some rounds show, put together? Records add up: of the rounds of a run, of the runs of a night."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ssq_stress import latency
from ssq_stress.faults import Fault
from ssq_stress.judging import CLASHES_MAX, Judged
from ssq_stress.processes.effects import PROMISE, Clash
from ssq_verify.verdict import Evidence, together


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What some rounds showed, put together, and no larger for being that of more."""

    evidence: tuple[Evidence, ...] = ()
    """One of each invariant."""
    faults: tuple[Fault, ...] = ()
    """Those that were to strike, and can."""
    not_available: dict[str, str] = {}
    """Faults that were chosen and can't be done, with the reason."""
    matrix: dict[str, int] = {}
    """How often each cell was struck."""
    applicable: tuple[str, ...] = ()
    """The cells that must have been struck."""
    tally: dict[str, int] = {}
    executions: int = 0
    outlived: int = 0
    clashes: tuple[Clash, ...] = ()
    clash_count: int = 0
    struck: dict[str, tuple[str, ...]] = {}
    """By what was violated, the events that struck whoever was about it."""
    kills: int = 0
    paced_kills: int = 0
    """Of these, where kills were to keep their pace; and for how long they were."""
    paced_seconds: float = 0.0
    power_losses: int = 0
    rounds: int = 0
    jobs: int = 0
    """How many were enqueued, of those whose enqueueing returned."""
    claims: str = ""
    """The histogram of how long claims took while faults struck."""
    rounds_seconds: float = 0.0
    """How long all rounds took, each with its end."""
    seconds: float = 0.0

    @property
    def broken(self) -> set[str]:
        """What was violated."""
        found = {each.invariant for each in self.evidence if each.violation is not None}
        return found | ({PROMISE} if self.clashes else set())

    @property
    def kills_per_second(self) -> float:
        """How many, while kills were to strike."""
        return round(self.paced_kills / self.paced_seconds, 1) if self.paced_seconds else 0.0


def added(records: Iterable[Record]) -> Record:
    """Return what several records come to together, one after the other."""
    total = Record()
    for each in records:
        total = _added(total, each)
    return total


def recorded(judged: Sequence[Judged], paced_seconds: Mapping[int, float]) -> Record:
    """Return what rounds showed; of those in which kills kept their pace, it is given for how long."""
    return Record(
        evidence=_together(found for each in judged for found in each.evidence),
        matrix=summed(each.matrix for each in judged),
        tally=summed(each.tally for each in judged),
        executions=sum(each.executions for each in judged),
        outlived=sum(each.outlived for each in judged),
        clashes=tuple(clash for each in judged for clash in each.clashes)[:CLASHES_MAX],
        clash_count=sum(each.clash_count for each in judged),
        struck=_joined(each.struck for each in judged),
        kills=sum(each.kills for each in judged),
        paced_kills=sum(each.kills for each in judged if each.number in paced_seconds),
        paced_seconds=sum(paced_seconds.values()),
        rounds=len(judged),
        claims=latency.added(each.claims for each in judged),
    )


def summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return what several counts come to together."""
    total = Counter[str]()
    for each in counts:
        total.update(each)
    return dict(sorted(total.items()))


def _added(one: Record, other: Record) -> Record:
    return Record(
        evidence=_together([*one.evidence, *other.evidence]),
        faults=tuple(sorted({*one.faults, *other.faults})),
        not_available=one.not_available | other.not_available,
        matrix=summed([one.matrix, other.matrix]),
        applicable=tuple(dict.fromkeys([*one.applicable, *other.applicable])),
        tally=summed([one.tally, other.tally]),
        executions=one.executions + other.executions,
        outlived=one.outlived + other.outlived,
        clashes=(*one.clashes, *other.clashes)[:CLASHES_MAX],
        clash_count=one.clash_count + other.clash_count,
        struck=_joined([one.struck, other.struck]),
        kills=one.kills + other.kills,
        paced_kills=one.paced_kills + other.paced_kills,
        paced_seconds=one.paced_seconds + other.paced_seconds,
        power_losses=one.power_losses + other.power_losses,
        rounds=one.rounds + other.rounds,
        jobs=one.jobs + other.jobs,
        claims=latency.added([one.claims, other.claims]),
        rounds_seconds=one.rounds_seconds + other.rounds_seconds,
        seconds=one.seconds + other.seconds,
    )


def _together(evidence: Iterable[Evidence]) -> tuple[Evidence, ...]:
    by_name: dict[str, list[Evidence]] = {}
    for each in evidence:
        by_name.setdefault(each.invariant, []).append(each)
    return tuple(together(parts) for parts in by_name.values())


def _joined(parts: Iterable[Mapping[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    joined: dict[str, set[str]] = {}
    for part in parts:
        for name, kinds in part.items():
            joined.setdefault(name, set()).update(kinds)
    return {name: tuple(sorted(kinds)) for name, kinds in sorted(joined.items())}
