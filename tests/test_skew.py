"""Is the difference of clocks at which a job gets two holders found, to the millisecond, and told?"""

import json
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ssq_verify.history import Terms
from ssq_verify.machine import SETTINGS
from ssq_verify.report.skew import skew_lines
from ssq_verify.simulation import skew
from ssq_verify.simulation.pool import pool
from ssq_verify.simulation.skew import CLAIMER_AHEAD, HOLDER_BEHIND, differences, measure, narrowed
from ssq_verify.skew import ClockLimit, Limit, PauseLimit, SkewReport
from ssq_verify.subject import Promises, Subject, SubjectFailed, load

E, TTL = SETTINGS.max_clock_skew_seconds, SETTINGS.lease_ttl_seconds
MILLISECOND = 0.001
MEMORY = load("memory")

REPORT = SkewReport(
    subject="any",
    lease_ttl_seconds=60,
    asked_seconds=2,
    promised_seconds=2,
    tried_seconds=120,
    clocks=(
        ClockLimit(
            direction=HOLDER_BEHIND,
            limit=Limit(holds=2.000001, breaks=2.000978),
            schedules=1_132,
            sentence="job j1 was held by w1 and given to w2",
            also_broken=(),
        ),
    ),
    pause=PauseLimit(limit=Limit(holds=62.0, breaks=62.0009), refused=17, schedules=356, broken=()),
)


@pytest.fixture(autouse=True)
def _few_schedules(monkeypatch):
    """Run few schedules at random; the plainest one tells most."""
    monkeypatch.setattr(skew, "SCHEDULES", 8)


def allowing(seconds):
    """Return a queue that promises E and allows so much for clocks that are wrong."""

    def factory(workdir, policy):
        return MEMORY.factory(workdir, replace(policy, max_clock_skew_seconds=seconds))

    return Subject(reference=f"allowing {seconds}", factory=factory, promises=MEMORY.promises)


def measured(subject):
    """Return what a sweep over a subject says."""
    with pool(subject, processes=0) as workers:
        return measure(workers, subject, SETTINGS, seed=0)


@pytest.mark.parametrize("limit", [0.0, 0.5, 2.0, 61.2345])
def test_a_limit_is_narrowed_down_to_a_millisecond(limit):
    """What holds up to a limit is found to, and what breaks is the next thing that was tried."""
    tried = []

    def holds(seconds):
        tried.append(seconds)
        return seconds <= limit

    found = narrowed([0.0, 1.0, 2.0, 60.0, 120.0], holds)

    assert found.holds <= limit < found.breaks <= found.holds + MILLISECOND
    assert {found.holds, found.breaks} <= set(tried)


def test_what_has_no_limit_is_said_to_have_none():
    """Where all steps hold, none breaks; where the first breaks, none holds."""
    assert narrowed([0.0, 1.0], lambda _: True) == Limit(holds=1.0, breaks=None)
    assert narrowed([0.0, 1.0], lambda _: False) == Limit(holds=None, breaks=0.0)


def test_the_steps_lie_around_what_was_asked_promised_and_leased():
    """They rise from 0 to two leases, with both sides of E and of another promise."""
    steps = differences(SETTINGS, Terms(max_clock_skew_seconds=5.0))

    assert steps == sorted(set(steps))
    assert steps[0] == 0
    assert steps[-1] == 2 * TTL
    assert {E / 2, E - 1e-6, E, E + 1e-6, 2 * E, 5 - 1e-6, 5, 5 + 1e-6, TTL / 2, TTL, TTL + E} <= set(steps)


@pytest.mark.scenario("simulation/as-far-as-the-formula")
@pytest.mark.parametrize("subject", ["file", "sqlite"])
def test_our_queues_keep_to_the_formula_exactly(subject):
    """A job has one holder up to E and two from a millisecond more; a paused one keeps it for lease + E."""
    report = measured(load(subject))

    for each in report.clocks:
        assert E <= each.limit.holds < each.limit.breaks <= E + 2 * MILLISECOND
        assert "held by w1" in each.sentence
    assert report.is_kept
    assert TTL + E <= report.pause.limit.holds < report.pause.limit.breaks <= TTL + E + 2 * MILLISECOND
    assert report.pause.refused > 0


@pytest.mark.scenario("simulation/less-than-promised")
@pytest.mark.parametrize("allowed", [0.0, 1.5])
def test_a_queue_that_allows_less_than_it_promises_is_found_out(allowed):
    """The largest difference that it stands is what it allows, and that is less than promised."""
    report = measured(allowing(allowed))

    assert report.measured_seconds == pytest.approx(allowed, abs=MILLISECOND)
    assert not report.holds_as_promised
    assert not report.is_kept
    assert report.broken == ()


def test_a_queue_that_allows_more_than_it_promises_is_measured_too():
    """Histories are judged beyond the promise, as if it had been made."""
    report = measured(allowing(10.0))

    assert report.measured_seconds == pytest.approx(10, abs=MILLISECOND)
    assert report.is_kept


