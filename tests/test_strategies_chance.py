"""Do schedules by priority and by chance find what they promise, as often as they promise?"""

import math
from collections import Counter
from itertools import pairwise

import msgspec
import pytest

from ssq_verify.execution import scratch
from ssq_verify.machine import SETTINGS
from ssq_verify.scenario import Faults
from ssq_verify.simulation.campaign import small
from ssq_verify.simulation.exploring import explore
from ssq_verify.simulation.pct import Bound, ByPriority, pct_runs_needed
from ssq_verify.simulation.point import Point
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.searches import Prioritised
from ssq_verify.simulation.strategies import AtRandom
from ssq_verify.simulation.tape import Untold
from ssq_verify.simulation.world import World
from ssq_verify.subject import load

RACE = small(SETTINGS, workers=2, jobs=1)


def interleaved(strategy, *lengths):
    """Return the order of steps of workers that have so many each and never wait."""
    left = {f"run w{number}": length for number, length in enumerate(lengths, start=1)}
    order = ""
    while any(left.values()):
        options = [option for option, steps in left.items() if steps]
        options.sort(key=lambda option: option[-1] != order[-1:])
        chosen = options[strategy.choose("next", options)]
        left[chosen] -= 1
        order += chosen[-1]
    return order


def fewest(runs, chance):
    """Return of how many runs at least something of that chance comes, but for one case in a thousand."""
    return runs * chance - 3.1 * math.sqrt(runs * chance * (1 - chance))


@pytest.mark.scenario("simulation/a-bound-by-priorities")
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_preemption_at_each_step_is_as_frequent_as_the_bound(steps):
    """Depth 2: the other worker comes after so many steps of the first; seeds 0 to 3,999, as promised."""
    bound = Bound(workers=2, points=8, depth=2)
    orders = Counter(interleaved(ByPriority(seed, depth=2, points=8), 4, 4) for seed in range(4_000))
    met = sum(count for order, count in orders.items() if order.startswith("1" * steps + "2"))

    assert met >= fewest(4_000, bound.chance) > 150


@pytest.mark.scenario("simulation/a-bound-by-priorities")
@pytest.mark.parametrize("order", ["12112222", "11122122", "21221111"])
def test_two_preemptions_are_as_frequent_as_the_bound(order):
    """Depth 3: a worker is interrupted, and the other before it ends; never seen with depth 2."""
    lengths = order.count("1"), order.count("2")
    bound = Bound(workers=2, points=8, depth=3)
    orders = Counter(interleaved(ByPriority(seed, depth=3, points=8), *lengths) for seed in range(6_000))
    shallow = {interleaved(ByPriority(seed, depth=2, points=8), *lengths) for seed in range(6_000)}

    assert orders[order] >= fewest(6_000, bound.chance) > 20
    assert order not in shallow


@pytest.mark.scenario("simulation/a-bound-by-priorities")
def test_whoever_was_put_last_first_may_come_back_last_or_not():
    """Change points are not in order: of two workers that were put off either may go on first."""
    orders = {interleaved(ByPriority(seed, depth=3, points=6), 2, 2, 2) for seed in range(3_000)}

    assert {"123312", "123321"} <= orders


@pytest.mark.scenario("simulation/a-bound-by-priorities")
def test_each_worker_is_alone_without_change_points():
    """Depth 1: one worker after the other, each as likely the first as the others."""
    orders = Counter(interleaved(ByPriority(seed, depth=1, points=6), 2, 2, 2) for seed in range(600))

    assert set(orders) == {"112233", "113322", "221133", "223311", "331122", "332211"}
    assert min(orders.values()) > 60


def test_time_is_a_worker_of_its_own():
    """Where time can pass it does so by its priority, and is counted."""
    strategies = [ByPriority(seed, depth=1, points=4) for seed in range(40)]
    answers = {strategy.choose("next", ("run w1", "let time pass", "kill")) for strategy in strategies}

    assert answers == {0, 1}
    assert strategies[0].movers == {"run w1", "let time pass"}


def test_a_fault_is_one_more_event():
    """It strikes once at most, at any step."""
    places = set()
    for seed in range(200):
        strategy = ByPriority(seed, depth=1, points=5, faults=1)
        answers = [strategy.choose("next", ("run w1", "kill")) for _ in range(5)]
        assert sum(answers) == 1
        places.add(answers.index(1))

    assert places == set(range(5))


