"""Is a queue accused whose own times are coarser than its clocks? Not for being late by a unit."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from ssq_verify.execution import scratch
from ssq_verify.generation import Effort, generate
from ssq_verify.history import Terms, joined
from ssq_verify.judge import judge
from ssq_verify.machine import SETTINGS
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.scenarios import offered
from ssq_verify.simulation.tape import Replay
from ssq_verify.subject import Promises, Subject
from ssq_verify.subjects.memory import MemoryWorkerQueue, State, _store
from ssq_verify.verdict import Finding

EFFORT = Effort(examples=60, steps=20, seconds_max=600)
LATE = {"reclaim-on-expiry", "progress"}
"""What is broken by who sees too late that a time has come."""


class CutOff(MemoryWorkerQueue):
    """Cuts times off to whole units, and takes a job only when its time is past by those."""

    def _available(self, job, now):
        return job.due < now if job.state is State.QUEUED else super()._available(job, now)


class CutOffAndTooEarly(CutOff):
    """The same, but takes a job when its time has come by those: up to a unit too early."""

    def _available(self, job, now):
        return job.due <= now


class CutOffAndTooLate(CutOff):
    """The same, but a unit later than it need be."""

    def _available(self, job, now):
        return super()._available(job, now - self.unit)


def subject_of(queue, unit, **promises):
    """Return a queue that keeps no finer times than the unit."""

    def cut(now):
        return datetime.fromtimestamp(now.timestamp() // unit.total_seconds() * unit.total_seconds(), UTC)

    def factory(workdir, policy):
        coarse = dataclasses.replace(
            policy,
            clock=lambda: cut(policy.clock()),
            max_clock_skew_seconds=promises["max_clock_skew_seconds"],
        )
        opened = queue(_store(workdir), coarse)
        opened.unit = unit
        return opened

    return Subject(
        reference=queue.__name__, factory=factory, promises=Promises(durability="none", **promises)
    )


def accused(subject):
    """Return what is found broken in the catalogue's scenarios, by time alone, and by workers in turns."""
    promises = subject.promises
    terms = Terms(
        lease_ttl_seconds=SETTINGS.lease_ttl_seconds,
        backoff_base_seconds=SETTINGS.backoff_base_seconds,
        max_clock_skew_seconds=promises.max_clock_skew_seconds,
        time_resolution_seconds=promises.time_resolution_seconds,
    )
    found = [example.history for example in generate(subject, EFFORT, seed=0)]
    for _, scenario in offered(SETTINGS, terms):
        with scratch() as workdir:
            found.append(simulate(scenario, subject, Replay(()), workdir).history)
    verdicts = judge(joined(found), ways=("model", "simulation"))
    return {each.invariant for each in verdicts if each.verdict is Finding.VIOLATED}


MILLISECOND, SECOND = timedelta(milliseconds=1), timedelta(seconds=1)


@pytest.mark.scenario("invariants/coarse-times")
@pytest.mark.parametrize(
    ("unit", "promises"),
    [
        (MILLISECOND, {"max_clock_skew_seconds": 0.0}),
        (MILLISECOND, {"max_clock_skew_seconds": 0.001}),
        (MILLISECOND, {"max_clock_skew_seconds": 2.0}),
        (SECOND, {"max_clock_skew_seconds": 0.0, "time_resolution_seconds": 1.0}),
    ],
    ids=["milliseconds, E = 0", "milliseconds, E = 1 ms", "milliseconds, E = 2 s", "seconds, E = 0"],
)
def test_a_correct_queue_with_coarse_times_is_not_accused(unit, promises):
    """Late by less than a unit is no defect: milliseconds need no declaration, coarser units do."""
    assert accused(subject_of(CutOff, unit, **promises)) == set()


def test_a_queue_that_is_early_by_a_part_of_a_unit_is_accused():
    """Whose times are cut off may give a job to two holders at once, if only for microseconds."""
    found = accused(subject_of(CutOffAndTooEarly, MILLISECOND, max_clock_skew_seconds=0.0))

    assert {"single-claimer", "no-early-reclaim", "back-off", "linearizable"} <= found


def test_a_queue_that_is_late_by_more_than_it_says_is_accused():
    """A unit too late, by times that are declared to be half as coarse, breaks two promises."""
    promises = {"max_clock_skew_seconds": 0.0, "time_resolution_seconds": 0.5}

    assert accused(subject_of(CutOffAndTooLate, SECOND, **promises)) == LATE
