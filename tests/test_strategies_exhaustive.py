"""Does the search of all schedules search what it says? Bounds, reductions, certificates."""

import os
from collections import Counter

import msgspec
import pytest

from ssq_verify.execution import scratch
from ssq_verify.machine import SETTINGS
from ssq_verify.scenario import NO_FAULTS, Faults, Step, StepKind
from ssq_verify.simulation import interposition
from ssq_verify.simulation.campaign import small
from ssq_verify.simulation.exhaustive import Bounds, Exhaustive
from ssq_verify.simulation.exploring import explore
from ssq_verify.simulation.point import Point
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.scope import scope_of
from ssq_verify.simulation.searches import All
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
    # Of the file queue too what a claim that finds nothing does then: it frees the ids that are free.
    assert complete.schedules < 5_000


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
