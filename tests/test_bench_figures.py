"""Are a benchmark's figures those that can be worked out by hand, and its gates shut where they must be?"""

from datetime import UTC, datetime
from itertools import count

import msgspec
import pytest

from ssq_stress.bench import comparing, judging, plots, task_log
from ssq_stress.bench.comparing import InvalidBaseline
from ssq_stress.bench.environment import environment
from ssq_stress.bench.figures import Figures, figures, middle, ratio, result_line
from ssq_stress.bench.hands import EMPTY_SECONDS, Sheet, _timetable, _worked
from ssq_stress.bench.load import Load
from ssq_stress.bench.raw import LIMITS, limit_of
from ssq_stress.bench.series import Results, Series
from ssq_stress.bench.tiers import TIERS, judged
from ssq_stress.bench.times import Effort, Filled, Pair
from ssq_stress.latency import Latency
from ssq_verify.history import Terms
from ssq_verify.subject import load

MS = 1_000_000
"""Nanoseconds."""


def pair(number, *, asked_ms, claim_ms=1, ack_ms=1, due_ms=None, worker="w1", job=None, claim=None):
    """Return one claim and its ack."""
    return Pair(
        job or f"j{number}",
        claim or f"c{number}",
        1,
        worker,
        (asked_ms if due_ms is None else due_ms) * MS,
        asked_ms * MS,
        (asked_ms + claim_ms) * MS,
        (asked_ms + claim_ms + ack_ms) * MS,
    )


def filled(*jobs):
    """Return that these jobs were enqueued, one after the other, in a millisecond each."""
    return [Filled(job, "w1", number * MS, (number + 1) * MS) for number, job in enumerate(jobs)]


def measured(*, jobs_min=60_000.0, p95_ms=1.0, broken=()):
    """Return the figures of a run of one second."""
    latency = Latency(count=1, p50_ms=p95_ms / 2, p95_ms=p95_ms, p99_ms=p95_ms, p999_ms=p95_ms, max_ms=p95_ms)
    return Figures(
        claims=round(jobs_min / 60),
        elapsed_s=1.0,
        claim=latency,
        ack=latency,
        histogram=figures([pair(0, asked_ms=0)], [], []).histogram,
        empty_claims=0,
        enqueued=10,
        fill_s=1.0,
        cpu_s=0.1,
        peak_mb=50.0,
        broken=broken,
    )


def series(name="file", *, times_first=1.0, runs=None, workers=4, backlog=2_000):
    """Return one subject under one load."""
    return Series(
        subject=name,
        backlog=backlog,
        workers=workers,
        payload_bytes=0,
        rate=None,
        runs=runs or (measured(),),
        times_first=times_first,
    )


def results(tmp_path, *each):
    """Return what a run says."""
    return Results(environment=environment(tmp_path), repeat=1, series=each)


@pytest.mark.scenario("benchmarks/times-become-figures")
def test_figures_are_those_worked_out_by_hand():
    """Ten pairs of 3 ms, each 10 ms after the other: 93 ms in all, a claim takes 2 ms, an ack 1 ms."""
    pairs = [pair(number, asked_ms=10 * number, claim_ms=2) for number in range(10)]
    found = figures(pairs, [Effort(0.5, 40_000_000), Effort(0.25, 60_000_000)], filled("a", "b", "c", "d"))

    assert found.elapsed_s == pytest.approx(0.093)
    assert found.jobs_min == pytest.approx(60 * 10 / 0.093)
    assert found.claim.p50_ms == pytest.approx(2, rel=1e-3)
    assert found.ack.max_ms == pytest.approx(1, rel=1e-3)
    assert found.enqueues_s == pytest.approx(1_000)
    assert (found.cpu_s, found.peak_mb) == (0.75, 60.0)


def test_a_claim_that_found_nothing_counts_as_a_claim():
    """Its time is claim latency, too: a queue that is slow to say so is a slow queue."""
    found = figures([pair(0, asked_ms=0)], [Effort(0.0, 0, (50 * MS, 60 * MS))], [])

    assert found.empty_claims == 2
    assert found.claim.max_ms == pytest.approx(60, rel=1e-3)
    assert found.claims == 1


