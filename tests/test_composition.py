"""Are random programs the same for the same choices, plain for plain ones, and full of what matters?"""

from random import Random

import pytest

from ssq_verify.execution import scratch
from ssq_verify.history import Terms, joined
from ssq_verify.judge import judge
from ssq_verify.machine import SETTINGS
from ssq_verify.scenario import SETUP_WORKER, StepKind
from ssq_verify.sightings import Sighting, sightings
from ssq_verify.simulation.composition import compose, from_seed
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.scenarios import CATALOGUE
from ssq_verify.simulation.strategies import AtRandom
from ssq_verify.simulation.tape import Replay, Tape
from ssq_verify.subject import load
from ssq_verify.verdict import Finding

TERMS = Terms(
    lease_ttl_seconds=SETTINGS.lease_ttl_seconds,
    max_clock_skew_seconds=SETTINGS.max_clock_skew_seconds,
    backoff_base_seconds=SETTINGS.backoff_base_seconds,
)
SEEDS = 400


class Drawn:
    """Answers each choice from a seed."""

    def __init__(self, seed):
        self._chance = Random(seed)  # noqa: S311 - drawn from a seed

    def choose(self, _kind, options):
        """Return any of them."""
        return self._chance.randrange(len(options))


def composed(seeds, terms=TERMS, size=1):
    """Return the scenarios of so many seeds."""
    return [from_seed(seed, SETTINGS, terms, size=size) for seed in range(seeds)]


@pytest.mark.scenario("simulation/programs-from-a-tape")
@pytest.mark.parametrize("seed", range(5))
def test_a_tape_composes_its_scenario_again(seed):
    """The answers that were recorded make the same scenario, and so does the seed."""
    tape = Tape(Drawn(seed))
    scenario = compose(tape.choose, SETTINGS, TERMS)

    assert compose(Replay(tape.cells).choose, SETTINGS, TERMS) == scenario
    assert from_seed(seed, SETTINGS, TERMS) == scenario


def test_the_plainest_choices_make_the_smallest_race():
    """With all answers 0 two workers want one job, and nothing is wrong."""
    (plain,) = CATALOGUE["one-job-two-workers"](SETTINGS, TERMS)
    scenario = compose(Replay(()).choose, SETTINGS, TERMS)

    assert [(step.do, step.worker) for step in scenario.steps] == [
        (step.do, step.worker) for step in plain.steps
    ]
    assert scenario.faults == plain.faults


def test_different_seeds_differ():
    """Nearly all seeds make a scenario of their own."""
    assert len(set(composed(SEEDS))) > SEEDS * 0.9


def test_programs_grow_with_their_size():
    """More size is more steps and more workers; the sizes are bounded."""
    steps = [sum(len(scenario.steps) for scenario in composed(50, size=size)) for size in (1, 2, 4, 8, 100)]
    workers = {step.worker for scenario in composed(50, size=8) for step in scenario.steps} - {SETUP_WORKER}

    assert steps == sorted(steps)
    assert steps[-1] == steps[-2]
    assert len(workers) > 5


@pytest.mark.scenario("simulation/programs-without-what-is-not-offered")
@pytest.mark.parametrize(
    ("less", "absent"),
    [
        ({"extend": False}, StepKind.EXTEND),
        ({"release": False}, StepKind.RELEASE),
        ({"dead_letters": False}, StepKind.REQUEUE),
        ({"max_attempts": None}, StepKind.REQUEUE),
        ({"lease": False}, StepKind.CLOCK),
    ],
    ids=str,
)
def test_programs_are_without_what_is_not_offered(less, absent):
    """No step asks for what the queue does not have, and all else is there."""
    terms = Terms(**{name: getattr(TERMS, name) for name in TERMS.__struct_fields__} | less)

    done = {step.do for scenario in composed(SEEDS, terms) for step in scenario.steps}

    assert absent in {step.do for scenario in composed(SEEDS) for step in scenario.steps}
    assert absent not in done
    assert {StepKind.ENQUEUE, StepKind.CLAIM, StepKind.ACK, StepKind.CRASH, StepKind.OPEN} <= done


@pytest.mark.scenario("simulation/random-programs-meet-what-queues-fail-on")
def test_random_programs_meet_what_queues_fail_on():
    """Some hundred programs, on a sound queue, show nearly all situations, and it is not accused."""
    subject, histories = load("memory"), []
    for seed, scenario in enumerate(composed(SEEDS)):
        with scratch() as workdir:
            histories.append(simulate(scenario, subject, AtRandom(seed, strike=0.05), workdir).history)

    seen = sightings(joined(histories))
    verdicts = judge(joined(histories), ways=("simulation",))
    assert sum(sighting in seen for sighting in Sighting) > len(Sighting) * 0.85
    assert [each for each in verdicts if each.verdict is Finding.VIOLATED] == []