def test_each_direction_is_measured_by_itself():
    """A queue that disbelieves a clock that is ahead stands all of that direction, and E of the other."""

    def factory(workdir, policy):
        def clock():
            right = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=time.monotonic())
            return min(policy.clock(), right)

        return MEMORY.factory(workdir, replace(policy, clock=clock))

    subject = Subject(reference="never ahead", factory=factory, promises=MEMORY.promises)
    limits = {each.direction: each.limit for each in measured(subject).clocks}

    assert limits[HOLDER_BEHIND].holds < E + MILLISECOND
    assert limits[CLAIMER_AHEAD] == Limit(holds=2 * TTL, breaks=None)


def test_a_queue_whose_server_keeps_the_time_stands_any_difference():
    """It promises any, and none that was tried breaks it."""

    def factory(workdir, policy):
        def clock():
            return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=time.monotonic())

        return MEMORY.factory(workdir, replace(policy, clock=clock))

    promises = replace(MEMORY.promises, max_clock_skew_seconds=None)
    report = measured(Subject(reference="server", factory=factory, promises=promises))

    assert [each.limit for each in report.clocks] == [Limit(holds=2 * TTL, breaks=None)] * 2
    assert report.is_kept
    assert "any" in shown(report)


@pytest.mark.scenario("simulation/clocks-excuse-nothing-else")
def test_clocks_and_pauses_excuse_nothing_else():
    """The naive queue stands no difference at all, and takes the acks of holders that lost their jobs."""
    report = measured(load("naive-file"))

    assert report.measured_seconds < MILLISECOND
    assert "fencing" in report.broken
    assert "fencing" in report.pause.broken


@pytest.mark.scenario("simulation/what-can-not-be-measured")
@pytest.mark.parametrize(
    ("promises", "why"),
    [
        (Promises(lease=False), "no leases"),
        (Promises(processes="one"), "one process at a time"),
    ],
)
def test_what_can_not_be_measured_is_said(promises, why):
    """A queue without leases, or of one process, is told apart from one that stands nothing."""
    report = measured(Subject(reference="other", factory=MEMORY.factory, promises=promises))

    assert why in report.not_measured
    assert why in shown(report)
    assert not report.is_kept


def test_what_is_not_simulatable_later_on_names_the_subject():
    """An extend that starts a thread is met only while measuring; the error is one line about the subject."""

    class Threaded:
        def __init__(self, queue):
            self._queue = queue

        def __getattr__(self, name):
            return getattr(self._queue, name)

        def extend(self, *, claim):
            threading.Thread(target=lambda: None).start()
            return self._queue.extend(claim=claim)

    def factory(workdir, policy):
        return Threaded(MEMORY.factory(workdir, policy))

    with pytest.raises(SubjectFailed, match="threaded: a thread at"):
        measured(Subject(reference="threaded", factory=factory, promises=MEMORY.promises))


def shown(report):
    """Return the report as text."""
    return "\n".join(line.plain for line in skew_lines(report))


def test_a_report_names_the_limits_beside_the_promise():
    """It has a row for each direction, the promise, the formula and the pause, and fits its width."""
    lines = shown(REPORT).splitlines()

    assert any(
        line.split() == [*HOLDER_BEHIND.split(), "2.000", "s", "2.001", "s", "1,132"] for line in lines
    )
    assert any(line.split() == ["promised", "2.000", "s"] for line in lines)
    assert any(
        line.split() == ["the", "holder", "paused", "62.000", "s", "62.001", "s", "356"] for line in lines
    )
    assert "holds: single-claimer, as far as promised, and no further" in lines
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("holds", "said"),
    [
        (None, "violated: not even with right clocks has a job one holder"),
        (1.9999, "violated: single-claimer holds up to 1.999 s; promised is 2.000 s"),
        (10.0, "holds: single-claimer, as far as promised, and 8.000 s further"),
    ],
)
def test_a_report_says_whether_the_promise_is_kept(holds, said):
    """Less than was promised is a violation, more is said to be more."""
    (one,) = REPORT.clocks
    limit = Limit(holds=holds, breaks=10.001)
    report = SkewReport(
        **{name: getattr(REPORT, name) for name in REPORT.__struct_fields__}
        | {"clocks": (ClockLimit(**{n: getattr(one, n) for n in one.__struct_fields__} | {"limit": limit}),)}
    )

    assert said in shown(report).splitlines()
    assert report.is_kept == said.startswith("holds")


@pytest.mark.scenario("command-line/a-sweep-over-clocks")
@pytest.mark.parametrize(("subject", "code"), [("memory", 0), ("naive-file", 1)])
def test_the_command_measures_and_says_by_its_code_what_came_out(ssq, tmp_path, subject, code):
    """`ssq verify SUBJECT --sweep skew` ends with 0 or 1, and keeps the numbers in a file."""
    out = tmp_path / "out"
    ended, said, _ = ssq("verify", subject, "--sweep", "skew", "--out", out)

    assert ended == code
    assert "How far may two workers' clocks differ" in said
    assert json.loads((out / "skew.json").read_text())["is_kept"] == (code == 0)


def test_a_sweep_takes_no_options_of_a_search(ssq, is_one_line):
    """What would be ignored is refused."""
    code, _, error = ssq("verify", "memory", "--sweep", "skew", "--for", "1h")

    assert code == 64
    assert is_one_line(error, "--sweep skew")
