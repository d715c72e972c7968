"""Do the searches search what they say? Bounds, reductions, certificates, sweeps, priorities and chance."""

import math
import os
from collections import Counter
from itertools import pairwise

import msgspec
import pytest

from ssq_verify.execution import scratch
from ssq_verify.machine import SETTINGS
from ssq_verify.scenario import NO_FAULTS, Faults, Step, StepKind
from ssq_verify.simulation import interposition
from ssq_verify.simulation.campaign import small
from ssq_verify.simulation.exhaustive import Bounds, Exhaustive
from ssq_verify.simulation.exploring import explore
from ssq_verify.simulation.options import RUN
from ssq_verify.simulation.pct import Bound, ByPriority, pct_runs_needed
from ssq_verify.simulation.point import Point
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.scope import scope_of
from ssq_verify.simulation.searches import All, Alone, CrashPairs, Prioritised, Sweep
from ssq_verify.simulation.strategies import AtRandom
from ssq_verify.simulation.sweep import Pairs, Singles
from ssq_verify.simulation.tape import Redundant, Tape, Untold
from ssq_verify.simulation.world import World
from ssq_verify.subject import load

RACE = small(SETTINGS, workers=2, jobs=1)
ENQUEUE_MEETS_CLAIM = msgspec.structs.replace(
    RACE,
    steps=(
        Step(do=StepKind.ENQUEUE, worker="w1", job="j1", payload="p1"),
        Step(do=StepKind.CLAIM, worker="w2", claim="claim2"),
        Step(do=StepKind.ACK, worker="w2", claim="claim2"),
    ),
)
ONE_KILL = Faults(kills=1)


def told(history):
    """Return what a judge can tell of a run: each worker's calls and answers, and which came before which."""
    returned = [(each.worker, each.ret_ns) for each in history.operations if each.ret_ns is not None]
    claims, numbers, lines = {}, Counter(), {}
    for each in history.operations:
        numbers[each.worker] += 1
        if each.f == "claim" and each.claim_id is not None:
            claims.setdefault(each.claim_id, (each.worker, numbers[each.worker]))
        before = Counter(worker for worker, ret_ns in returned if ret_ns < each.inv_ns)
        line = (each.f, each.job_id, each.outcome, each.attempt, each.value, claims.get(each.claim_id))
        seconds = each.inv_ns // 1_000_000_000
        lines.setdefault(each.worker, []).append((*line, seconds, frozenset(before.items())))
    ends = tuple((event.f, event.value) for event in history.events if event.f.startswith("drain"))
    return frozenset((worker, tuple(all_lines)) for worker, all_lines in lines.items()), ends


def seen(scenario, subject, search):
    """Return what can be told of the runs of a search."""
    different = set()
    for strategy in search.runs():
        try:
            with scratch() as workdir:
                different.add(told(simulate(scenario, load(subject), strategy, workdir).history))
        except Redundant:
            continue
    return different


@pytest.mark.scenario("simulation/what-is-left-out-shows-nothing")
@pytest.mark.parametrize("faults", [NO_FAULTS, ONE_KILL], ids=["no faults", "one crash"])
@pytest.mark.parametrize("scenario", [RACE, ENQUEUE_MEETS_CLAIM], ids=["claims", "enqueue and claim"])
@pytest.mark.parametrize("subject", ["naive-file", "file", "sqlite", "memory"])
def test_histories_are_the_same_with_and_without_the_reduction(subject, scenario, faults):
    """With one preemption, what can be told of all schedules is told by those that are not redundant."""
    scenario = msgspec.structs.replace(scenario, faults=faults)
    bounds = Bounds(preemptions=1)
    everything, reduced = Exhaustive(bounds, reduces=False), Exhaustive(bounds)

    assert seen(scenario, subject, reduced) == seen(scenario, subject, everything)
    assert reduced.schedules < everything.schedules


@pytest.mark.parametrize("subject", ["file", "sqlite"])
def test_the_smallest_race_is_searched_through_with_any_preemptions(subject):
    """All interleavings of two workers and one job: what three preemptions show is all that there is."""
    complete = Exhaustive(Bounds())

    assert seen(RACE, subject, complete) == seen(RACE, subject, Exhaustive(Bounds(preemptions=2)))
    assert complete.schedules < 1_000


def orders(search, *, workers=2, points=2, sleeps=False):
    """Return in which orders workers passed their points in the runs of a search."""
    interposition.install()
    found = []
    for strategy in search.runs():
        with scratch() as folder:
            world = World(Untold(), str(folder))

            def program(worker, folder=folder):
                for number in range(points):
                    if sleeps and number:
                        worker.sleep(1)
                    os.mkdir(folder / f"{worker.name}{number}")  # noqa: PTH102 - the point

            for number in range(1, workers + 1):
                world.add(f"w{number}", program)
            world.tape = Tape(strategy)
            world.run()
            found.append("".join(passed.worker[1] for passed in world.trace))
            world.close()
    return found


def test_all_schedules_are_enumerated_once():
    """Two workers of two points each: with enough deviations every order of the points is seen."""
    assert len(set(orders(Exhaustive(deviations_max=4)))) == 6


