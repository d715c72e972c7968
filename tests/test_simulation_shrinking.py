"""Is a raced failure shrunk to a local minimum, program and schedule together, whatever it was found in?"""

import pytest
from msgspec.structs import replace

from ssq_core.queue import LeaseLost
from ssq_verify.execution import scratch
from ssq_verify.judge import violations
from ssq_verify.scenario import SETUP_WORKER, Faults, Scenario, Settings, Step, StepKind
from ssq_verify.simulation.campaign import small
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.shrinking import shrink_simulated
from ssq_verify.simulation.strategies import AtRandom, Exhaustive, StrikeAt
from ssq_verify.simulation.tape import Replay
from ssq_verify.subject import Subject, load

SETTINGS = Settings(lease_ttl_seconds=60, max_clock_skew_seconds=2)
LOST = "no-lost-job"
NAIVE = load("naive-file")


def step(do, worker, **fields):
    """Return a step."""
    return Step(do=do, worker=worker, **fields)


RACE = small(SETTINGS, workers=2, jobs=2, faults=Faults(kills=2))
ENQUEUES_MEET_CLAIMS = Scenario(
    settings=SETTINGS,
    steps=(
        step(StepKind.ENQUEUE, SETUP_WORKER, job="j3", payload="three"),
        step(StepKind.ENQUEUE, "w1", job="j1", payload="one"),
        step(StepKind.CLAIM, "w2", claim="a"),
        step(StepKind.ACK, "w2", claim="a"),
        step(StepKind.CLAIM, "w2", claim="b"),
        step(StepKind.ENQUEUE, "w1", job="j2", payload="two"),
        step(StepKind.ACK, "w2", claim="b"),
    ),
)


def simulated(scenario, strategy, subject=NAIVE):
    """Return one run."""
    with scratch() as workdir:
        return simulate(scenario, subject, strategy, workdir)


def breaks(scenario, strategy, invariant=LOST, subject=NAIVE):
    """Whether a run breaks the invariant."""
    return bool(violations(simulated(scenario, strategy, subject).history, invariant))


def first_broken(scenario, strategies, subject=NAIVE, invariant=LOST):
    """Return the tape of the first run that breaks the invariant."""
    runs = (simulated(scenario, strategy, subject) for strategy in strategies)
    return next(run.tape for run in runs if violations(run.history, invariant))


def shrunk(scenario, strategies, tries_max=1_000):
    """Return the plainest run that loses a job like the first that does."""
    tape = first_broken(scenario, strategies)
    return shrink_simulated(scenario, tape, NAIVE, LOST, tries_max=tries_max)


@pytest.fixture(scope="module")
def killed():
    """Return what is left of a job that was lost by a kill, among other kills and preemptions."""
    return shrunk(RACE, (AtRandom(seed, strike=0.2) for seed in range(200)))


@pytest.fixture(scope="module")
def half_written():
    """Return what is left of a job that was lost without any fault."""
    return shrunk(ENQUEUES_MEET_CLAIMS, (AtRandom(seed, preempt=0.5) for seed in range(200)))


@pytest.mark.scenario("simulation/only-what-the-failure-needs")
def test_a_kill_inside_a_claim_is_all_that_is_left(killed):
    """Of a race with many preemptions, one worker, one job and one kill lose the job."""
    assert [(each.do, each.worker, each.job) for each in killed.scenario.steps] == [
        (StepKind.ENQUEUE, "w1", "j1"),
        (StepKind.CLAIM, "w1", None),
    ]
    assert killed.scenario.faults == Faults(kills=1)
    assert [each.chosen for each in killed.run.deviations] == ["kill"]
    assert killed.run.deviations[0].at.startswith("os.rename claimed/")
    assert killed.is_minimal


@pytest.mark.scenario("simulation/only-what-the-failure-needs")
def test_a_half_written_enqueue_is_all_that_is_left(half_written):
    """One preemption inside an enqueue is left, shown before the write that it delays."""
    (stop,) = half_written.run.deviations

    assert [(each.do, each.worker, each.payload) for each in half_written.scenario.steps] == [
        (StepKind.ENQUEUE, "w1", ""),
        (StepKind.CLAIM, "w2", ""),
    ]
    assert (stop.chosen, stop.worker, stop.at) == ("run w2", "w1", "os.write queued/j1.json")


@pytest.mark.parametrize("found", ["killed", "half_written"])
def test_nothing_can_be_dropped(found, request):
    """Without any one step no schedule with as few deviations fails; without any one deviation none does."""
    left = request.getfixturevalue(found)
    steps, tape = left.scenario.steps, left.run.tape
    fewer = [replace(left.scenario, steps=steps[:place] + steps[place + 1 :]) for place in range(len(steps))]
    plainer = [
        (*tape[:place], lower, *tape[place + 1 :]) for place, cell in enumerate(tape) for lower in range(cell)
    ]

    assert breaks(left.scenario, Replay(tape))
    assert not any(
        breaks(scenario, strategy)
        for scenario in fewer
        for strategy in Exhaustive(deviations_max=len(left.run.deviations)).runs()
    )
    assert not any(breaks(left.scenario, Replay(cells)) for cells in plainer)
    assert not breaks(replace(left.scenario, faults=Faults()), Replay(tape)) or not left.run.faults


