"""Does a queue keep its promises? `verify` makes runs in two ways, judges all, and shrinks what it found.

Workers take turns (`model`); at the same time other processes let workers race, die and lose power
(`simulation`). What breaks in turns is told in turns: that is the plainer story.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ssq_verify import failures, judge
from ssq_verify import history as history_module
from ssq_verify.execution import execute, scratch
from ssq_verify.generation import generate
from ssq_verify.history import History, joined
from ssq_verify.machine import SETTINGS, Example
from ssq_verify.profiles import PROFILES, Profile
from ssq_verify.repro import Repro, repro, save, smallest
from ssq_verify.scenario import SEED, Scenario
from ssq_verify.shrink import shrink_scenario
from ssq_verify.simulation import campaign
from ssq_verify.simulation.causes import UNSYNCED, different
from ssq_verify.simulation.exploring import Explored
from ssq_verify.simulation.point import NotSimulatable
from ssq_verify.simulation.pool import Pool, pool
from ssq_verify.subject import Subject
from ssq_verify.verdict import Evidence, Finding, Verdict, Violation, together
from ssq_verify.whole import encoded, whole

MODEL, SIMULATION = "model", "simulation"
SECONDS_LEAST = 180.0
"""What there is always time for: as much as `ci` takes on a slow machine."""
ROUNDS_PER_SIZE = 5
"""After so many rounds programs get larger."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a phase has come."""

    phase: str
    done: int
    total: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that a verification says."""

    subject: str
    seed: int
    profile: str
    ways: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    explored: dict[str, int]
    """How much was tried in turns, by name."""
    raced: dict[str, int]
    """How much in races: schedules, faults by the operation that they struck, situations that were seen."""
    certificates: tuple[str, ...] = ()
    """What was tried without a gap, and how much that is."""
    not_simulatable: str | None = None
    """What the subject does that no simulation controls."""
    kept: tuple[tuple[str, str], ...] = ()
    """Failures of earlier runs, and what each came to this time."""
    next_seed: int
    """Where chance goes on another time."""
    out: str
    """The folder with history, verdicts and repros."""


Tell = Callable[[Progress], None]


def verify(
    subject: Subject,
    *,
    profile: str,
    seed: int | None,
    only: Collection[str] | None,
    out: Path,
    progress: Tell = lambda _: None,
    processes: int = 0,
    seconds: float = 0.0,
) -> Report:
    """Verify a subject, and write `history.jsonl`, `verdicts.json` and `repros/` in the folder `out`.

    With `processes` the simulation runs in so many of them, which load the subject by its reference. Until
    `seconds` have passed, chance goes on with other seeds after those that the profile names; and what the
    profile names is begun no later, but for the first three minutes.
    Raises `SubjectFailed` if the subject can not be opened, `OSError` if `out` can not be written.
    """
    with pool(subject, processes=processes) as workers:
        verification = _Verification(
            subject=subject,
            profile=within(PROFILES[profile], seconds),
            seed=SEED if seed is None else seed,
            only=only,
            out=out,
            until=time.monotonic() + seconds,
            tell=progress,
            processes=min(processes, 1),
        )
        report, history = verification.run(profile, workers)
    _write(report, history, out)
    failures.keep(subject, sorted((out / "repros").glob("*.json")))
    return report


def within(profile: Profile, seconds: float) -> Profile:
    """Return a profile that begins nothing after so many seconds, or three minutes; 0 for its own limits.

    Without that, a night of a slow queue ends when its profile does, and not when somebody ends the machine.
    """
    if not seconds:
        return profile
    limit = max(seconds, SECONDS_LEAST)
    effort, simulation = profile.effort, profile.simulation
    return replace(
        profile,
        effort=replace(effort, seconds_max=min(effort.seconds_max, limit)),
        simulation=replace(simulation, seconds_max=min(simulation.seconds_max, limit)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Verification:
    """One call of `verify`."""

    subject: Subject
    profile: Profile
    seed: int
    only: Collection[str] | None
    out: Path
    until: float
    tell: Tell
    processes: int

    def run(self, name: str, workers: Pool) -> tuple[Report, History]:
        begun = campaign.begin(workers, SETTINGS, self.profile.simulation, seed=self.seed, only=self.only)
        kept = self._kept()
        examples, refused = self._examples()
        history = joined([example.history for example in examples])
        self.tell(_at("judging", 0, 1))
        in_turns = judge.evidence(history, only=self.only)
        racing, next_seed = self._race(begun, workers)
        racing = msgspec.structs.replace(racing, not_simulatable=racing.not_simulatable or refused)
        ways = self._ways(racing)
        verdicts = _verdicts(in_turns, racing, ways)
        shrunk = self._told([each.replayed.repro for each in kept if each.replayed.still_fails])
        shrunk |= self._shrunk_examples(history, examples, in_turns, known=shrunk)
        raced = self._shrunk_races(workers, racing, known=shrunk)
        shrunk |= self._told([found for found, _ in raced])
        report = Report(
            subject=self.subject.reference,
            seed=self.seed,
            profile=name,
            ways=ways,
            verdicts=tuple(shrunk.get(verdict.invariant, verdict) for verdict in verdicts),
            explored=_explored(examples, self.profile.effort.examples),
            raced=racing.tally,
            certificates=tuple(str(scope) for scope in racing.covered),
            not_simulatable=racing.not_simulatable,
            kept=tuple((each.path.name, each.replayed.result.value) for each in kept),
            out=str(self.out),
            next_seed=next_seed,
        )
        return report, joined([history, *(each for _, each in raced)])

    def _kept(self) -> list[failures.Tried]:
        """Try what failed here before."""
        self.tell(_at("trying earlier failures", 0, 1))
        tried = failures.tried(self.subject, processes=self.processes)
        return [each for each in tried if self.only is None or each.replayed.repro.invariant in self.only]

    def _race(self, begun: campaign.Begun, workers: Pool) -> tuple[Explored, int]:
        """Wait for the searches, begin others while there is time, and return the seed to go on with."""
        effort, seed, parts = self.profile.simulation, self.seed, list[Explored]()
        while True:
            parts.append(campaign.finished(begun, self._tell_simulating))
            seed += effort.random
            left = self.until - time.monotonic()
            if left <= 0 or parts[0].not_simulatable:
                return campaign.summed(parts), seed
            effort = replace(effort, seconds_max=min(effort.seconds_max, max(left, SECONDS_LEAST)))
            size = 1 + len(parts) // ROUNDS_PER_SIZE
            begun = campaign.again(workers, begun, SETTINGS, effort, seed=seed, size=size, only=self.only)

    def _tell_simulating(self, done: int, total: int) -> None:
        self.tell(_at("simulating", done, total))

    def _examples(self) -> tuple[list[Example], str | None]:
        """Return what workers in turns did, or none and what it is that no simulated process can do."""
        effort = self.profile.effort
        try:
            examples = generate(
                self.subject,
                effort,
                seed=self.seed,
                tick=lambda done: self.tell(_at("generating", done, effort.examples)),
            )
        except NotSimulatable as limit:
            return [], f"{limit.what} at {limit.where}"
        return examples, None

    def _ways(self, racing: Explored) -> tuple[str, ...]:
        if racing.not_simulatable is None:
            return MODEL, SIMULATION
        # What reads the system's clock takes its turns in simulated processes, too.
        return () if self.subject.asks_system else (MODEL,)

    def _shrunk_examples(
        self,
        history: History,
        examples: list[Example],
        in_turns: Sequence[Evidence],
        *,
        known: Collection[str],
    ) -> dict[str, Verdict]:
        violated = (each.violation for each in in_turns if each.violation is not None)
        broken = [each for each in violated if each.invariant not in known]
        found: dict[str, Verdict] = {}
        for number, violation in enumerate(broken):
            self.tell(_at(f"shrinking {violation.invariant}", number, len(broken)))
            example = _plainest(history, examples, violation.invariant)
            found[violation.invariant] = self._shrunk(example.scenario, violation.invariant)
        return found

    def _shrunk_races(
        self, workers: Pool, racing: Explored, *, known: Collection[str]
    ) -> list[tuple[Repro, History]]:
        """Return the plainest run of each cause that breaks what no workers in turns break."""
        causes = different([found for found in racing.found if found.invariant not in known])
        tries_max = self.profile.tries_max
        begun = [
            workers.begin(
                smallest,
                each.scenario,
                each.tape,
                each.invariant,
                tries_max=tries_max,
                loses_unsynced=UNSYNCED in each.cause.faults,
            )
            for each in causes
        ]
        shrunk: list[tuple[Repro, History]] = []
        for number, (each, pending) in enumerate(zip(causes, begun, strict=True)):
            self.tell(_at(f"shrinking {each.invariant}", number, len(causes)))
            found, history = pending.result()
            # What seemed to be two causes may come down to one.
            if all((one.scenario, one.tape) != (found.scenario, found.tape) for one, _ in shrunk):
                shrunk.append((found, history))
        return shrunk

    def _told(self, repros: Sequence[Repro]) -> dict[str, Verdict]:
        """Keep the repros: the first of an invariant is its verdict's, the others stand beside it."""
        verdicts: dict[str, Verdict] = {}
        for found in repros:
            name = found.invariant
            first = verdicts.get(name)
            number = "" if first is None else f"-{len(first.also) + 2}"
            path = self.out / "repros" / f"{name}{number}.json"
            save(found, path)
            verdicts[name] = (
                Verdict(invariant=name, verdict=Finding.VIOLATED, sentence=found.sentence, repro=str(path))
                if first is None
                else msgspec.structs.replace(first, also=(*first.also, str(path)))
            )
        return verdicts

    def _shrunk(self, scenario: Scenario, invariant: str) -> Verdict:
        def failing(candidates: Sequence[Scenario]) -> Collection[int]:
            history = joined([_executed(self.subject, candidate) for candidate in candidates])
            return {violation.run for violation in judge.violations(history, invariant)}

        smallest = shrink_scenario(scenario, failing, tries_max=self.profile.tries_max)
        history = _executed(self.subject, smallest)
        violation = _shortest(judge.violations(history, invariant))
        path = self.out / "repros" / f"{invariant}.json"
        save(repro(self.subject, smallest, violation, history), path)
        return Verdict(
            invariant=invariant,
            verdict=Finding.VIOLATED,
            sentence=violation.sentence,
            violation=violation,
            repro=str(path),
        )