@pytest.mark.parametrize(
    ("preemptions", "expected"),
    [
        (0, {"1122", "2211"}),
        (1, {"1122", "2211", "1221", "2112"}),
        (None, {"1122", "2211", "1221", "2112", "1212", "2121"}),
    ],
)
@pytest.mark.scenario("simulation/bounds-by-class")
def test_only_a_switch_from_who_could_go_on_is_a_preemption(preemptions, expected):
    """Who runs first, and who runs once another has ended, is free."""
    assert set(orders(Exhaustive(Bounds(preemptions=preemptions)))) == expected


@pytest.mark.scenario("simulation/bounds-by-class")
@pytest.mark.parametrize(("waits", "wakes_first"), [(0, False), (1, True)])
def test_time_passes_only_as_often_as_a_bound_allows(waits, wakes_first):
    """Both sleep between their points; that one wakes before the other has begun takes a wait."""
    found = orders(Exhaustive(Bounds(preemptions=0, waits=waits)), sleeps=True)

    assert "1221" in found
    assert ("1122" in found) is wakes_first


@pytest.mark.scenario("simulation/bounds-by-class")
@pytest.mark.parametrize("limit", [0, 1, 2])
def test_listings_are_reversed_only_as_often_as_a_bound_allows(limit):
    """Of three listings so many come in another order than sorted."""
    search = Exhaustive(Bounds(orders=limit))
    for strategy in search.runs():
        answers = [strategy.choose("order", ("sorted", "reversed")) for _ in range(3)]
        assert sum(answers) <= limit

    assert search.schedules == sum((1, 3, 3)[: limit + 1])


@pytest.mark.scenario("simulation/bounds-by-class")
@pytest.mark.parametrize(("parts", "expected"), [(0, 3), (1, 5)])
def test_a_disk_loses_parts_only_as_a_bound_allows(parts, expected):
    """All, nothing or a part survives, free of charge; which part is bounded."""
    search = Exhaustive(Bounds(parts=parts))
    for strategy in search.runs():
        if strategy.choose("power loss", ("all", "synced", "a part")) == 2:
            strategy.choose("content", ("new", "torn", "old"))

    assert search.schedules == expected


def swept(scenario, subject, sweep):
    """Return the runs of a sweep in which all its faults struck, each with its strategy."""
    found = []
    for strategy in sweep.runs():
        with scratch() as workdir:
            run = simulate(scenario, load(subject), strategy, workdir)
        if strategy.has_struck:
            found.append(run)
    return found


def with_faults(**faults):
    """Return the smallest race with faults."""
    return msgspec.structs.replace(RACE, faults=Faults(**faults))


@pytest.mark.scenario("simulation/each-point-is-struck")
@pytest.mark.parametrize(
    ("fault", "faults"),
    [
        ("kill", {"kills": 1}),
        ("EIO", {"errors": 1}),
        ("pause 65.0 s", {"pauses": 1, "pause_seconds": (65.0,)}),
    ],
)
def test_a_sweep_strikes_at_each_point_and_ends_by_itself(fault, faults):
    """One run for each point of the plainest schedule at which the fault can strike, in their order."""
    sweep = Singles(fault)
    runs = swept(with_faults(**faults), "file", sweep)
    places = [run.faults[0].cell for run in runs]

    assert len(runs) == sweep.points
    assert places == sorted(set(places))
    assert {run.faults[0].operation for run in runs} - {""} == {"claim", "ack"}
    assert {run.faults[0].fault for run in runs} == {fault}


@pytest.mark.scenario("simulation/each-point-is-struck")
def test_a_loss_of_power_takes_each_single_part():
    """At each point nothing, all, and each single part of what was not synced is lost, each once."""
    sweep = Singles("power loss", parts_max=1_000)
    runs = swept(with_faults(power_losses=1, disk="posix"), "naive-file", sweep)
    lost = [(run.faults[0].cell, run.tape[run.faults[0].cell :]) for run in runs]

    assert len({place for place, _ in lost}) == sweep.points
    assert len(set(lost)) == len(lost)
    assert {parts[:1] for _, parts in lost} >= {(1,), (2,)}
    assert max(sum(part > 0 for part in parts[1:]) for _, parts in lost) == 1
    assert sweep.parts_left_out == 0


@pytest.mark.scenario("simulation/each-point-is-struck")
def test_a_sweep_says_what_a_limit_left_out():
    """With fewer parts than there are, the certificate is not complete and names the limit."""
    few = Sweep(
        scope="power loss",
        scenarios=(RACE,),
        faults=Faults(power_losses=1, disk="posix"),
        fault="power loss",
        parts_max=1,
    )
    explored = explore(load("naive-file"), few, only=())

    assert str(explored.covered[0]).endswith("cut by a limit of 1 lost part a point")


