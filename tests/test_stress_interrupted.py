"""Does whoever interrupts a stress run learn what it has shown by then, and find nothing half done?"""

import multiprocessing
import signal
from contextlib import suppress

import pytest
from msgspec import structs

from ssq_stress import back_to_simulation, following, runner
from ssq_stress.faults import Fault
from ssq_stress.nemesis import power_loss
from ssq_stress.plan import Plan
from ssq_stress.record import Record
from ssq_stress.report import reported
from ssq_stress.runner import Observed, observe, stress
from ssq_verify.history import read
from ssq_verify.simulation.pool import pool
from ssq_verify.subject import load
from ssq_verify.verdict import Finding, Verdict

PLAN = Plan(seconds=30.0, consumers=2, producers=1, faults=frozenset({Fault.KILL}), strikes=3)


def interrupting(when):
    """Return who interrupts as soon as something is told that is so."""

    def tell(progress):
        if when(progress):
            raise KeyboardInterrupt

    return tell


@pytest.mark.scenario("stress/interrupted-after-a-round")
def test_whole_rounds_are_told(tmp_path):
    """The verdicts are those of the first round, and nothing is left of the second."""
    tell = interrupting(lambda progress: progress.round == 2 and progress.seen.stage == "faults")

    report, seen = stress(load("file"), PLAN, out=tmp_path, tell=tell)

    assert (report.interrupted, report.rounds) == ("round 2 (faults)", 1)
    assert {event.run for event in read(report.history).events} == {0}
    assert sum(report.matrix.values()) > 0
    assert seen.record.rounds == 1
    assert list((tmp_path / "rounds").iterdir()) == []


@pytest.mark.scenario("stress/interrupted-after-a-round")
def test_losses_of_power_can_be_cut(tmp_path):
    """Who interrupts the losses has the verdicts of the rounds, and none of the losses."""
    if (reason := power_loss.unavailable()) is not None:
        pytest.skip(f"not available: {reason}")
    plan = Plan(seconds=1.0, consumers=1, producers=1, faults=frozenset(), strikes=0, takes_power=True)

    seen = observe(
        load("file"), plan, out=tmp_path, tell=interrupting(lambda progress: progress.losses == (1, 5))
    )

    assert (seen.interrupted, seen.record.rounds) == ("the losses of power", 1)
    assert (seen.record.power_losses, seen.record.not_available) == (0, {})
    assert list((tmp_path / "rounds").iterdir()) == []


def test_before_a_round_was_over_there_is_nothing_to_tell(tmp_path):
    """In the first round an interruption is that of the command."""
    with pytest.raises(KeyboardInterrupt):
        observe(load("file"), PLAN, out=tmp_path, tell=interrupting(lambda _: True))


@pytest.mark.scenario("stress/interrupted-twice")
def test_nobody_waits_for_the_judge(tmp_path):
    """A judge that would work for ever is ended, and what it had not written to its end is cut off."""
    history = tmp_path / "history.jsonl"
    history.write_text('{"whole": 1}\n{"cut')

    with suppress(KeyboardInterrupt), runner._judges(tmp_path) as judges:
        judges.submit(signal.pause)
        raise KeyboardInterrupt

    assert history.read_text() == '{"whole": 1}\n'


def test_a_history_of_one_cut_line_is_empty(tmp_path):
    """What has no whole line keeps none; where there is no file there is none."""
    (tmp_path / "history.jsonl").write_text("{")
    runner.without_cut_line(tmp_path / "history.jsonl")
    runner.without_cut_line(tmp_path / "other.jsonl")

    assert (tmp_path / "history.jsonl").read_text() == ""
    assert not (tmp_path / "other.jsonl").exists()


@pytest.mark.scenario("stress/interrupted-after-a-round")
def test_the_search_can_be_cut(tmp_path, monkeypatch):
    """Who interrupts the search for repros has the verdicts, and is told that nothing was found."""
    lost = Verdict(invariant="no-lost-job", verdict=Finding.VIOLATED, sentence="lost")

    def broken(subject, plan, *, out, **_):
        report = reported(Record(), subject, plan, out)
        seen = Observed(record=Record(), story=[], rounds={}, broken_in={}, seconds_to_verdict=0.0)
        return structs.replace(report, verdicts=(lost,)), seen

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(following, "stress", broken)
    monkeypatch.setattr(back_to_simulation, "seek", interrupted)
    run = following.Stressing(
        subject=load("file"), out=tmp_path, processes=1, server=None, tell=lambda _: None
    )

    ended = run.run(PLAN, tmp_path)

    assert ended.interrupted == "the search for repros"
    assert ended.sought.missing == ("no-lost-job",)
    assert ended.report.verdicts == (lost,)


@pytest.mark.scenario("simulation/interrupted")
def test_nobody_waits_for_a_simulation():
    """A search that would go on for ever is ended with whoever waits for it."""
    with suppress(KeyboardInterrupt), pool(load("file"), processes=1) as workers:
        workers.begin(asleep)
        raise KeyboardInterrupt

    assert multiprocessing.active_children() == []


def asleep(_subject):
    """Be a search without an end."""
    signal.pause()
