"""Are failures with different causes told apart, and a few of each invariant kept?"""

from dataclasses import dataclass

import pytest

from ssq_verify.machine import SETTINGS
from ssq_verify.repro import smallest
from ssq_verify.scenario import Faults, Scenario, Step, StepKind
from ssq_verify.simulation.campaign import small
from ssq_verify.simulation.causes import CAUSES_MAX, ERROR, UNSYNCED, Cause, different
from ssq_verify.simulation.exhaustive import Bounds
from ssq_verify.simulation.exploring import explore
from ssq_verify.simulation.searches import All
from ssq_verify.subject import load

NAIVE = load("naive-file")
MEETS = Scenario(
    settings=SETTINGS,
    steps=(
        Step(do=StepKind.ENQUEUE, worker="w1", job="j1"),
        Step(do=StepKind.CLAIM, worker="w2", claim="a"),
        Step(do=StepKind.ACK, worker="w2", claim="a"),
    ),
)


@dataclass(frozen=True)
class Failure:
    """A failure that was found."""

    invariant: str
    cause: Cause
    size: tuple[int, ...]


def failure(size, *faults, inside=(), invariant="fencing"):
    """Return a failure with these faults."""
    return Failure(invariant, Cause(faults, inside), (size,))


def found(scenario, deviations):
    """Return what exhaustive search finds on the naive queue."""
    bounds = Bounds(waits=None, orders=None, parts=None, deviations=deviations)
    return explore(NAIVE, All(scenario=scenario, bounds=bounds), only=None).found


def test_other_faults_come_before_other_operations():
    """Of one invariant the plainest of each kind of fault is kept first, then other operations."""
    plain, elsewhere = failure(1, inside=("claim",)), failure(2, inside=("ack",))
    killed, later = failure(8, "kills", inside=("claim",)), failure(9, "kills", inside=("claim",))

    assert different([later, elsewhere, killed, plain]) == [plain, elsewhere, killed]


def test_a_failing_call_is_told_after_a_crash():
    """A queue that loses a job when a worker dies is told of by that first."""
    failing, killed = failure(1, ERROR, inside=("claim",)), failure(2, "kills", inside=("claim",))

    assert different([failing, killed]) == [killed, failing]


def test_a_few_of_each_invariant_are_kept():
    """Each invariant has its own limit."""
    many = [failure(size, f"fault {size}") for size in range(9)]
    other = failure(100, invariant="order")

    assert different([*many, other]) == [*many[:CAUSES_MAX], other]


@pytest.mark.scenario("simulation/two-causes-of-one-violation")
def test_a_job_that_is_lost_in_two_ways_has_two_repros():
    """A kill inside a claim, and a claim that meets a half-written enqueue."""
    killed = found(small(SETTINGS, workers=1, jobs=1, faults=Faults(kills=1)), 1)
    met = found(MEETS, 1)
    lost = different([each for each in (*killed, *met) if each.invariant == "no-lost-job"])
    repros = [smallest(NAIVE, each.scenario, each.tape, each.invariant, tries_max=1_000)[0] for each in lost]

    assert [each.cause for each in lost] == [Cause((), ("enqueue",)), Cause(("kills",), ("claim",))]
    assert [[taken.chosen for taken in repro.taken] for repro in repros] == [["run w2"], ["kill"]]


@pytest.mark.scenario("simulation/two-causes-of-one-violation")
def test_what_was_not_synced_is_a_cause_of_its_own():
    """A loss of power that takes nothing is a crash; one that takes what was written is another failure."""
    lost = found(small(SETTINGS, workers=1, jobs=1, faults=Faults(power_losses=1)), 2)
    unsynced, crash = different([each for each in lost if each.invariant == "durable"])[:2]
    scenario, tape = unsynced.scenario, unsynced.tape
    repro, _ = smallest(NAIVE, scenario, tape, "durable", tries_max=500, loses_unsynced=True)

    assert (unsynced.cause.faults, crash.cause.faults) == ((UNSYNCED,), ("power losses",))
    assert [each.chosen for each in repro.taken][-1] == "only what was synced survives"
    assert repro.taken[0].at.startswith("os.rename queued/j1.json")
