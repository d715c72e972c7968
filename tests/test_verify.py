"""A verification ends in verdicts, each violation with a short repro that can be replayed."""

import atexit
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import msgspec
import pytest

from ssq_verify import failures
from ssq_verify import history as history_module
from ssq_verify import verify as verify_module
from ssq_verify.execution import execute, scratch
from ssq_verify.generation import Effort, generate
from ssq_verify.history import History, joined
from ssq_verify.judge import IDS, judge
from ssq_verify.profiles import PROFILES
from ssq_verify.repro import load, replay, violations
from ssq_verify.subject import Subject, SubjectFailed
from ssq_verify.subject import load as load_subject
from ssq_verify.verdict import EXIT_OK, EXIT_UNDECIDED, EXIT_VIOLATED, Finding, Verdict, exit_code
from ssq_verify.verify import verify

NAIVE_DEFECTS = {
    "fencing",
    "bounded-retries",
    "single-claimer",
    "reclaim-on-expiry",
    "no-lost-job",
    "progress",
    "durable",
}
QUICK = PROFILES["quick"]
RACED = replace(QUICK.simulation, crash_scenarios=4, random=50, seconds_max=600.0)
SMALL = Effort(examples=40, steps=15, seconds_max=600)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Run where nothing was kept before."""
    monkeypatch.chdir(tmp_path)


in_one_process = pytest.mark.xdist_group("naive report")
"""What asks for the report below, which takes long, and once is enough."""


@cache
def naive_report():
    """Return one report on the naive file queue, with all its files."""
    out = Path(mkdtemp(prefix="ssq-test-"))
    atexit.register(rmtree, out, ignore_errors=True)
    seen = []
    report = verify(
        load_subject("naive-file"),
        profile="quick",
        seed=0,
        only=None,
        out=out,
        progress=seen.append,
        processes=2,
    )
    return report, seen


def violated():
    """Return the naive queue's violations by invariant."""
    verdicts = naive_report()[0].verdicts
    return {each.invariant: each for each in verdicts if each.verdict is Finding.VIOLATED}


def generated(name, effort, *, seed):
    """Return what a seed gives on a subject, as one history."""
    return joined([example.history for example in generate(load_subject(name), effort, seed=seed)])


def accusations(verdicts):
    """Return what the violated invariants say."""
    return {each.invariant: each.sentence for each in verdicts if each.verdict is Finding.VIOLATED}


@in_one_process
@pytest.mark.scenario("verdicts/a-queue-with-real-defects")
def test_the_naive_queue_is_found_out():
    """What turns, races and losses of power show is found, and a job lost in two ways."""
    lost = violated()["no-lost-job"]
    ways = [load(Path(path)).taken[-1].chosen for path in (lost.repro, *lost.also)]

    assert set(violated()) >= NAIVE_DEFECTS
    assert ways == ["run w2", "kill", "EIO"]
    assert exit_code(naive_report()[0].verdicts) == EXIT_VIOLATED


@in_one_process
@pytest.mark.scenario("verdicts/a-short-story")
def test_each_violation_has_a_story_of_at_most_ten_steps():
    """Its repro has at most ten steps, and none of them can be dropped."""
    subject = load_subject("naive-file")
    for verdict in violated().values():
        repro = load(Path(verdict.repro))
        scenario = repro.scenario
        if repro.tape is not None:
            continue
        assert 0 < len(scenario.steps) <= 10
        for position in range(len(scenario.steps)):
            steps = scenario.steps[:position] + scenario.steps[position + 1 :]
            with scratch() as workdir:
                history = execute(msgspec.structs.replace(scenario, steps=steps), subject, workdir)
            assert not violations(history, verdict.invariant), (verdict.invariant, position)


@in_one_process
def test_each_repro_repeats():
    """Every violation is replayed from its file, with the same bytes and the same sentence each time."""
    for verdict in violated().values():
        repro = load(Path(verdict.repro))
        outcomes = [replay(repro) for _ in range(3)]
        assert all(outcome.still_fails and outcome.is_same_history for outcome in outcomes)
        assert repro.sentence == verdict.sentence == outcomes[0].violation.sentence


@in_one_process
@pytest.mark.scenario("verdicts/the-report-is-json")
def test_a_report_is_written_as_json_with_its_history():
    """`verdicts.json` has all of the report's fields; `history.jsonl`, judged again, is judged alike."""
    report, _ = naive_report()
    document = json.loads((Path(report.out) / "verdicts.json").read_text())
    history = history_module.read(Path(report.out) / "history.jsonl")

    assert {"subject", "seed", "profile", "ways", "verdicts", "explored"} <= set(document)
    assert [each["invariant"] for each in document["verdicts"]] == list(IDS)
    assert (document["subject"], document["seed"], document["ways"]) == (
        "naive-file",
        0,
        ["model", "simulation"],
    )
    again = judge(history, ways=("log",))
    assert {each.invariant for each in again if each.verdict is Finding.VIOLATED} == set(violated())


@in_one_process
def test_progress_is_told_while_it_runs():
    """The phases come in their order, and none is further than its total."""
    phases = list(dict.fromkeys(each.phase.split()[0] for each in naive_report()[1]))

    assert phases == ["trying", "generating", "judging", "simulating", "shrinking"]
    assert all(0 <= each.done <= each.total for each in naive_report()[1])


@pytest.mark.scenario("verdicts/a-correct-queue")
@pytest.mark.parametrize("name", ["file", "sqlite", "memory"])
def test_a_correct_queue_holds_what_a_sequential_run_can_show(name):
    """Nothing is violated, and nothing is vacuous that a sequential run can exercise."""
    verdicts = judge(generated(name, PROFILES["quick"].effort, seed=0), ways=("model",))

    assert accusations(verdicts) == {}
    assert exit_code(verdicts) == EXIT_OK


