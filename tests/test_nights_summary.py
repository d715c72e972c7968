"""Are failures ranked and folded, and does the page of a night say all that there is to do in the morning?"""

import xml.etree.ElementTree as ET

import pytest

from ssq_stress.following import Again
from ssq_stress.nights.ledger import Watch
from ssq_stress.nights.night import FOLDER
from ssq_stress.nights.ranking import FAILURES_MAX, folded, seen_in
from ssq_stress.nights.standing import Standing, after
from ssq_stress.nights.summary import commands, summary
from ssq_stress.plan import Plan
from ssq_stress.processes.effects import PROMISE, Clash
from ssq_stress.record import Record
from ssq_stress.repeating import Rate
from ssq_stress.report import reported
from ssq_verify.subject import load
from watching import LOST, record, violation

SHORT = ("stress", "file", "--profile", "nightly", "--for", "1s", "--workers", "1", "--producers", "1")


def standing(*watches):
    """Return how a night of these stands."""
    total = Standing()
    for watch in watches:
        total = after(total, watch)
    return total


def watch(number, *violations, **more):
    """Return a watch that saw these."""
    return Watch(
        number=number, seed=9, conditions="as asked", seconds=1.0, record=record(*violations), **more
    )


@pytest.mark.scenario("stress/failures-are-ranked-and-folded")
def test_failures_are_folded_and_ranked():
    """Alike is what breaks one promise by the same events; first come the first promise and the shortest."""
    early = violation("claim", "claim", "claim", invariant="single-claimer")
    long, short = violation("enqueue", "crash:info", "drained:info"), violation("enqueue", "drained:info")
    watches = [
        watch(1, long),
        watch(2, short),
        watch(3, long, early),
        watch(4, violation("enqueue", "drained:info")),
    ]

    failures = standing(*watches).failures

    assert [(each.invariant, each.count) for each in failures] == [
        ("single-claimer", 1),
        (LOST, 2),
        (LOST, 2),
    ]
    assert [sighting.watch for sighting in failures[1].sightings] == [2, 4]
    assert failures[1].shape == ("enqueue ok", "drained info")


def test_side_effects_are_a_failure_too():
    """What was done twice at once stands beside what the history says, with its claims as the witness."""
    clash = Clash(
        job_id="j1", sentence="done twice", executions=(), witness=violation("claim", "claim").witness
    )

    (failure,) = seen_in(Record(clashes=(clash,), clash_count=1), 5)

    assert (failure.invariant, failure.sentence, failure.sightings[0].events) == (PROMISE, "done twice", 2)


@pytest.mark.scenario("stress/a-night-takes-bounded-room")
def test_failures_are_bounded():
    """However many ways a queue breaks in, no more are remembered than a person reads, the shortest first."""
    failures = ()
    for number in range(1, FAILURES_MAX + 20):
        failures = folded(failures, seen_in(record(violation(*["ack"] * number)), number))

    assert len(failures) == FAILURES_MAX
    assert len(failures[-1].shape) == FAILURES_MAX


@pytest.mark.scenario("stress/a-summary-in-the-morning")
def test_the_page_says_what_broke_and_how_to_see_it(tmp_path):
    """It has the verdicts, each failure with its rate and its commands, the matrix and what failed."""
    again = Again(invariant=LOST, rate=Rate(of=20, broken={LOST: 7}), seconds=3.0, path="o/x.json")
    night = standing(
        watch(1, violation("ack", sentence="a | b was lost"), again=(again,)),
        watch(2, failed="OSError: *no*"),
    )
    folder = tmp_path / FOLDER / "0001"
    folder.mkdir(parents=True)
    (folder / "history.jsonl").touch()
    report = reported(night.record, load("file"), Plan(profile="nightly"), tmp_path)

    page = summary(report, night, seconds_asked=28_800.0, counts=["5 operations"])

    assert "2 watches in 0.0 min of 8.0 h · profile nightly · seed 0" in page
    assert f"| {LOST} | violated | a \\| b was lost |" in page
    assert "- in 1 of 2 watches, told by watch 1 (as asked, seed " in page
    assert f"- {LOST} broke again in 7 of 20 repetitions of 3.0 s" in page
    assert f"ssq replay o/x.json\nssq check {folder}/history.jsonl --invariants {LOST}\n" in page
    assert "- 5 operations" in page
    assert "- watch 2: OSError: \\*no\\*" in page


def test_a_repro_of_the_simulation_comes_first(tmp_path):
    """What replays each time alike is named first; side effects have that of two claims at once."""
    night = standing(
        watch(1, violation("claim", invariant="single-claimer"), repros={"single-claimer": "s.json"})
    )
    (failure,) = night.failures

    assert commands(failure, night, tmp_path) == ["ssq replay s.json"]
    assert night.repro_of(PROMISE) == "s.json"


@pytest.mark.scenario("stress/a-summary-in-the-morning")
def test_a_night_leaves_its_page(ssq, tmp_path):
    """The command writes page, JUnit XML and verdicts, and exits as these say; again it has nothing to do."""
    code, out, error = ssq(*SHORT, "--faults", "pause", "--out", "o")
    again, more, _ = ssq(*SHORT, "--faults", "pause", "--out", "o", "--json")
    suites = ET.parse(tmp_path / "o/junit.xml").getroot()  # noqa: S314 - we wrote it

    assert (code, again) == (3, 3)
    assert "watches to their end: 1" in out
    assert out.splitlines()[-1] == "o/summary.md"
    assert error.startswith("1 watch, ")
    assert '"watches": 1' in more
    assert "# ssq stress file: " in (tmp_path / "o/summary.md").read_text()
    assert suites.get("errors") != "0"
    assert suites.get("failures") == "0"


@pytest.mark.scenario("stress/another-night")
def test_a_folder_of_another_night_is_bad_input(ssq, is_one_line, tmp_path):
    """It is named in one line, with what to do, and nothing runs."""
    (tmp_path / "o").mkdir()
    (tmp_path / "o/night.jsonl").write_text("no night\n")

    code, _, error = ssq(*SHORT, "--out", "o", "--json")

    assert code == 64
    assert is_one_line(error, "night.jsonl", "--out")
