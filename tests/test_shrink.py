"""The minimiser leaves a shortest failing variant, the same each time, within its limit."""

import pytest

from ssq_verify.scenario import Scenario, Settings, Step, StepKind
from ssq_verify.shrink import shrink, shrink_scenario


def failing_if(predicate):
    """Return what the engine asks, from a predicate on one sequence."""
    return lambda batch: [position for position, items in enumerate(batch) if predicate(items)]


def contains(*wanted):
    """Return a predicate: the wanted numbers are there, in this order."""

    def holds(items):
        rest = iter(items)
        return all(number in rest for number in wanted)

    return failing_if(holds)


@pytest.mark.scenario("verdicts/a-local-minimum")
@pytest.mark.parametrize("wanted", [(3,), (0, 99), (5, 6, 50), (98, 99)])
def test_only_what_is_needed_is_left(wanted):
    """Of a hundred items, those that the failure needs remain, wherever they stand."""
    shrunk = shrink(tuple(range(100)), contains(*wanted))

    assert (shrunk.items, shrunk.is_minimal) == (wanted, True)


def test_a_pair_that_only_goes_together_is_dropped():
    """Two items of which neither can be dropped alone are dropped at once."""
    balanced = failing_if(lambda items: 7 in items and items.count("a") == items.count("b"))

    assert shrink(("a", 1, 7, 2, "b"), balanced).items == (7,)


def test_rewrites_make_items_simpler():
    """Where nothing can be dropped, the rewrites that a caller offers are tried until none helps."""

    def halves(items):
        return ((*items[:i], items[i] // 2, *items[i + 1 :]) for i in range(len(items)) if items[i])

    assert shrink((64, 64), failing_if(lambda items: sum(items) >= 10), rewrites=halves).items == (16,)


def test_the_limit_ends_the_search():
    """With few tries, what was reached is returned, and is not called minimal."""
    shrunk = shrink(tuple(range(1_000)), contains(3, 500, 997), tries_max=40)

    assert not shrunk.is_minimal
    assert {3, 500, 997} <= set(shrunk.items)


def test_a_sequence_that_does_not_fail_is_refused():
    """There is nothing to shrink in what does not fail."""
    with pytest.raises(AssertionError, match="give a sequence that fails"):
        shrink((1, 2), contains(3))


def test_a_scenario_is_told_in_its_plainest_words():
    """Workers and jobs get the lowest names, times round numbers, payloads vanish, claims count from one."""
    settings = Settings(lease_ttl_seconds=60, max_clock_skew_seconds=2)
    steps = (
        Step(do=StepKind.ENQUEUE, worker="w3", job="j2", payload="p7"),
        Step(do=StepKind.CLAIM, worker="w3", claim="claim4"),
        Step(do=StepKind.CRASH, worker="w2"),
        Step(do=StepKind.ADVANCE, seconds=62.000003),
        Step(do=StepKind.ACK, worker="w3", claim="claim4"),
    )

    def late_ack(scenario):
        kinds = [step.do for step in scenario.steps]
        waited = sum(step.seconds for step in scenario.steps if step.do is StepKind.ADVANCE)
        return waited >= 60 and kinds[:2] == [StepKind.ENQUEUE, StepKind.CLAIM] and kinds[-1] is StepKind.ACK

    shrunk = shrink_scenario(Scenario(settings=settings, steps=steps), failing_if(late_ack))

    assert shrunk.steps == (
        Step(do=StepKind.ENQUEUE, job="j1"),
        Step(do=StepKind.CLAIM, claim="claim1"),
        Step(do=StepKind.ADVANCE, seconds=61.0),
        Step(do=StepKind.ACK, claim="claim1"),
    )


@pytest.mark.parametrize("strange", [{"rate": 1.01}, {"zone": "Europe/Berlin"}, {"strobe": 1.0}])
def test_a_clock_that_need_not_be_strange_is_plain(strange):
    """Its rate, its time zone and its jumps go where the failure does not need them."""
    clock = Step(do=StepKind.CLOCK, seconds=2.0, **strange)
    failing = failing_if(lambda scenario: any(step.seconds == 2.0 for step in scenario.steps))

    shrunk = shrink_scenario(Scenario(settings=Settings(), steps=(clock,)), failing)

    assert shrunk.steps == (Step(do=StepKind.CLOCK, seconds=2.0),)


def test_who_prepares_a_race_keeps_its_name():
    """The other workers are numbered from w1, and `setup` is no number."""
    steps = (Step(do=StepKind.ENQUEUE, worker="setup", job="j1"), Step(do=StepKind.CLAIM, worker="w3"))
    failing = failing_if(
        lambda scenario: (
            len({step.worker for step in scenario.steps}) == 2 and scenario.steps[0].worker == "setup"
        )
    )

    shrunk = shrink_scenario(Scenario(settings=Settings(), steps=steps), failing)

    assert [step.worker for step in shrunk.steps] == ["setup", "w1"]
