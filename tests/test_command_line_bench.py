"""Does `ssq bench` time real queues, and say in one line what it can't do?"""

import json
import re

import pytest

from ssq_stress.bench.load import Load
from ssq_stress.bench.raw import LIMITS, limit_of
from ssq_stress.cli import run
from ssq_stress.command import benching
from ssq_stress.processes import host
from ssq_verify.subject import load

SMALL = ("--backlog", "60", "--workers", "2", "--repeat", "1")
LOSING = """
from itertools import count

from ssq_core.file import FileWorkerQueue


class Losing(FileWorkerQueue):
    asked = count(1)

    def claim(self, *, worker_id):
        claim = super().claim(worker_id=worker_id)
        if claim is not None and next(self.asked) % 10 == 0:
            self.ack(claim=claim)
            claim = super().claim(worker_id=worker_id)
        return claim


def open_queue(workdir, policy):
    return Losing(workdir / "queue", lease_ttl_seconds=policy.lease_ttl_seconds, durability="process-crash")
"""


@pytest.mark.scenario("benchmarks/every-job-once")
@pytest.mark.scenario("benchmarks/one-queue-alone")
@pytest.mark.scenario("benchmarks/the-line-that-scripts-read")
def test_a_queue_is_timed_beside_its_limit(tmp_path, capfd):
    """All its jobs, each once; the limit first, at 1; a line for scripts; the document in the folder."""
    code = run(["bench", "file", *SMALL, "--fill", "--out", str(tmp_path)])
    shown = capfd.readouterr().out
    document = json.loads((tmp_path / "bench.json").read_bytes())

    assert code == 0
    assert [each["subject"] for each in document["series"]] == [LIMITS["file"], "file"]
    assert [each["runs"][0]["claims"] for each in document["series"]] == [60, 60]
    assert document["series"][0]["times_first"] == 1
    assert re.search(r"^limit of file +60 +2 .* 1\.00$", shown, flags=re.MULTILINE)
    assert len(re.findall(r"result queued_jobs=60 claims=60 workers=2 elapsed_s=\d", shown)) == 2
    assert "160 enqueued" in shown


@pytest.mark.parametrize(
    "name", ["file-process-crash", "sqlite", "sqlite-process-crash", "postgres", "redis", "litequeue"]
)
def test_each_backend_has_a_limit(name, tmp_path, capfd):
    """On servers of their own, with each job done once."""
    code = run(["bench", name, *SMALL, "--json", "--out", str(tmp_path)])
    document = json.loads(capfd.readouterr().out)

    assert code == 0
    assert [each["subject"] for each in document["series"]] == [limit_of(load(name)), name]
    assert [each["runs"][0]["claims"] for each in document["series"]] == [60, 60]


def test_a_logged_run_prints_one_document(tmp_path, capfd, monkeypatch):
    """With `--json` and `--log-issue` nothing but the document is printed, and the run stands in the file."""
    monkeypatch.chdir(tmp_path)
    code = run(["bench", "file-process-crash", *SMALL, "--json", "--log-issue", "7"])

    assert code == 0
    assert len(json.loads(capfd.readouterr().out)["series"]) == 2
    logged = (tmp_path / "openspec/_ops/task_runs/ISSUE-7.md").read_text()
    assert "- Key output:" in logged
    assert "each job once, none lost, in every run" in logged


@pytest.mark.scenario("benchmarks/more-processes-than-promised")
def test_a_queue_for_one_process_is_marked():
    """Whether or not it broke this time; others are not, nor is it with one worker."""
    subjects = [load("litequeue"), load("persist-queue")]

    (line,) = benching._beyond(subjects, [Load(workers=1), Load(workers=2)])
    assert "persist-queue: it promises to work in one process, and was timed in 2" in line.plain
    assert list(benching._beyond(subjects, [Load(workers=1)])) == []


