"""Does whoever interrupts a stress run learn what it has shown by then, and find nothing half done?"""

import signal
from contextlib import suppress

import pytest

from ssq_stress import runner
from ssq_stress.faults import Fault
from ssq_stress.nemesis import power_loss
from ssq_stress.plan import Plan
from ssq_stress.runner import observe, stress
from ssq_verify.history import read
from ssq_verify.subject import load

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
