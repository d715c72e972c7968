"""Does a sweep strike at each point, with each fault, each pair of crashes and each worker out of turn?"""

import msgspec
import pytest

from ssq_verify.execution import scratch
from ssq_verify.machine import SETTINGS
from ssq_verify.scenario import Faults
from ssq_verify.simulation.campaign import small
from ssq_verify.simulation.exploring import explore
from ssq_verify.simulation.options import RUN
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.searches import Alone, CrashPairs, Sweep
from ssq_verify.simulation.sweep import Pairs, Singles
from ssq_verify.subject import load

RACE = small(SETTINGS, workers=2, jobs=1)


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