@pytest.mark.scenario("benchmarks/claims-wait-behind-one-that-stalls")
def test_latency_counts_from_when_a_claim_was_due(monkeypatch):
    """At one claim each 10 ms, one of 35 ms makes the three behind it late by 25, 15 and 5 ms."""
    now = [0]
    takes = iter([35 * MS, 0, 0, 0, 0])
    monkeypatch.setattr("ssq_stress.bench.hands.MONOTONIC_NS", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: now.__setitem__(0, now[0] + round(seconds * 1e9)))

    class Queue:
        def claim(self, *, worker_id):
            now[0] += next(takes)
            return msgspec.defstruct("Claim", [("job_id", str), ("claim_id", str)])("j", worker_id)

        def ack(self, *, claim):
            assert claim.job_id == "j"

    task = msgspec.defstruct("Task", ["load", "number"])(Load(workers=1, rate=100.0), 0)
    sheet = Sheet("w1")
    _worked(Queue(), iter(range(5)), sheet, _timetable(task, 0), 10**12)
    late = [(each.claimed_ns - each.due_ns) / MS for each in sheet.pairs()]

    assert late == [35, 25, 15, 5, 0]


def test_a_worker_asks_again_until_it_has_its_job(monkeypatch):
    """A claim that found nothing is noted, and its turn is not lost."""
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    answers = iter([None, None, pair(0, asked_ms=0)])

    class Queue:
        def claim(self, *, worker_id):
            assert worker_id == "w1"
            return next(answers)

        def ack(self, *, claim):
            assert claim.job_id == "j0"

    sheet = Sheet("w1")
    _worked(Queue(), iter(range(1)), sheet, count().__next__, 10**30)

    assert len(sheet.claims) == 1
    assert len(sheet.empty_ns) == 2
    assert slept == [EMPTY_SECONDS, EMPTY_SECONDS]


@pytest.mark.scenario("benchmarks/a-job-is-given-out-twice")
@pytest.mark.parametrize(
    ("pairs", "left", "broken"),
    [
        ([pair(0, asked_ms=10), pair(1, asked_ms=20)], 1, ()),
        ([pair(0, asked_ms=10), pair(1, asked_ms=20)], 0, ("no-lost-job",)),
        ([pair(0, asked_ms=10), pair(1, asked_ms=20)], None, ()),
    ],
    ids=["all there", "one lost", "a queue that can not count"],
)
def test_a_run_counts_its_jobs(pairs, left, broken):
    """Of three jobs two were done: one must be left."""
    assert judging.broken("a queue", Terms(), filled("j0", "j1", "j2"), pairs, left) == broken


@pytest.mark.scenario("benchmarks/a-job-is-given-out-twice")
def test_a_job_that_two_workers_have_is_seen():
    """The same job, claimed by both before either acked."""
    both = [
        pair(0, asked_ms=10, ack_ms=50, job="j", claim="c1"),
        pair(1, asked_ms=20, ack_ms=50, job="j", claim="c2", worker="w2"),
    ]

    assert "linearizable" in judging.broken("a queue", Terms(), filled("j"), both, 0)


def test_ratios_are_taken_turn_by_turn():
    """A machine that slows down to a half strikes both alike, and the ratio stays."""
    own = [measured(jobs_min=600), measured(jobs_min=300), measured(jobs_min=600)]
    base = [measured(jobs_min=1200), measured(jobs_min=600), measured(jobs_min=1200)]

    assert ratio(own, base) == 0.5
    assert middle(own).jobs_min == 600


@pytest.mark.scenario("benchmarks/the-line-that-scripts-read")
def test_the_line_that_scripts_read():
    """Names and order are an interface."""
    line = result_line(measured(), Load(backlog=2_000, workers=4))

    assert line == (
        "result queued_jobs=2000 claims=1000 workers=4 elapsed_s=1.000 jobs_s=1000.0 jobs_min=60000 "
        "claim_p50_ms=0.500 claim_p95_ms=1.000 claim_p99_ms=1.000"
    )


