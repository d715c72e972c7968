"""Are queues that take many jobs in one call given many by real workers, and struck inside?"""

import pytest

from defects_of_batches import LosesTheLast, ManyToy
from ssq_stress import judging
from ssq_stress.faults import Fault, Order, Phase
from ssq_stress.plan import Plan
from ssq_stress.processes.board import Board
from ssq_stress.processes.points import Striker, Watched
from ssq_stress.runner import stress
from ssq_verify import history as history_module
from ssq_verify import judge
from ssq_verify.notation import h
from ssq_verify.subject import Promises, Subject, offers_batches
from ssq_verify.verdict import Finding

RUNS_MAX = 4
INSIDE = {"enqueue_many": Phase.ENQUEUE, "claim_many": Phase.CLAIM, "ack_many": Phase.ACK}
PROMISES = Promises(durability="process-crash")


def run(queue, out, *, strikes, seed=0):
    """Stress a queue in one round of so many kills; return what is violated, and the history."""
    out.mkdir()
    faults = frozenset({Fault.KILL})
    plan = Plan(seconds=1.0, consumers=3, producers=1, faults=faults, strikes=strikes, seed=seed)
    subject = Subject(reference=queue.__name__, factory=queue, promises=PROMISES)
    report, _ = stress(subject, plan, out=out)
    broken = {each.invariant for each in report.verdicts if each.verdict is Finding.VIOLATED}
    return broken, history_module.read(report.history)


@pytest.mark.scenario("stress/many-jobs-in-one-call")
def test_a_correct_queue_is_given_many(tmp_path):
    """Jobs are enqueued, claimed and acked together, beside those that are not, and nothing is violated."""
    broken, history = run(ManyToy, tmp_path / "out", strikes=40)

    assert broken == set()
    assert {each.f for each in history.operations if each.lane} == {"enqueue", "claim", "ack"}


@pytest.mark.scenario("stress/many-jobs-in-one-call")
def test_what_goes_wrong_with_many_is_caught(tmp_path):
    """A queue that loses the last of many jobs, and never a single one, is caught at it."""
    for seed in range(RUNS_MAX):
        broken, _ = run(LosesTheLast, tmp_path / f"out-{seed}", strikes=8, seed=seed)
        if broken:
            break

    assert "no-lost-job" in broken


def test_an_excerpt_of_a_call_with_many_is_a_history():
    """Of a call of which only some jobs matter these are shown, and nothing is out of place."""
    history = h(
        "w1 enqueue j2",
        "w1 claim <",
        "w1+1 claim <",
        "w1+2 claim <",
        "w1 > j3#1",
        "w1+1 > j2#1",
        "w1+2 > j1#1",
        "w1 ack j2#1",
    )
    violation = judge.violations(history, "integrity")[1]

    shown, there = judging.excerpt(history, violation)

    assert [(each.job_id, each.lane) for each in shown.validated().operations] == [("j1", 0)]
    assert [event.lane for event in there.witness] == [0]


@pytest.mark.scenario("stress/many-jobs-in-one-call")
@pytest.mark.parametrize("name", INSIDE)
def test_a_call_with_many_is_struck_in_its_phase(tmp_path, name):
    """An order for a phase is carried out in a call with many jobs, too, and says in which."""
    struck = []
    board = Board.made(tmp_path / "board", slots=1)
    striker = Striker(board, board.slot(0), recovers=False)
    striker.act = lambda order, where: struck.append((order.phase, where))
    board.slot(0).give(Order(fault=Fault.KILL, phase=INSIDE[name], point=9))
    watched = Watched(Answers(), striker)

    for each in INSIDE:
        getattr(watched, each)()

    assert offers_batches(watched)
    assert struck == [(INSIDE[name], "return")]


class Answers:
    """Takes many jobs, and does nothing with them."""

    def enqueue_many(self):
        """Do nothing."""

    claim_many = ack_many = enqueue_many
