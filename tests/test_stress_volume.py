"""Are so many jobs put through, each done with, and are the figures of the rounds added up right?"""

import subprocess
import sys

import pytest

from ssq_core.file import FileWorkerQueue
from ssq_stress import conductor, judging, latency
from ssq_stress.command import stressing
from ssq_stress.conductor import one_of_each
from ssq_stress.faults import Fault, Order, Phase, Strike
from ssq_stress.runner import Plan, stress
from ssq_stress.side_verdicts import COVERAGE
from ssq_stress.volume import JOBS_IN_THE_END, JOBS_PER_ROUND, rounds_of
from ssq_verify import history as histories
from ssq_verify.notation import h
from ssq_verify.subject import Promises, Subject, load
from ssq_verify.verdict import Finding

JOBS = 2_000
PROGRAM = """
import sys

from ssq_stress import cli
from ssq_stress.supervisor import ended, preload, started


def tell(path):
    import sys
    from pathlib import Path

    Path(path).write_text(str("ssq_stress.cli" in sys.modules))


preload()
ended(started(tell, sys.argv[1]), seconds_max=60.0)
"""


def milled(subject, out, jobs, *, consumers=4):
    """Put so many jobs through a queue while workers are killed."""
    out.mkdir()
    plan = Plan(seconds=1.0, jobs=jobs, consumers=consumers, producers=2, faults=frozenset({Fault.KILL}))
    report, _ = stress(subject, plan, out=out)
    return report, {each.invariant: each for each in report.verdicts}


@pytest.mark.scenario("stress/so-many-jobs")
def test_so_many_jobs_are_put_through(tmp_path):
    """Each of so many jobs is acked or dead in the end, and time, rate and latency are told."""
    report, verdicts = milled(load("sqlite"), tmp_path / "out", JOBS)
    shown = " ".join("\n".join(line.plain for line in stressing.lines(report, [], columns=100)).split())

    assert not [each for each in report.verdicts if each.verdict is Finding.VIOLATED]
    assert report.jobs >= JOBS
    assert report.tally["drained"] == report.rounds
    assert verdicts["no-lost-job"].verdict is Finding.HOLDS
    assert report.kills > 0
    assert f"{report.jobs:,} jobs enqueued, " in shown
    assert 0 < report.claim_latency.count <= report.tally["claim ok"]
    assert f"claims took p50 {report.claim_latency.p50_ms:.1f}, p95 " in shown
    assert list((tmp_path / "out/rounds").iterdir()) == []


@pytest.mark.scenario("stress/a-queue-that-takes-no-more")
def test_a_queue_that_takes_no_more_ends_the_run(tmp_path, monkeypatch):
    """Where no job can be enqueued any more the run ends, and the verdict says how many there were."""
    monkeypatch.setattr(conductor, "STALLED_SECONDS", 1.0)

    class Full(FileWorkerQueue):
        def enqueue(self, job_id, *, payload=b""):  # noqa: ARG002 - the contract's
            raise OSError("no room")

        def enqueue_many(self, jobs):  # noqa: ARG002 - as above
            raise OSError("no room")

    def factory(workdir, policy):
        return Full(workdir / "queue", lease_ttl_seconds=policy.lease_ttl_seconds, clock=policy.clock)

    monkeypatch.setattr("ssq_stress.rounds.FILL_SECONDS_MAX", 0.2)
    subject = Subject(reference="mine", factory=factory, promises=Promises(max_clock_skew_seconds=0.0))
    report, verdicts = milled(subject, tmp_path / "out", 10, consumers=1)

    assert (report.jobs, report.rounds) == (0, 1)
    assert verdicts[COVERAGE].verdict is Finding.VACUOUS
    assert verdicts[COVERAGE].sentence.startswith("only 0 of 10 jobs could be enqueued")


@pytest.mark.scenario("stress/the-last-rounds-are-short")
@pytest.mark.parametrize("jobs", [1, JOBS_IN_THE_END, JOBS_PER_ROUND + 1, 1_000_000])
def test_the_last_rounds_are_short(jobs):
    """The rounds come to all the jobs, none is too long, and the last is short."""
    done = []
    rounds = rounds_of(jobs, [frozenset({Fault.KILL})], seed=0, enqueued=lambda: sum(done))
    done.extend(each.jobs for each in rounds)

    assert sum(done) == jobs
    assert max(done) <= JOBS_PER_ROUND
    assert done[-1] <= JOBS_IN_THE_END


@pytest.mark.scenario("stress/latencies-add-up")
def test_latencies_of_rounds_add_up():
    """Claims before the faults ended, of all rounds, are one distribution; later ones are not in it."""
    first = h("w1 enqueue j1", "w1 claim <", "+3s", "w1 > j1#1", "heal", "w1 claim <", "+9s", "w1 > -")
    second = h("w1 enqueue j1", "w1 claim <", "+1s", "w1 > j1#1", "heal")
    told = latency.together([latency.claims(first), latency.claims(second)])

    assert told.count == 2
    assert told.p50_ms == pytest.approx(1_000, rel=0.01)
    assert told.max_ms == pytest.approx(3_000, rel=0.01)
    assert latency.together([]) is None


@pytest.mark.scenario("stress/a-long-history-is-bounded")
def test_a_long_history_is_bounded(tmp_path, monkeypatch):
    """Beyond the limit a round is added only if something in it broke; what is there stays one history."""
    monkeypatch.setattr(judging, "HISTORY_BYTES_MAX", 0)
    path, round_ = tmp_path / "history.jsonl", h("w1 enqueue j1", "w1 claim j1#1", "w1 ack j1#1")
    for number, is_broken in enumerate([False, False, True]):
        judging.append(round_, path, number, is_needed=is_broken)

    assert {event.run for event in histories.read(path).events} == {0, 2}


@pytest.mark.scenario("stress/nobody-meets-all-that-was-due")
def test_nobody_meets_all_that_was_due():
    """Of the strikes that waited for a worker, one of each kind is left, and none at random."""
    at_ack, at_claim = (Order(fault=Fault.KILL, phase=phase) for phase in (Phase.ACK, Phase.CLAIM))

    def strike(order, at_seconds, *, is_random=False):
        return Strike(at_seconds=at_seconds, worker=0, order=order, is_random=is_random)

    waiting = [strike(at_ack, 1.0), strike(at_ack, 2.0), strike(at_claim, 3.0, is_random=True)]

    assert [each.order for each in one_of_each(waiting)] == [at_ack]


@pytest.mark.scenario("stress/the-program-is-loaded-once")
def test_the_program_is_loaded_once(tmp_path):
    """A worker finds what the command line imports already there, loaded once by the fork server."""
    subprocess.run([sys.executable, "-c", PROGRAM, tmp_path / "told"], check=True, timeout=120)

    assert (tmp_path / "told").read_text() == "True"