def test_the_same_failure_is_shrunk_to_the_same_run(half_written):
    """Shrinking is deterministic."""
    again = shrunk(ENQUEUES_MEET_CLAIMS, (AtRandom(seed, preempt=0.5) for seed in range(200)))

    assert (again.scenario, again.run.tape) == (half_written.scenario, half_written.run.tape)


def test_a_run_that_fails_only_with_two_workers_keeps_both():
    """A double claim takes two workers: neither does the other's steps."""
    tape = first_broken(TAKEN_TWICE, Exhaustive(deviations_max=1).runs(), LOOKS_THEN_TAKES, "single-claimer")
    left = shrink_simulated(TAKEN_TWICE, tape, LOOKS_THEN_TAKES, "single-claimer", tries_max=1_000)

    assert sorted((each.worker, each.do) for each in left.scenario.steps) == [
        ("w1", StepKind.CLAIM),
        ("w1", StepKind.ENQUEUE),
        ("w2", StepKind.CLAIM),
    ]


def test_workers_change_places_where_that_saves_a_preemption():
    """The first worker goes first for free: it is the one that is stopped."""
    scenario = Scenario(
        settings=SETTINGS,
        steps=(step(StepKind.CLAIM, "w1"), step(StepKind.ENQUEUE, "w2", job="j1")),
    )
    tape = first_broken(scenario, Exhaustive(deviations_max=2).runs())
    left = shrink_simulated(scenario, tape, NAIVE, LOST, tries_max=1_000)

    assert sum(cell > 0 for cell in tape) == 2
    assert {(each.do, each.worker) for each in left.scenario.steps} == {
        (StepKind.ENQUEUE, "w1"),
        (StepKind.CLAIM, "w2"),
    }
    assert len(left.run.deviations) == 1


def test_what_breaks_without_a_race_is_one_workers_work():
    """Steps that only prepared a race are left as the steps of an ordinary worker."""
    scenario = Scenario(
        settings=SETTINGS,
        steps=tuple(step(StepKind.ENQUEUE, SETUP_WORKER, job=job) for job in ("j2", "j1")),
    )
    left = shrink_simulated(scenario, (), NAIVE, "order", tries_max=1_000)

    assert {each.worker for each in left.scenario.steps} == {"w1"}


def test_what_comes_to_no_run_is_passed_over():
    """A queue that can't be opened empty fails in another way without its first job; that is no answer."""
    scenario = small(SETTINGS, workers=2, jobs=1, faults=Faults(kills=1))
    tape = first_broken(scenario, (StrikeAt("kill", number) for number in range(1, 40)), NEVER_EMPTY)
    left = shrink_simulated(scenario, tape, NEVER_EMPTY, LOST, tries_max=1_000)

    assert left.is_minimal
    assert [each.do for each in left.scenario.steps] == [StepKind.ENQUEUE, StepKind.CLAIM]


def test_the_limit_ends_shrinking():
    """With few tries a failing run is returned, and not called minimal."""
    left = shrunk(RACE, (AtRandom(seed, strike=0.2) for seed in range(200)), tries_max=5)

    assert not left.is_minimal
    assert violations(left.run.history, LOST)


TAKEN_TWICE = Scenario(
    settings=SETTINGS,
    steps=(
        step(StepKind.ENQUEUE, SETUP_WORKER, job="j2"),
        step(StepKind.ENQUEUE, SETUP_WORKER, job="j1"),
        step(StepKind.CLAIM, "w1", claim="a"),
        step(StepKind.CLAIM, "w2", claim="b"),
        step(StepKind.ACK, "w1", claim="a"),
    ),
)


class _LooksThenTakes:
    """Looks whether a job is free, then writes down that it is taken: two workers may look at once."""

    def __init__(self, workdir):
        self._folder = workdir

    def enqueue(self, job_id):
        (self._folder / job_id).write_text("free")

    def claim(self, *, worker_id):
        for path in sorted(self._folder.iterdir()):
            if path.read_text() == "free":
                path.write_text(worker_id)
                return _Claim(path.name, worker_id)
        return None

    def ack(self, *, claim):
        try:
            (self._folder / claim.job_id).unlink()
        except FileNotFoundError:
            raise LeaseLost(claim.job_id) from None


class _Claim:
    def __init__(self, job_id, claim_id):
        self.job_id = job_id
        self.claim_id = claim_id


class _NeverEmpty:
    """A naive queue of which a second handle can't be opened before there was a job."""

    def __init__(self, workdir, policy):
        first = workdir / "opened"
        self._used = workdir / "used"
        if first.exists() and not self._used.exists():
            raise RuntimeError("empty")
        first.touch()
        self._queue = NAIVE.factory(workdir / "queue", policy)
        self.claim, self.ack, self.release = self._queue.claim, self._queue.ack, self._queue.release

    def enqueue(self, job_id):
        self._queue.enqueue(job_id)
        self._used.touch()


NEVER_EMPTY = Subject(reference="never-empty", factory=_NeverEmpty)
LOOKS_THEN_TAKES = Subject(reference="looks", factory=lambda workdir, _policy: _LooksThenTakes(workdir))