@pytest.mark.scenario("benchmarks/pass-and-fail")
@pytest.mark.parametrize(
    ("run", "missed"),
    [
        (measured(), ()),
        (measured(jobs_min=0.0), ("0 jobs/min, at least 20 are asked",)),
        (measured(p95_ms=251.0), ("claim p95 251.0 ms, at most 250 ms are allowed",)),
        (measured(broken=("fencing",)), ("broke fencing",)),
    ],
    ids=["within", "too slow", "too late", "broken"],
)
def test_a_tier_names_what_was_missed(run, missed):
    """An embedded queue past tier 0 is told where to go; one that broke a promise is not."""
    judgement = judged(TIERS[0], series(runs=(run,)), load("file"))

    assert judgement.missed == missed
    assert judgement.is_passed == (not missed)
    assert ("migrate" in judgement.advice) == (bool(missed) and not run.broken)


@pytest.mark.scenario("benchmarks/a-claim-that-became-slow")
@pytest.mark.parametrize(("now", "is_red"), [(0.4, False), (0.25, False), (0.15, True)])
def test_a_ratio_that_fell_by_more_than_half_is_a_regression(tmp_path, now, is_red):
    """Absolute figures play no part: here they are all the same."""
    before = results(tmp_path, series("limit"), series("file", times_first=0.4))
    (change,) = comparing.changes(results(tmp_path, series("limit"), series("file", times_first=now)), before)

    assert change.is_regression == is_red


@pytest.mark.scenario("benchmarks/another-run")
def test_runs_with_nothing_in_common_are_refused(tmp_path):
    """Another load, another first subject, or no document at all."""
    now = results(tmp_path, series("limit"), series("file"))
    (tmp_path / "no.json").write_text('{"environment": 1}')

    with pytest.raises(InvalidBaseline, match="none of these subjects"):
        comparing.changes(now, results(tmp_path, series("limit"), series("file", workers=9)))
    with pytest.raises(InvalidBaseline, match="none of these subjects"):
        comparing.changes(now, results(tmp_path, series("sqlite"), series("file")))
    with pytest.raises(InvalidBaseline, match="not what"):
        comparing.read(tmp_path / "no.json")


@pytest.mark.scenario("benchmarks/two-runs-of-an-issue")
def test_runs_are_logged_one_below_the_other(tmp_path):
    """The first makes the file; the second leaves the first as it is."""
    blocks = [
        task_log.block(
            title=f"run {number}",
            command=["ssq", "bench", "a queue.py:f"],
            key_output=["result claims=1"],
            evidence=["a machine"],
            at=datetime(2026, 1, 2, 3, number, tzinfo=UTC),
        )
        for number in (4, 5)
    ]
    for block in blocks:
        path = task_log.append(7, block, folder=tmp_path / "runs")
    text = path.read_text()

    assert path.name == "ISSUE-7.md"
    assert text.startswith(
        "# ISSUE-7\n\n## Plan\n\n## Runs\n\n### 2026-01-02 03:04 UTC run 4\n\n- Command: `ssq bench"
    )
    assert text.index(blocks[0].rstrip()) < text.index(blocks[1].rstrip())
    assert all(text.count(f"- {part}:") == 2 for part in ("Command", "Key output", "Evidence"))


@pytest.mark.scenario("benchmarks/a-peer-alone")
@pytest.mark.parametrize(
    ("names", "limit"),
    [
        (("file", "naive-file"), "file"),
        (("file-process-crash", "dirq", "huey-file"), "file-process-crash"),
        (("sqlite",), "sqlite"),
        (("sqlite-process-crash", "litequeue", "persist-queue", "huey-sqlite"), "sqlite-process-crash"),
        (("postgres", "procrastinate", "pgqueuer"), "postgres"),
        (("redis", "rq", "huey-redis"), "redis"),
    ],
)
def test_a_queue_is_held_against_the_limit_of_its_own_class(names, limit):
    """By where it keeps its jobs, and by what it promises to survive there."""
    assert {limit_of(load(name)) for name in names} == {LIMITS[limit]}


@pytest.mark.scenario("benchmarks/three-plots")
def test_plots_have_all_subjects(tmp_path):
    """Each of the three, as a picture and as a drawing that names both queues."""
    both = [series(name, backlog=backlog) for backlog in (200, 2_000) for name in ("file", "sqlite")]
    written = plots.draw(results(tmp_path, *both), tmp_path)

    assert sorted(path.suffix for path in written) == [".png"] * 3 + [".svg"] * 3
    for path in written:
        if path.suffix == ".svg":
            assert all(f">{name}<" in path.read_text() for name in ("file", "sqlite"))