@pytest.mark.parametrize("name", ["file", "sqlite", "memory"])
def test_a_correct_queue_is_not_accused_whatever_the_seed(name):
    """Over several seeds, judged together, no run breaks anything."""
    histories = [generated(name, SMALL, seed=seed) for seed in range(1, 6)]

    assert accusations(judge(joined(histories), ways=("model",))) == {}


def test_only_the_asked_invariants_are_judged(tmp_path, monkeypatch):
    """With `only`, one verdict is given, and the rest is not shrunk either."""
    monkeypatch.setitem(PROFILES, "quick", replace(QUICK, effort=SMALL, simulation=RACED, tries_max=100))
    report = verify(
        load_subject("naive-file"), profile="quick", seed=None, only={"fencing"}, out=tmp_path / "out"
    )

    assert [each.invariant for each in report.verdicts] == ["fencing"]
    assert [path.name for path in (tmp_path / "out" / "repros").iterdir()] == ["fencing.json"]
    assert report.seed == verify_module.SEED


@pytest.mark.scenario("verdicts/failing-examples-are-kept")
def test_a_kept_failure_is_tried_first_until_it_is_fixed(tmp_path, monkeypatch):
    """It makes its invariant violated without being found anew, and is dropped when the queue is fixed."""
    monkeypatch.setitem(PROFILES, "quick", replace(QUICK, effort=SMALL, simulation=RACED, tries_max=100))
    source = tmp_path / "theirs.py"
    source.write_text("from ssq_verify.subjects.naive_file import open_queue\n")
    reference = f"{source}:open_queue"
    first = verify(load_subject(reference), profile="quick", seed=0, only={"fencing"}, out=tmp_path / "1")
    monkeypatch.setitem(
        PROFILES, "quick", replace(QUICK, effort=replace(SMALL, examples=1), simulation=RACED)
    )
    again = verify(load_subject(reference), profile="quick", seed=0, only={"fencing"}, out=tmp_path / "2")
    source.write_text("from ssq_verify.subjects.memory import open_queue\n")
    fixed = verify(load_subject(reference), profile="quick", seed=0, only={"fencing"}, out=tmp_path / "3")

    assert (first.kept, again.kept) == ((), (("fencing.json", "still fails"),))
    assert again.verdicts[0].verdict is Finding.VIOLATED
    assert load(Path(again.verdicts[0].repro)) == load(Path(first.verdicts[0].repro))
    assert fixed.kept == (("fencing.json", "fixed"),)
    assert fixed.verdicts[0].verdict is not Finding.VIOLATED
    assert failures.kept(load_subject(reference)) == []


def test_a_run_that_is_cut_by_time_says_so(tmp_path, monkeypatch):
    """If the time runs out, fewer examples are judged, and the report counts those that were not run."""
    effort = Effort(examples=40, steps=15, seconds_max=-1.0)
    monkeypatch.setitem(PROFILES, "quick", replace(QUICK, effort=effort, simulation=RACED, tries_max=10))
    report = verify(load_subject("memory"), profile="quick", seed=0, only=None, out=tmp_path / "out")

    assert report.explored["examples cut by time"] == 40
    assert "examples" not in report.explored


def test_a_queue_that_can_not_be_opened_ends_the_verification(tmp_path):
    """A factory that raises is one clear error, and no verdict."""

    def factory(_workdir, _policy):
        raise PermissionError("no entry")

    with pytest.raises(SubjectFailed, match="no entry"):
        verify(Subject(reference="theirs", factory=factory), profile="quick", seed=0, only=None, out=tmp_path)


@pytest.mark.scenario("verdicts/the-exit-code-of-verdicts")
@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([], 0),
        ([(Finding.HOLDS, None), (Finding.NOT_OFFERED, None)], 0),
        ([(Finding.VACUOUS, "simulation")], 0),
        ([(Finding.VACUOUS, None)], 3),
        ([(Finding.UNKNOWN, None), (Finding.HOLDS, None)], 3),
        ([(Finding.UNKNOWN, None), (Finding.VIOLATED, None)], 1),
        ([(Finding.VIOLATED, "simulation")], 1),
    ],
)
def test_the_exit_code_is_the_worst_of_the_verdicts(findings, code):
    """Violated before undecided before fine; what needs another way is no reproach."""
    verdicts = tuple(
        Verdict(invariant="fencing", verdict=finding, sentence="", needs=needs) for finding, needs in findings
    )

    assert exit_code(verdicts) == code


@pytest.mark.scenario("verdicts/an-invariant-that-was-asked-for-by-name-was-not-tried")
def test_what_was_asked_for_by_name_is_not_green_by_silence():
    """A verdict that needs another way counts as undecided where it was asked for by name."""
    untried = Verdict(invariant="durable", verdict=Finding.VACUOUS, sentence="", needs="simulation")
    held = Verdict(invariant="fencing", verdict=Finding.HOLDS, sentence="")

    assert exit_code((held, untried), by_name=True) == EXIT_UNDECIDED
    assert exit_code((held,), by_name=True) == EXIT_OK


@pytest.mark.scenario("verdicts/a-run-in-which-nothing-happened")
def test_nothing_holds_where_nothing_happened():
    """A verdict is never green by silence."""
    findings = {verdict.verdict for verdict in judge(History(), ways=("model",))}

    assert findings <= {Finding.VACUOUS, Finding.NOT_OFFERED}
