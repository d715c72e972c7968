"""What might workers do that nobody thought of? Random programs, of the catalogue and what it is made of.

Every choice is an answer of `choose(kind, options)`, of which 0 is the plainest: the same answers make the
same scenario, and smaller ones a smaller one.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import TypeVar

from ssq_verify.history import Terms
from ssq_verify.scenario import NO_FAULTS, SETUP_WORKER, Faults, Scenario, Settings, Step, StepKind
from ssq_verify.simulation.scenarios import Named, offered
from ssq_verify.simulation.scenarios.parts import (
    EAST,
    SECOND,
    TICK,
    WEST,
    Steps,
    ack,
    claim,
    clock,
    crash,
    enqueue,
    extend,
    later,
    many,
    release,
    reopen,
    requeue,
    scenario,
    times,
)

T = TypeVar("T")
Choose = Callable[[str, Sequence[str]], int]

WORKERS_MIN, JOBS_MIN, FRAGMENTS_MIN = 2, 1, 1
EVENTS = (0, 1, 2, 3, 4, 8, 20, -4)
"""How many come between two calls, each a microsecond."""
INSTANTS_MAX = 8
MANY_MAX = 3
"""Of jobs in one call: what goes wrong with one among many shows with two or three."""
SIZE_MAX = 8
"""Beyond, a run is so long that what it shows is found in less by two shorter ones."""


def compose(choose: Choose, settings: Settings, terms: Terms, *, size: int = 1) -> Scenario:
    """Return a scenario as `choose` answers: one made of fragments, or one of the catalogue, disturbed.

    Size 1 has two or three workers, up to three jobs, and programs of one to three fragments, each of one
    step to six. Each size more may add a worker, a job and a fragment to each program.
    """
    composer = _Composer(choose, settings, terms, min(max(size, 1), SIZE_MAX))
    return composer.composed()


def from_seed(seed: int, settings: Settings, terms: Terms, *, size: int = 1) -> Scenario:
    """Return the scenario of a seed."""
    chance = Random(seed)  # noqa: S311 - drawn from a seed, not from secrets
    return compose(lambda _kind, options: chance.randrange(len(options)), settings, terms, size=size)


@dataclass(kw_only=True)
class _Program:
    """What one worker does, as far as it was decided."""

    worker: str
    steps: list[Step] = field(default_factory=list)
    claims: list[str] = field(default_factory=list)
    """By name, the latest last; some may find nothing when it comes to it."""

    @property
    def elapsed(self) -> float:
        """When it comes to its next step, in seconds since all began, if nobody makes it wait."""
        return sum(step.seconds for step in self.steps if step.do is StepKind.ADVANCE)


class _Composer:
    """One scenario in the making."""

    def __init__(self, choose: Choose, settings: Settings, terms: Terms, size: int) -> None:
        self._choose, self._settings, self._terms, self._size = choose, settings, terms, size
        self._span = times(settings, terms)
        self._jobs: list[str] = []
        self._instants: list[float] = []
        """When a lease, or a rest, may have begun."""
        self._band: list[float] = []
        """How wrong clocks are in this scenario: within E of each other, or more."""
        self._fragments: dict[str, Callable[[_Program], Steps]] = {
            "claims and acks": self._handle,
            "claims": self._claim,
            "produces": self._produce,
            "waits": self._wait,
            "uses a claim": self._use,
            "dies": self._die,
            "opens a handle": lambda program: (reopen(program.worker),),
        }
        self._fragments |= {"claims and releases": self._fail} if terms.release else {}
        if terms.lease:
            self._fragments |= {"overruns its lease": self._overrun, "polls": self._poll}
            self._fragments |= {"sends heartbeats": self._beat} if terms.extend else {}
            self._fragments |= {"has its clock set": self._set_clock} if self._span.skew else {}
            self._fragments |= {"moves to another zone": self._move}
        if terms.batches:
            self._fragments |= {"handles many": self._handle_many, "produces many": self._produce_many}
        if terms.dead_letters and terms.max_attempts is not None:
            self._fragments["requeues"] = self._requeue

    def composed(self) -> Scenario:
        if self._is("made of", "fragments", "one of the catalogue and fragments"):
            return self._disturbed()
        setup = self._setup()
        workers = self._number("workers", WORKERS_MIN, WORKERS_MIN + self._size)
        programs = [self._program(f"w{number}") for number in range(1, workers + 1)]
        return scenario(self._settings, setup, *programs, faults=self._faults())

    def _disturbed(self) -> Scenario:
        """Return one of the catalogue's scenarios with other workers in it."""
        known = _known(self._settings, self._terms)
        named = self._pick("scenario", list(dict.fromkeys(named.name for named, _ in known)))
        kinds = [scenario for each, scenario in known if each.name == named]
        base = kinds[self._choose("kind", [str(number) for number, _ in enumerate(kinds)])]
        self._jobs = [step.job for step in base.steps if step.job is not None]
        self._instants = sorted(_claimed(base.steps))
        others = self._number("others", 1, self._size)
        programs = [self._program(f"x{number}") for number in range(1, others + 1)]
        faults = base.faults if base.faults != NO_FAULTS else self._faults()
        return scenario(self._settings, base.steps, *programs, faults=faults)

    def _setup(self) -> Steps:
        """Return what is there before: waiting jobs, perhaps old ones, perhaps held by one who died."""
        for number in range(self._number("jobs", JOBS_MIN, JOBS_MIN + 1 + self._size)):
            self._jobs.append(f"j{number + 1}")
        steps = [enqueue(SETUP_WORKER, job) for job in self._jobs]
        is_held = self._terms.lease and self._is("left", "none is held", "one is held by a dead worker")
        if is_held:
            steps += [claim(SETUP_WORKER, "left"), crash(SETUP_WORKER)]
        if self._is("age", "they are new", "they are old"):
            age = self._pick("age", [self._span.ttl / 2, self._span.ttl, 2 * self._span.overdue])
            steps.append(later(SETUP_WORKER, age))
            self._instants += [-age] if is_held else []
        return tuple(steps)

    def _program(self, worker: str) -> Steps:
        program = _Program(worker=worker)
        if self._is("handle", "it is open", "it is opened late"):
            program.steps.append(reopen(worker))
        for _ in range(self._number("fragments", FRAGMENTS_MIN, FRAGMENTS_MIN + 1 + self._size)):
            names = list(self._fragments)
            fragment = self._fragments[names[self._choose("fragment", names)]]
            program.steps += fragment(program)
        return tuple(program.steps)

    def _faults(self) -> Faults:
        longest = (self._span.overdue,) if self._terms.lease else (SECOND,)
        choices = {
            "none": NO_FAULTS,
            "a kill": Faults(kills=1),
            "two kills": Faults(kills=2),
            "a pause": Faults(pauses=1, pause_seconds=(*longest, self._span.ttl / 2)),
            "a kill and a pause": Faults(kills=1, pauses=1, pause_seconds=longest),
        }
        return choices[self._pick("faults", list(choices))]

    def _handle(self, program: _Program) -> Steps:
        name = self._named(program)
        return (claim(program.worker, name), ack(program.worker, name))

    def _claim(self, program: _Program) -> Steps:
        return (claim(program.worker, self._named(program)),)

    def _produce(self, program: _Program) -> Steps:
        """Enqueue a job that is known, so that it may be live or acked by then, or another one."""
        known = [] if not self._terms.idempotent_enqueue else self._jobs
        new = f"{program.worker}-{len(program.steps)}"
        job = self._pick("job", [*known, new])
        return (enqueue(program.worker, job, f"{job} from {program.worker}, step {len(program.steps)}"),)

    def _handle_many(self, program: _Program) -> Steps:
        """Take some jobs in one call, and finish as many, or fewer, in another, perhaps too late."""
        name, count = self._named(program), self._number("many", 2, MANY_MAX)
        is_late = self._is("then", "finishes them", "overruns its leases")
        waited = self._wait(program) if is_late and self._terms.lease else ()
        return (many(claim(program.worker, name), count), *waited, many(ack(program.worker, name), count))

    def _produce_many(self, program: _Program) -> Steps:
        """Enqueue some jobs in one call, the first as in a call with one."""
        (step,) = self._produce(program)
        return (many(step, self._number("many", 2, MANY_MAX)),)

    def _wait(self, program: _Program) -> Steps:
        """Wait until something has just ended, or is just about to."""
        spans = self._spans()
        begun = sorted({instant for instant in self._instants if instant + max(spans) > program.elapsed})
        since = self._pick("since", begun[:INSTANTS_MAX]) if begun else program.elapsed
        moment = since + self._pick("span", spans) - self._pick("events", EVENTS) * TICK
        seconds = moment - program.elapsed
        return (later(program.worker, round(seconds, 6) if seconds > 0 else SECOND),)

    def _poll(self, program: _Program) -> Steps:
        """Wait for a moment around the end of a lease, and handle what is there then."""
        return (*self._wait(program), *self._handle(program))

    def _fail(self, program: _Program) -> Steps:
        name = self._named(program)
        return (claim(program.worker, name), release(program.worker, name))

    def _use(self, program: _Program) -> Steps:
        """Use any claim so far, current or not, once more."""
        if not program.claims:
            return self._claim(program)
        name = self._pick("claim", program.claims[::-1])
        uses = [ack, *([release] if self._terms.release else []), *([extend] if self._terms.extend else [])]
        use = uses[self._choose("use", [each.__name__ for each in uses])]
        return (use(program.worker, name),)

    def _overrun(self, program: _Program) -> Steps:
        """Hold a job until about when its lease ends, and do then what a holder does."""
        taken = self._claim(program)
        return (*taken, *self._wait(program), *self._use(program))

    def _beat(self, program: _Program) -> Steps:
        """Extend a lease some times, and then go on with it or die."""
        name = self._named(program)
        steps: list[Step] = [claim(program.worker, name)]
        for _ in range(self._number("heartbeats", 1, 2 + self._size)):
            steps += [later(program.worker, self._span.ttl / 2), extend(program.worker, name)]
        last = crash(program.worker) if self._is("end", "acks", "dies") else ack(program.worker, name)
        return (*steps, last)

    def _die(self, program: _Program) -> Steps:
        """Die, and come back as a new process if there are more steps."""
        return (crash(program.worker),)

    def _set_clock(self, program: _Program) -> Steps:
        return (clock(program.worker, self._pick("offset", self._offsets())),)

    def _move(self, program: _Program) -> Steps:
        return (clock(program.worker, zone=self._pick("zone", [EAST, WEST])),)

    def _requeue(self, program: _Program) -> Steps:
        return (requeue(program.worker, self._pick("job", self._jobs)),)

    def _named(self, program: _Program) -> str:
        name = f"{program.worker} claim {len(program.claims) + 1}"
        program.claims.append(name)
        self._instants.append(program.elapsed)
        return name

    def _spans(self) -> list[float]:
        """Return how long things last, by a right clock and by those that are wrong by E."""
        skew, ttl = self._span.skew, self._span.ttl
        rest = self._settings.retry.backoff_seconds(1) if self._terms.back_off else 0.0
        rests = [span for span in (rest - skew, rest, rest + 2 * skew) if span > 0]
        leases = [ttl, ttl + skew, ttl - skew, ttl + 2 * skew, self._span.overdue, ttl / 2]
        return [*(leases if self._terms.lease else [SECOND]), *rests]

    def _offsets(self) -> list[float]:
        """Return how wrong a worker's clock may be; all of one scenario are within a band."""
        skew, ttl = self._span.skew, self._span.ttl
        if not self._band:
            bands = {
                "ahead": [skew, skew - TICK, 0.0],
                "behind": [-skew, TICK - skew, 0.0],
                "either way": [skew / 2, -skew / 2, 0.0],
                "beyond E": [skew + TICK, ttl, 0.0],
            }
            self._band = bands[self._pick("clocks", list(bands))]
        return self._band

    def _number(self, kind: str, least: int, most: int) -> int:
        return least + self._choose(kind, [str(number) for number in range(least, most + 1)])

    def _is(self, kind: str, plain: str, other: str) -> bool:
        return self._choose(kind, [plain, other]) == 1

    def _pick(self, kind: str, options: Sequence[T]) -> T:
        return options[self._choose(kind, [str(option) for option in options])]


@cache
def _known(settings: Settings, terms: Terms) -> tuple[tuple[Named, Scenario], ...]:
    return tuple(offered(settings, terms))


def _claimed(steps: Steps) -> Iterator[float]:
    """Yield when leases may begin, in seconds since the workers do."""
    elapsed: defaultdict[str, float] = defaultdict(float)
    for step in steps:
        if step.do is StepKind.ADVANCE and step.worker != SETUP_WORKER:
            elapsed[step.worker] += step.seconds
        elif step.do in {StepKind.CLAIM, StepKind.EXTEND}:
            yield elapsed[step.worker]
