"""Is what a server for continuous integration reads as red as the exit code says?"""

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from ssq_stress.command.telling import write_junit
from ssq_verify.notation import h
from ssq_verify.profiles import PROFILES
from ssq_verify.report.junit import junit
from ssq_verify.verdict import EXIT_OK, Finding, Verdict, Violation, exit_code

QUICK = PROFILES["quick"]
KINDS = [
    ("holds", Finding.HOLDS, None, None),
    ("violated", Finding.VIOLATED, None, "failure"),
    ("not-offered", Finding.NOT_OFFERED, None, "skipped"),
    ("vacuous", Finding.VACUOUS, None, "error"),
    ("unknown", Finding.UNKNOWN, None, "error"),
    ("elsewhere", Finding.VACUOUS, "stress", "skipped"),
]


def verdict(name, found, needs=None, sentence="so it was"):
    """Return a verdict."""
    return Verdict(invariant=name, verdict=found, sentence=sentence, needs=needs)


def suite(verdicts, *, by_name=False, told=None):
    """Return the suite of a document, parsed."""
    written = junit(verdicts, suite="ssq verify mine", properties={}, told=told or {}, by_name=by_name)
    return ET.fromstring(written)[0]  # noqa: S314 - we wrote it


def outcome(case):
    """Return what a test case came to, None if it passed."""
    return case[0].tag if len(case) else None


@pytest.mark.scenario("command-line/red-and-green")
def test_each_verdict_is_a_test_case():
    """Each verdict is a test case with the outcome that its kind has, and the counts agree."""
    found = suite([verdict(name, kind, needs) for name, kind, needs, _ in KINDS])

    outcomes = {case.get("name"): outcome(case) for case in found.iter("testcase")}
    assert outcomes == {name: expected for name, _, _, expected in KINDS}
    assert [found.get(count) for count in ("tests", "failures", "errors", "skipped")] == ["6", "1", "2", "2"]


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize(("name", "kind", "needs", "_"), KINDS)
def test_it_is_red_where_the_exit_code_is(name, kind, needs, _, by_name):
    """There is a failure or an error exactly where the exit code is not 0."""
    verdicts = (verdict(name, kind, needs),)

    found = suite(verdicts, by_name=by_name)

    is_red = (found.get("failures"), found.get("errors")) != ("0", "0")
    assert is_red == (exit_code(verdicts, by_name=by_name) != EXIT_OK)


@pytest.mark.scenario("command-line/a-hostile-name-in-test-results")
def test_control_characters_are_written_out():
    """A job's name may hold what XML can not: it is written out, and the document parsed."""
    hostile = "job \x00/\x1b[31m]]>&\ud800"
    failing = verdict("fencing", Finding.VIOLATED, sentence=hostile)

    found = suite([failing], told={"fencing": f"one\n{hostile}"})
    failure = found.find("testcase/failure")

    assert "\\x00/\\x1b[31m]]>&\\ud800" in failure.get("message")
    assert failure.text == "one\njob \\x00/\\x1b[31m]]>&\\ud800"


@pytest.mark.scenario("command-line/a-failure-tells-its-story")
def test_a_failure_tells_its_story(ssq, tmp_path, monkeypatch):
    """A violation's text is what happened and the command that shows it again."""
    effort = replace(QUICK.effort, examples=60, seconds_max=600.0)
    raced = replace(QUICK.simulation, crash_scenarios=4, random=50, seconds_max=600.0)
    monkeypatch.setitem(PROFILES, "quick", replace(QUICK, effort=effort, simulation=raced))

    code, _, error = ssq(
        "verify", "naive-file", "--invariants", "fencing", "--junit", "ci/ssq.xml", "--out", "o"
    )
    failure = ET.parse(tmp_path / "ci/ssq.xml").find(".//testcase/failure")  # noqa: S314 - we wrote it

    assert (code, error) == (1, "")
    assert failure.text.splitlines()[-1] == "ssq replay o/repros/fencing.json"
    assert any("ack" in line for line in failure.text.splitlines()[:-1])


def test_without_a_repro_the_witness_is_told(tmp_path):
    """A violation that only the history shows is told by the events that show it."""
    events = h("w1 claim j1#1", "w1 ack j1#1").events
    violation = Violation(invariant="fencing", sentence="it was", run=0, job_id="j1", witness=events)
    verdicts = [
        Verdict(invariant="fencing", verdict=Finding.VIOLATED, sentence="it was", violation=violation),
        verdict("side-effects", Finding.VIOLATED),
    ]

    history = tmp_path / "history.jsonl"
    write_junit(tmp_path / "j.xml", verdicts, suite="ssq stress mine", seed=3, history=history)
    root = ET.parse(tmp_path / "j.xml")  # noqa: S314 - we wrote it
    first, second = [each.text.splitlines() for each in root.iter("failure")]

    assert len(first) == len(events) + 2
    assert first[-1] == f"ssq check {history} --invariants fencing"
    assert second == [f"ssq check {history}"]
    assert root.find(".//property[@name='seed']").get("value") == "3"


def test_stress_writes_them_too(ssq, tmp_path):
    """A run of real processes ends in test results as well, its coverage one of them."""
    options = ("--for", "1s", "--workers", "1", "--producers", "1", "--faults", "kill")
    code, _, _ = ssq("stress", "file", *options, "--junit", "stress.xml")
    cases = {case.get("name"): case for case in ET.parse(tmp_path / "stress.xml").iter("testcase")}  # noqa: S314 - as above

    assert code == 3
    assert outcome(cases["coverage"]) == "error"
    assert "single-claimer" in cases


@pytest.mark.scenario("command-line/no-file-to-write-to")
@pytest.mark.parametrize("command", ["verify", "stress"])
@pytest.mark.parametrize("file", [".", "/dev/null/ssq.xml"])
def test_no_file_to_write_to_is_one_line(ssq, is_one_line, command, file):
    """A folder, or what can't be written, is refused before anything runs."""
    code, out, error = ssq(command, "file", "--junit", file)

    assert (code, out) == (64, "")
    assert is_one_line(error, f"--junit {file}")


def test_a_sweep_has_no_test_results(ssq, is_one_line):
    """What measures has no verdicts to write."""
    code, _, error = ssq("verify", "file", "--sweep", "skew", "--junit", "ssq.xml")

    assert code == 64
    assert is_one_line(error, "--sweep")
