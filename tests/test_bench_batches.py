"""Is a queue that takes many jobs a call timed so, its jobs counted, and its calls' latency theirs?"""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from ssq_stress.bench import comparing, judging
from ssq_stress.bench.figures import figures
from ssq_stress.bench.hands import Sheet, _worked
from ssq_stress.bench.load import Load
from ssq_stress.bench.times import Filled, Pair
from ssq_stress.cli import run
from ssq_verify.history import Terms

TESTS = Path(__file__).parent
MS = 1_000_000
SMALL = ("--backlog", "60", "--workers", "2", "--repeat", "1")
MANY = """
from defects_of_batches import ManyToy


def open_queue(workdir, policy):
    return ManyToy(workdir, policy)


def open_losing(workdir, policy):
    return Losing(workdir, policy)


class Losing(ManyToy):
    def claim_many(self, limit, *, worker_id):
        taken = super().claim_many(limit, worker_id=worker_id)
        if len(taken) > 1:
            self.ack(claim=taken.pop())
        return taken
"""


@pytest.fixture
def many(tmp_path):
    """Return where queues are that take many jobs a call: one is sound, one loses the last of each call."""
    path = tmp_path / "many.py"
    path.write_text(f"import sys\n\nsys.path.insert(0, {str(TESTS)!r})\n{MANY}")
    return path


def call(worker, asked_ms, *jobs):
    """Return the pairs of a call with these jobs: a claim of 4 ms and an ack of 2."""
    instants = [asked_ms, asked_ms, asked_ms + 4, asked_ms + 6]
    return [Pair(job, f"c {job}", 1, worker, *(each * MS for each in instants)) for job in jobs]


class Giving:
    """Gives at most two jobs a call, and none at the first."""

    def __init__(self):
        self.asked = []
        self.acked = []

    def claim_many(self, limit, *, worker_id):
        """Give some jobs."""
        self.asked.append((worker_id, limit))
        if len(self.asked) == 1:
            return []
        first = len(self.asked) * 10
        return [SimpleNamespace(job_id=f"j{first + more}", claim_id="c") for more in range(min(limit, 2))]

    def ack_many(self, *, claims):
        """Take them."""
        self.acked.append(len(claims))


@pytest.mark.scenario("benchmarks/many-jobs-a-call")
def test_throughput_counts_jobs_and_latency_calls():
    """Two calls with three jobs in 10 ms are six jobs, and two claims of 4 ms each."""
    pairs = [*call("w1", 0, "j1", "j2", "j3"), *call("w2", 4, "j4", "j5", "j6")]

    found = figures(pairs, [], [])

    assert (found.claims, found.jobs_s) == (6, 600)
    assert (found.claim.count, found.ack.count) == (2, 2)
    assert found.claim.max_ms == pytest.approx(4, rel=1e-3)


@pytest.mark.scenario("benchmarks/many-jobs-a-call")
def test_a_call_with_many_is_judged_as_one():
    """Its jobs are operations of one worker at once, and one that is given out twice is seen."""
    jobs = [Filled(f"j{number}", "w1", 0, MS) for number in range(1, 4)]
    right = [*call("w1", 2, "j1", "j2"), *call("w2", 3, "j3")]
    wrong = [*call("w1", 2, "j1", "j2"), *call("w2", 3, "j2", "j3")]

    history = judging.history("mine", Terms(), jobs, right).validated()

    assert [each.lane for each in history.operations if each.worker == "w1" and each.f == "ack"] == [0, 1]
    assert judging.broken("mine", Terms(), jobs, right, 0) == ()
    assert "linearizable" in judging.broken("mine", Terms(), jobs, wrong, 0)


@pytest.mark.scenario("benchmarks/many-jobs-a-call")
def test_as_many_jobs_are_taken_as_were_asked_for():
    """Where a call gives fewer, another one asks for the rest; what was left of the turns comes last."""
    queue, sheet = Giving(), Sheet("w1")

    _worked(queue, iter(range(7)), sheet, lambda: 0, until_ns=1 << 62, batch=4)

    assert [limit for _, limit in queue.asked] == [4, 4, 2, 3, 1]
    assert (queue.acked, len(list(sheet.pairs())), len(sheet.empty_ns)) == ([2, 2, 2, 1], 7, 1)


def test_a_worker_is_given_whole_calls():
    """What it takes at a time is a multiple of what a call is about."""
    assert [Load(batch=batch).block for batch in (1, 10, 100)] == [25, 20, 100]


@pytest.mark.scenario("benchmarks/many-jobs-a-call")
def test_calls_with_many_are_timed_beside_single_ones(many, tmp_path, capfd):
    """One run has both, each job once; a queue that takes one a call is measured so, and marked."""
    queues = ("naive-file", f"{many}:open_queue")
    code = run(["bench", *queues, *SMALL, "--batch", "1,5", "--out", str(tmp_path / "out")])
    shown = capfd.readouterr().out
    series = json.loads((tmp_path / "out/bench.json").read_bytes())["series"]

    assert code == 0
    assert [(each["batch"], each["runs"][0]["batch"]) for each in series] == [(1, 1), (1, 1), (5, 1), (5, 5)]
    assert [each["runs"][0]["claims"] for each in series] == [60] * 4
    assert series[3]["runs"][0]["claim"]["count"] <= 60 / 5 + series[3]["runs"][0]["empty_claims"] + 4
    assert shown.count("naive-file takes one job a call, and was measured so") == 1
    assert re.search(r"open_queue, 5 a call: result queued_jobs=60 claims=60 workers=2 ", shown)


@pytest.mark.scenario("benchmarks/many-jobs-a-call")
def test_a_queue_that_loses_one_of_many_is_marked(many, tmp_path, capfd):
    """It is right for single jobs; of many, one is acked and never given out."""
    few = ("--backlog", "80", "--claims", "40", "--workers", "2", "--repeat", "1", "--batch", "5")
    code = run(["bench", f"{many}:open_losing", *few, "--out", str(tmp_path / "out")])

    assert code == 1
    assert "broke no-lost-job" in capfd.readouterr().out


def test_a_baseline_is_of_the_same_number_a_call(many, tmp_path, capfd):
    """A run with five jobs a call is not held against one with single jobs."""
    path = tmp_path / "before"
    queues = ("naive-file", f"{many}:open_queue")
    run(["bench", *queues, *SMALL, "--out", str(path)])
    before = comparing.read(path / "bench.json")
    capfd.readouterr()

    code = run(["bench", *queues, *SMALL, "--batch", "5", "--compare", str(path / "bench.json")])

    assert [each.batch for each in before.series] == [1, 1]
    assert (code, "none of these subjects under these loads" in capfd.readouterr().err) == (64, True)


@pytest.mark.parametrize(
    ("batch", "told"), [("0", "--batch 0"), ("ten", "--batch ten"), ("1001", "at most 1,000 jobs")]
)
def test_a_number_that_no_call_takes_is_one_line(batch, told, capfd, is_one_line):
    """It is refused before anything is timed."""
    code = run(["bench", "naive-file", *SMALL, "--batch", batch])

    assert code == 64
    assert is_one_line(capfd.readouterr().err, told)