@pytest.mark.scenario("simulation/pairs-of-crashes")
def test_pairs_strike_during_recovery():
    """After each first crash the other worker dies, too, at each of its points, and then no pair is left."""
    sweep = Pairs("kill", pairs_max=1_000)
    runs = swept(with_faults(kills=2), "sqlite", sweep)
    struck = [tuple(fault.cell for fault in run.faults) for run in runs]

    assert sweep.is_complete
    assert len(set(struck)) == len(struck) == sweep.pairs
    assert {run.faults[0].operation for run in runs} == {run.faults[1].operation for run in runs}
    assert {tuple(fault.worker for fault in run.faults) for run in runs} == {("w1", "w2")}


@pytest.mark.scenario("simulation/pairs-of-crashes")
def test_a_limit_of_pairs_is_stated():
    """Those soonest after the first crash come first, and the certificate is not complete."""
    pairs = CrashPairs(scope="two crashes", scenarios=(RACE,), pairs_max=10)
    explored = explore(load("file"), pairs, only=())

    assert str(explored.covered[0]) == (
        "two crashes: at each of 10 pairs of 1 scenario, cut by a limit of 10 pairs"
    )


class InTurn:
    """The plainest schedule, which notes at which choices another worker could have run."""

    def __init__(self):
        self.choices, self.others = 0, []

    def choose(self, kind, options):
        """Return the plainest answer."""
        if kind == "next" and any(option.startswith(RUN) for option in options[1:]):
            self.others.append(self.choices)
        self.choices += 1
        return 0


@pytest.mark.scenario("simulation/one-worker-out-of-turn")
@pytest.mark.parametrize("subject", ["file", "sqlite"])
def test_a_worker_comes_out_of_turn_once(subject):
    """At each choice where another worker could run it does in one run, and nothing else is out of turn."""
    in_turn, struck = InTurn(), []
    with scratch() as workdir:
        simulate(RACE, load(subject), in_turn, workdir)
    for scenario, strategy in Alone(scope="one worker out of turn", scenarios=(RACE,)).runs():
        with scratch() as workdir:
            run = simulate(scenario, load(subject), strategy, workdir)
        struck.append([deviation.cell for deviation in run.deviations])

    assert sorted(struck) == [[], *([cell] for cell in in_turn.others)]


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
    scenario = with_faults(kills=1)
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


CHANGES_A = Point("os.rename", "", writes=frozenset({"entry:a", "folder:"}))
CHANGES_B = Point("os.mkdir", "", writes=frozenset({"entry:b", "folder:"}))
LOOKS_AT_A = Point("os.stat", "", reads=frozenset({"entry:a"}))
LOOKS_AT_B = Point("os.stat", "", reads=frozenset({"entry:b"}))
LOOKS_WITHIN_A = Point("os.stat", "", reads=frozenset({"entry:a/c"}))
LISTS = Point("os.listdir", "", reads=frozenset({"folder:"}))
LISTS_A = Point("os.listdir", "", reads=frozenset({"folder:a"}))


@pytest.mark.parametrize(
    ("one", "other", "commute"),
    [
        (CHANGES_A, LOOKS_AT_B, True),
        (CHANGES_A, LOOKS_AT_A, False),
        (LOOKS_AT_A, LOOKS_AT_A, True),
        (CHANGES_A, CHANGES_B, True),
        (CHANGES_A, LOOKS_WITHIN_A, False),
        (CHANGES_A, LISTS, False),
        (CHANGES_A, LISTS_A, False),
        (CHANGES_B, LISTS_A, True),
    ],
)
def test_points_commute_unless_they_touch_the_same_thing(one, other, commute):
    """Looks commute, and changes of different entries; a look or a listing and what it would tell do not."""
    assert one.commutes_with(other) is commute
    assert other.commutes_with(one) is commute


def test_a_scope_is_said_in_words():
    """What may happen is named, and what is not named does not."""
    crashed = msgspec.structs.replace(RACE, faults=ONE_KILL)

    assert scope_of(crashed, Bounds(preemptions=2)) == "2 workers x 1 job, up to 2 preemptions, one crash"
    assert scope_of(RACE, Bounds(waits=1, orders=None)) == (
        "2 workers x 1 job, any preemptions, up to 1 wait, any listings in reverse"
    )


@pytest.mark.scenario("simulation/a-certificate")
def test_a_finished_search_has_a_certificate():
    """It states the scope, how many schedules were run and left out, and where a crash struck."""
    crashed = msgspec.structs.replace(RACE, faults=ONE_KILL)
    explored = explore(load("memory"), All(scenario=crashed, bounds=Bounds()), only=None)

    (covered,) = explored.covered
    assert covered.schedules == explored.tally["schedules"]
    assert str(covered) == (
        f"2 workers x 1 job, any preemptions, one crash: {covered.schedules} schedules"
        f" ({covered.redundant} redundant), {covered.crash_points} crash points, complete"
    )
    assert covered.crash_points == 4


@pytest.mark.scenario("simulation/a-certificate")
def test_a_search_that_is_cut_has_none():
    """What a deadline cut does not say that it is complete."""
    explored = explore(load("memory"), All(scenario=RACE, bounds=Bounds()), only=None, deadline=0.0)

    assert [str(scope) for scope in explored.covered] == [
        "2 workers x 1 job, any preemptions: 0 schedules, cut by time"
    ]
