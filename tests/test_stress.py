"""Does stress accept a correct queue, and accuse a defective one, with real processes and real faults?

A run ends after so many strikes, in whatever time, so that it shows the same on a slow machine.
"""

import time

import pytest

from ssq_core.file import FileWorkerQueue
from ssq_stress.faults import Fault
from ssq_stress.plan import Plan
from ssq_stress.processes.effects import PROMISE
from ssq_stress.runner import stress
from ssq_stress.side_verdicts import COVERAGE
from ssq_verify import history as history_module
from ssq_verify.judge import judge
from ssq_verify.subject import Promises, Subject, load
from ssq_verify.verdict import Finding

RUNS_MAX = 4
"""Chance may spare a defective queue once."""


def run(subject, out, *, strikes, faults=frozenset(Fault), seed=0, consumers=4, producers=1):
    """Stress a subject in one round of so many strikes."""
    out.mkdir()
    plan = Plan(
        seconds=1.0,
        consumers=consumers,
        producers=producers,
        faults=frozenset(faults),
        strikes=strikes,
        seed=seed,
    )
    report, _ = stress(subject, plan, out=out)
    return report


def broken(verdicts):
    """Return the promises that were violated."""
    return {each.invariant for each in verdicts if each.verdict is Finding.VIOLATED}


@pytest.mark.scenario("stress/a-correct-queue-under-faults")
@pytest.mark.parametrize("reference", ["file", "sqlite"])
def test_a_correct_queue_is_accepted(tmp_path, reference):
    """Nothing is violated, the queue was drained, and jobs of killed holders were taken over."""
    report = run(load(reference), tmp_path / "out", strikes=120)

    assert broken(report.verdicts) == set()
    assert report.tally["drained"] == 1
    assert report.tally["attempts after the first"] > 0
    assert report.kills > 0
    assert list((tmp_path / "out/rounds").iterdir()) == []


@pytest.fixture(scope="module")
def naive(tmp_path_factory):
    """Stress the naive file queue until it was caught at both."""
    for seed in range(RUNS_MAX):
        out = tmp_path_factory.mktemp("naive") / "out"
        out = tmp_path_factory.mktemp("naive") / "out"
        report = run(load("naive-file"), out, strikes=300, seed=seed)
        if {"no-lost-job", PROMISE} <= broken(report.verdicts):
            break
    return report


@pytest.mark.scenario("stress/the-naive-file-queue")
def test_the_naive_queue_is_caught_in_the_world(naive):
    """The naive file queue loses a job, and does one twice at once: its side effects overlap."""
    assert {"no-lost-job", PROMISE} <= broken(naive.verdicts)
    first, second = naive.clashes[0].executions
    assert first.begin_ns < second.begin_ns < first.end_ns
    assert {first.job_id, second.job_id} == {naive.clashes[0].job_id}


@pytest.mark.scenario("stress/the-history-is-judged-again")
def test_the_history_says_the_same_again(naive):
    """The file of a run has all its operations, and judged by itself breaks the same promises."""
    history = history_module.read(naive.history)
    again = judge(history, ways=("log",))

    assert len(history.operations) == naive.tally["operations"]
    assert broken(again) == broken(naive.verdicts) - {PROMISE}
    witnesses = [each.violation.witness for each in naive.verdicts if each.violation is not None]
    assert all(history.events[event.index] == event for witness in witnesses for event in witness)


@pytest.mark.scenario("stress/a-factory-that-is-a-closure")
def test_a_closure_can_be_stressed(tmp_path):
    """A factory that no reference leads to reaches the workers whole."""
    name = "of-the-closure"

    def factory(workdir, policy):
        return FileWorkerQueue(
            workdir / name,
            lease_ttl_seconds=policy.lease_ttl_seconds,
            retry=policy.retry,
            max_clock_skew_seconds=policy.max_clock_skew_seconds,
            clock=policy.clock,
        )

    subject = Subject(reference="mine", factory=factory, promises=Promises(order="fifo-relaxed"))
    report = run(subject, tmp_path / "out", strikes=4, faults={Fault.KILL}, consumers=2)

    assert broken(report.verdicts) == set()
    assert report.tally["ack ok"] > 0


@pytest.mark.scenario("stress/a-queue-on-the-system-clock")
def test_the_systems_clock_is_the_workers_own(tmp_path):
    """A queue that asks the system for the time is told its worker's, which is wrong, within the bound."""
    seen = tmp_path / "seen"

    class Looking(FileWorkerQueue):
        def claim(self, *, worker_id):
            with seen.open("a") as lines:
                lines.write(f"{time.time_ns() - time.monotonic_ns()}\n")
            return super().claim(worker_id=worker_id)

    def factory(workdir, policy):
        return Looking(
            workdir / "queue",
            lease_ttl_seconds=policy.lease_ttl_seconds,
            retry=policy.retry,
            max_clock_skew_seconds=policy.max_clock_skew_seconds,
        )

    subject = Subject(
        reference="mine", factory=factory, promises=Promises(order="fifo-relaxed"), clock="system"
    )
    report = run(subject, tmp_path / "out", strikes=30, faults={Fault.SKEW}, consumers=2)
    told = [int(line) for line in seen.read_text().splitlines()]

    assert broken(report.verdicts) == set()
    assert 0.005e9 < max(told) - min(told) < 0.2e9


def test_without_faults_coverage_is_vacuous(tmp_path):
    """A run in which nothing was to strike is not green by silence."""
    report = run(load("file"), tmp_path / "out", strikes=0, faults=(), consumers=1)
    verdicts = {each.invariant: each for each in report.verdicts}

    assert broken(report.verdicts) == set()
    assert verdicts[COVERAGE].verdict is Finding.VACUOUS
    assert verdicts["durable"].needs == "simulation"