@pytest.mark.scenario("benchmarks/a-job-is-given-out-twice")
def test_a_queue_that_loses_jobs_is_marked(tmp_path, capfd):
    """Each tenth job is acked and never given out: the figures do not count."""
    (tmp_path / "losing.py").write_text(LOSING)
    few = ("--backlog", "200", "--claims", "60", "--workers", "2", "--repeat", "1")
    code = run(["bench", f"{tmp_path}/losing.py:open_queue", *few, "--out", str(tmp_path / "o")])

    assert code == 1
    assert "broke no-lost-job: its figures do not count" in capfd.readouterr().out


RAISING = """
from ssq_core.file import FileWorkerQueue


class Raising(FileWorkerQueue):
    def {operation}(self, *args, **kwargs):
        raise KeyError("lost")


def open_queue(workdir, policy):
    return Raising(workdir / "queue", durability="process-crash")
"""
SLEEPING = """
import os, time
from ssq_core.file import FileWorkerQueue


class Sleeping(FileWorkerQueue):
    def claim(self, *, worker_id):
        time.sleep(float(os.environ["CLAIM_SLEEPS"]))
        return super().claim(worker_id=worker_id)


def open_queue(workdir, policy):
    return Sleeping(workdir / "queue", lease_ttl_seconds=policy.lease_ttl_seconds, durability="process-crash")
"""


@pytest.mark.scenario("benchmarks/a-claim-that-became-slow")
def test_a_sleep_put_into_claim_is_a_regression(tmp_path, capfd, monkeypatch):
    """The same queue, before and after its claim came to sleep for twenty milliseconds."""
    (tmp_path / "mine.py").write_text(SLEEPING)
    command = ["bench", f"{tmp_path}/mine.py:open_queue", *SMALL]
    monkeypatch.setenv("CLAIM_SLEEPS", "0")
    host.renew_fork_server()
    before = run([*command, "--out", str(tmp_path / "before")])
    monkeypatch.setenv("CLAIM_SLEEPS", "0.02")
    host.renew_fork_server()
    baseline = str(tmp_path / "before/bench.json")
    after = run([*command, "--compare", baseline, "--out", str(tmp_path / "after")])
    host.renew_fork_server()

    assert (before, after) == (0, 1)
    told = capfd.readouterr().out
    assert re.search(r"mine\.py:open_queue, backlog 60, 2 workers: .* now: slower$", told, re.MULTILINE)


@pytest.mark.scenario("benchmarks/a-queue-that-raises")
@pytest.mark.parametrize("operation", ["enqueue_many", "claim", "ack"])
def test_what_a_queue_raises_is_no_failure_of_ours(operation, tmp_path, capfd):
    """One line with the error and the worker, and 64: it is the queue's."""
    (tmp_path / "raising.py").write_text(RAISING.format(operation=operation))
    code = run(["bench", f"{tmp_path}/raising.py:open_queue", *SMALL, "--out", str(tmp_path / "o")])
    shown = capfd.readouterr().err

    assert code == 64
    assert "raised KeyError: 'lost'" in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(
            ["--tier", "0", "--workers", "10"],
            "--tier 0 speaks of at most 4 workers",
            marks=pytest.mark.scenario("benchmarks/a-load-outside-the-tier"),
        ),
        pytest.param(["--backlog", "many"], "--backlog many: not a list of numbers above 0"),
        pytest.param(["--mode", "open"], "--mode open and --rate go together"),
        pytest.param(
            ["--compare", "/nowhere/bench.json"],
            "/nowhere/bench.json: no such file",
            marks=pytest.mark.scenario("benchmarks/another-run"),
        ),
    ],
)
def test_what_can_not_be_done_is_one_line(arguments, told, tmp_path, capfd):
    """Before anything is timed."""
    code = run(["bench", "file", *arguments, "--out", str(tmp_path / "o")])
    shown = capfd.readouterr().err

    assert code == 64
    assert told in shown
    assert shown.count("\n") == 1