def _verdicts(in_turns: Sequence[Evidence], racing: Explored, ways: tuple[str, ...]) -> Iterator[Verdict]:
    """Yield a verdict for each invariant, from the evidence of all ways."""
    simulated = {each.invariant: each for each in racing.evidence}
    for each in in_turns:
        parts = [each] + [simulated[name] for name in (each.invariant,) if name in simulated]
        verdict = judge.verdict(together(parts), ways=ways)
        if racing.not_simulatable and _is_left_open(verdict, ways):
            verdict = msgspec.structs.replace(verdict, needs="stress")
        elif verdict.verdict is Finding.VACUOUS and each.invariant in racing.left_to_stress:
            sentence = racing.left_to_stress[each.invariant]
            verdict = msgspec.structs.replace(verdict, needs="stress", sentence=sentence)
        yield verdict


def _is_left_open(verdict: Verdict, ways: tuple[str, ...]) -> bool:
    """Whether no way that is left could have shown it."""
    return verdict.needs is not None or (not ways and verdict.verdict is Finding.VACUOUS)


def _at(phase: str, done: int, total: int) -> Progress:
    return Progress(phase=phase, done=done, total=total)


def _plainest(history: History, examples: list[Example], invariant: str) -> Example:
    """Return the run with the fewest steps of those that break the invariant."""
    runs = sorted({violation.run for violation in judge.violations(history, invariant)})
    return min((examples[run] for run in runs), key=lambda example: len(example.scenario.steps))


def _executed(subject: Subject, scenario: Scenario) -> History:
    with scratch() as workdir:
        return execute(scenario, subject, workdir)


def _shortest(found: Sequence[Violation]) -> Violation:
    return min(found, key=lambda violation: len(violation.witness))


def _explored(examples: list[Example], wanted: int) -> dict[str, int]:
    tally: Counter[str] = Counter({"examples": len(examples)})
    for example in examples:
        tally.update(example.tally)
    if len(examples) < wanted:
        tally["examples cut by time"] = wanted - len(examples)
    return {name: count for name, count in tally.items() if count}


def _write(report: Report, history: History, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with whole(out / "history.jsonl") as history_draft, whole(out / "verdicts.json") as draft:
        history_module.write(history, history_draft)
        draft.write_bytes(encoded(report))
