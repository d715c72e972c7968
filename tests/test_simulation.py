"""Does a simulated run of a queue repeat, and does it find what is there, and nothing else?"""

import errno
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from ssq_verify import invariants, linearize
from ssq_verify.execution import scratch
from ssq_verify.history import joined
from ssq_verify.repro import digest
from ssq_verify.scenario import NO_FAULTS, SETUP_WORKER, Faults, Scenario, Settings, Step, StepKind
from ssq_verify.simulation.point import NotSimulatable
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.strategies import AtRandom, Exhaustive, StrikeAt
from ssq_verify.simulation.tape import Replay
from ssq_verify.subject import Subject, load

SETTINGS = Settings(lease_ttl_seconds=60, max_clock_skew_seconds=2)
ONE_KILL = Faults(kills=1)
PLAIN = Replay(())


def enqueue(worker, job):
    """Return a step that adds a job."""
    return Step(do=StepKind.ENQUEUE, worker=worker, job=job, payload=f"payload of {job}")


def claim_and_ack(worker):
    """Return the steps of a worker that handles one job."""
    return (
        Step(do=StepKind.CLAIM, worker=worker, claim=f"{worker}'s"),
        Step(do=StepKind.ACK, worker=worker, claim=f"{worker}'s"),
    )


def scenario(*steps):
    """Return a scenario of these steps."""
    return Scenario(settings=SETTINGS, steps=steps)


ONE_JOB = scenario(enqueue(SETUP_WORKER, "j1"), *claim_and_ack("w1"))
TWO_WORKERS = scenario(enqueue(SETUP_WORKER, "j1"), *claim_and_ack("w1"), *claim_and_ack("w2"))
ENQUEUE_MEETS_CLAIM = scenario(enqueue("w1", "j1"), *claim_and_ack("w2"))


def simulated(what, subject, strategy, faults=NO_FAULTS):
    """Simulate one run in a folder of its own."""
    with scratch() as workdir:
        return simulate(msgspec.structs.replace(what, faults=faults), load(subject), strategy, workdir)


def swept(what, subject, fault="kill"):
    """Return the runs in which the fault struck at the first point, the second, and so on, to the last."""
    runs = []
    while True:
        strategy = StrikeAt(fault, len(runs) + 1)
        run = simulated(what, subject, strategy, faults=Faults(kills=1, errors=1))
        if not strategy.has_struck:
            return runs
        runs.append(run)


def every_schedule(what, subject, deviations_max, faults=NO_FAULTS):
    """Return the runs of all schedules with so many deviations from the plainest."""
    search = Exhaustive(deviations_max=deviations_max)
    return [simulated(what, subject, one, faults) for one in search.runs()]


def broken(runs):
    """Return the ids of the invariants that some run breaks."""
    history = joined([run.history for run in runs])
    by_query = {
        known.id for known in invariants.INVARIANTS if invariants.violations(history, known.id, limit=1)
    }
    return by_query | ({"linearizable"} if linearize.violations(history) else set())


def test_a_kill_inside_a_claim_loses_a_job_of_the_naive_queue():
    """A worker killed between the two renames of a claim leaves a job that nobody finds again."""
    runs = swept(ONE_JOB, "naive-file")

    struck = {fault.operation for run in runs for fault in run.faults}
    assert {"claim", "ack"} <= struck
    assert "no-lost-job" in broken(runs)


def test_a_half_written_enqueue_loses_a_job_of_the_naive_queue_without_any_fault():
    """A claim that comes between the creation of a record and its content takes the job from the world."""
    runs = every_schedule(ENQUEUE_MEETS_CLAIM, "naive-file", 2)

    assert all(not run.faults for run in runs)
    assert "no-lost-job" in broken(runs)


@pytest.mark.parametrize("subject", ["file", "sqlite"])
def test_no_single_kill_breaks_our_queues(subject):
    """Whatever point a worker is killed at, the other promises hold and the job is handled in the end."""
    runs = swept(TWO_WORKERS, subject)

    assert {fault.operation for run in runs for fault in run.faults} >= {"claim", "ack"}
    assert broken(runs) == set()


@pytest.mark.parametrize("subject", ["file", "sqlite"])
@pytest.mark.parametrize("what", [TWO_WORKERS, ENQUEUE_MEETS_CLAIM], ids=["claims", "enqueue and claim"])
def test_no_single_preemption_breaks_our_queues(what, subject):
    """All schedules with one preemption, two workers and one job keep every promise."""
    runs = every_schedule(what, subject, 1)

    assert len(runs) > 1
    assert broken(runs) == set()


@pytest.mark.parametrize("subject", ["naive-file", "file", "sqlite"])
def test_random_schedules_with_kills_keep_what_is_kept(subject):
    """Random schedules, some with a kill, make no sound queue break a promise; the naive one loses jobs."""
    runs = [simulated(TWO_WORKERS, subject, AtRandom(seed), ONE_KILL) for seed in range(60)]

    assert {len(run.faults) for run in runs} == {0, 1}
    assert ("no-lost-job" in broken(runs)) == (subject == "naive-file")


@pytest.mark.parametrize("subject", ["naive-file", "file", "sqlite"])
def test_a_tape_repeats_its_run(subject):
    """Replaying the tape of a random run gives the same history, byte for byte, in another folder."""
    found = simulated(TWO_WORKERS, subject, AtRandom(7), ONE_KILL)
    replayed = simulated(TWO_WORKERS, subject, Replay(found.tape), ONE_KILL)

    assert digest(replayed.history) == digest(found.history)
    assert replayed.trace == found.trace


@pytest.mark.scenario("simulation/a-tape-repeats-its-run")
def test_another_process_with_another_hash_seed_repeats_a_run():
    """The same seed gives the same history in two processes whose strings hash differently."""
    program = (
        "from test_simulation import *\n"
        "print(digest(simulated(TWO_WORKERS, 'file', AtRandom(3), ONE_KILL).history))\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parent,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }

    assert len(digests) == 1


def test_different_seeds_differ():
    """Ten seeds give more than one schedule."""
    assert len({digest(simulated(TWO_WORKERS, "file", AtRandom(seed)).history) for seed in range(10)}) > 1


@pytest.mark.parametrize("fault", ["ENOSPC", "EIO", "EMFILE"])
def test_no_single_io_error_breaks_the_file_queue(fault):
    """Whatever call fails, once, the file queue keeps its promises; the error strikes claims and acks."""
    runs = swept(TWO_WORKERS, "file", fault)

    struck = {struck.operation for run in runs for struck in run.faults if struck.fault == fault}
    told = {str(operation.error) for run in runs for operation in run.history.operations}
    assert {"claim", "ack"} <= struck
    assert any(os.strerror(getattr(errno, fault)) in error for error in told)
    assert broken(runs) == set()


def test_what_can_not_be_simulated_says_so():
    """A subject that starts a subprocess is named as resting on stress alone."""

    def factory(_workdir, _policy):
        subprocess.run(["true"], check=True)  # noqa: S607 - never runs

    subject = Subject(reference="forks", factory=factory)
    with scratch() as workdir, pytest.raises(NotSimulatable, match="a subprocess at "):
        simulate(ONE_JOB, subject, PLAIN, workdir)