@pytest.mark.parametrize(
    ("workers", "points", "depth", "needed"),
    [(2, 27, 3, 6_713), (3, 10, 2, 136), (4, 50, 1, 17), (1, 9, 1, 1)],
)
def test_runs_are_needed_as_the_paper_says(workers, points, depth, needed):
    """One minus (1 - 1 / (n k^(d-1)))^runs is at least 99 % for so many runs, and not for one less."""
    bound = Bound(workers=workers, points=points, depth=depth)

    assert pct_runs_needed(workers, points, depth) == needed
    assert bound.confidence(needed) >= 0.99
    assert needed == 1 or bound.confidence(needed - 1) < 0.99


@pytest.mark.scenario("simulation/a-bound-by-priorities")
def test_a_bound_is_said_in_words():
    """How many schedules, of how many points, find what with which probability, not rounded up."""
    bound = Bound(workers=2, points=60, depth=3)

    assert bound.sentence(bound.runs_needed(), longest=60) == (
        "PCT d = 3: 33,155 schedules of at most 60 points find any bug of depth 3, with sorted listings,"
        " with a probability of at least 99 %"
    )
    assert "at most 64 points find any bug of depth 3 within the first 60," in bound.sentence(9, longest=64)
    assert bound.sentence(33_154, longest=60).endswith("at least 98.9 %")


@pytest.mark.scenario("simulation/a-bound-by-priorities")
@pytest.mark.parametrize(("points", "is_exceeded"), [(40, False), (3, True)])
def test_runs_longer_than_the_bound_are_noticed(points, is_exceeded):
    """Whether a schedule had more points than the bound rests on is checked afterwards, and said."""
    bound = Bound(workers=2, points=points, depth=2)
    search = Prioritised(scope="2 workers x 1 job", scenario=RACE, seeds=range(20), bound=bound)
    (covered,) = explore(load("memory"), search, only=()).covered

    assert (covered.deepest > points) is is_exceeded
    assert ("within the first 3" in str(covered)) is is_exceeded


@pytest.mark.scenario("simulation/habits-by-chance")
def test_each_schedule_has_habits_of_its_own():
    """Of schedules by chance some hardly ever preempt, others often; seeds decide, and repeat."""
    switches = [
        sum(before != after for before, after in pairwise(interleaved(AtRandom(seed), 30, 30)))
        for seed in range(100)
    ]

    assert sum(count <= 2 for count in switches) > 5
    assert sum(count >= 10 for count in switches) > 5
    assert interleaved(AtRandom(5), 30, 30) == interleaved(AtRandom(5), 30, 30)


@pytest.mark.scenario("simulation/habits-by-chance")
def test_chance_strikes_rather_before_an_effect():
    """More crashes and preemptions come before a change than before a look; at stated rates, as many."""

    def shares(**chances):
        struck = Counter()
        for seed in range(300):
            struck.update(_chosen(AtRandom(seed, **chances)))
        return struck["write"] / struck["read"]

    assert shares() > 2
    assert 0.8 < shares(preempt=0.2, strike=0.1) < 1.25


def _chosen(strategy):
    """Yield before which of two kinds of points something other than the plainest was chosen."""
    with scratch() as folder:
        world = World(Untold(), str(folder))
        worker = world.add("w1", lambda _worker: None)
        strategy.attend(world)
        for point in (CHANGES_B, LOOKS_AT_B) * 20:
            worker.point = point
            if strategy.choose("next", ("run w1", "run w2", "kill")):
                yield "write" if point.writes else "read"


def runs_until_lost(make):
    """Return how many schedules it takes, in thirty goes, until a crash loses the naive queue's job."""
    scenario = msgspec.structs.replace(RACE, faults=Faults(kills=1))
    return sum(
        next(number for number in range(1, 1_000) if _loses(scenario, make(beginning * 1_000 + number)))
        for beginning in range(30)
    )


def _loses(scenario, strategy):
    with scratch() as workdir:
        run = simulate(scenario, load("naive-file"), strategy, workdir)
    return not any(each.f == "ack" and each.outcome == "ok" for each in run.history.operations)


def at_one_rate(seed):
    """Return a schedule by chance that preempts and strikes as often as any other."""
    return AtRandom(seed, preempt=0.15, strike=0.02)


@pytest.mark.scenario("simulation/habits-by-chance")
def test_habits_find_a_fatal_crash_sooner_than_one_rate_for_all():
    """In 160 goes it took 5.3 schedules with habits and 12.9 at one rate; these thirty are alike."""
    assert runs_until_lost(AtRandom) < runs_until_lost(at_one_rate)


CHANGES_B = Point("os.mkdir", "", writes=frozenset({"entry:b", "folder:"}))
LOOKS_AT_B = Point("os.stat", "", reads=frozenset({"entry:b"}))
