"""Can each scenario of the catalogue find something? Each catches the defect that it is for."""

from itertools import zip_longest

import pytest

import defects_of_batches
import defects_of_jobs
import defects_of_leases
from ssq_verify.execution import scratch
from ssq_verify.history import Terms, joined
from ssq_verify.judge import judge, violations
from ssq_verify.machine import SETTINGS
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.scenarios import CATALOGUE, offered
from ssq_verify.simulation.strategies import AtRandom, StrikeAt
from ssq_verify.simulation.tape import Replay
from ssq_verify.subject import Subject
from ssq_verify.verdict import Finding
from toy_queue import Toy, defects

TERMS = Terms(
    lease_ttl_seconds=SETTINGS.lease_ttl_seconds,
    max_clock_skew_seconds=SETTINGS.max_clock_skew_seconds,
    backoff_base_seconds=SETTINGS.backoff_base_seconds,
    forks=True,
    batches=True,
)
DEFECTS = [
    *defects(defects_of_leases),
    *defects(defects_of_jobs),
    *defects(defects_of_batches),
]
PLAIN = Replay(())
SEEDS, BATCH = 320, 40


def histories(scenario, strategies, toy):
    """Return the histories of these schedules."""
    subject = Subject(reference=toy.__name__, factory=toy)
    found = []
    for strategy in strategies:
        with scratch() as workdir:
            found.append(simulate(scenario, subject, strategy, workdir).history)
    return found


def batches(scenario):
    """Yield the plainest schedule, a kill at each point if there may be any, and then what chance brings."""
    yield [PLAIN]
    if scenario.faults.kills:
        yield [StrikeAt("kill", number) for number in range(1, BATCH)]
    for first in range(0, SEEDS, BATCH):
        yield [AtRandom(seed, preempt=0.25) for seed in range(first, first + BATCH)]


def is_caught(name, toy, invariant):
    """Whether some schedule of a scenario breaks an invariant."""
    scenarios = CATALOGUE[name](SETTINGS, TERMS)
    for tried in zip_longest(*map(batches, scenarios), fillvalue=()):
        runs = [histories(*each, toy) for each in zip(scenarios, tried, strict=True)]
        if violations(joined([history for run in runs for history in run]), invariant):
            return True
    return False


@pytest.mark.scenario("simulation/each-scenario-finds-its-defect")
@pytest.mark.parametrize(
    ("name", "toy", "invariant"), DEFECTS, ids=lambda each: getattr(each, "__name__", each)
)
def test_a_scenario_catches_the_defect_that_it_is_for(name, toy, invariant):
    """Some schedule of the scenario breaks the invariant that the defect is about."""
    assert is_caught(name, toy, invariant)


def test_no_scenario_is_there_for_nothing():
    """Each scenario of the catalogue has caught a defect above."""
    assert {name for name, _, _ in DEFECTS} == set(CATALOGUE)


@pytest.mark.parametrize("toy", [Toy, defects_of_batches.ManyToy])
def test_the_toy_without_a_defect_is_not_accused(toy):
    """The queue from which all of them are made keeps every promise, in all scenarios."""
    found = [
        history
        for _, scenario in offered(SETTINGS, TERMS)
        for history in histories(scenario, [PLAIN, *map(AtRandom, range(3))], toy)
    ]

    verdicts = judge(joined(found), ways=("simulation",))
    assert [each for each in verdicts if each.verdict is Finding.VIOLATED] == []
