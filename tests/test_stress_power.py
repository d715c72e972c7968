"""Do real losses of power after a stress run bear on its verdicts, and is it said where there are none?"""

from pathlib import Path

import pytest

from ssq_stress.command.door import BadInput, faults_for, takes_power
from ssq_stress.faults import REMOTE, Fault
from ssq_stress.nemesis import power_loss
from ssq_stress.plan import Plan
from ssq_stress.power import powerless
from ssq_stress.power.losses import Losses
from ssq_stress.runner import stress
from ssq_stress.side_verdicts import COVERAGE
from ssq_verify.history import read
from ssq_verify.subject import load
from ssq_verify.verdict import Finding

BOASTING = """
from ssq_verify.subject import Promises, subject
from ssq_verify.subjects.file import open_unsynced

@subject(promises=Promises(order="fifo-relaxed"))
def open_queue(workdir, policy):
    return open_unsynced(workdir, policy)
"""


@pytest.fixture
def losable(monkeypatch):
    """Let the power fail twice, and leave out what this machine can not do."""
    monkeypatch.setitem(powerless.COUNTS, "ci", 2)
    if (reason := power_loss.unavailable()) is not None:
        pytest.skip(f"not available: {reason}")


def stressed(reference, out):
    """Return the report on a run in which nothing but the power fails, and its verdicts by invariant."""
    out.mkdir()
    plan = Plan(seconds=1.0, consumers=1, producers=1, faults=frozenset(), strikes=0, takes_power=True)
    report, seen = stress(load(reference), plan, out=out)
    return report, {each.invariant: each for each in report.verdicts}, seen.story


@pytest.mark.usefixtures("losable")
@pytest.mark.scenario("stress/the-power-fails")
def test_durable_rests_on_real_losses(tmp_path):
    """What was acknowledged was there after each, and their history can be judged again."""
    report, verdicts, _ = stressed("sqlite", tmp_path / "out")

    assert verdicts["durable"].verdict is Finding.HOLDS
    assert verdicts["durable"].sentence.endswith("real losses of power: 2")
    assert report.power_losses == 2
    assert [event.f for event in read(report.histories[1]).events].count("power-loss") == 2
    assert not (tmp_path / "out/rounds/power-loss").exists()


@pytest.mark.usefixtures("losable")
@pytest.mark.scenario("stress/the-power-fails")
def test_paths_are_those_of_the_working_folder(tmp_path, monkeypatch):
    """A queue named from here is found, and results are written here, also by processes on that disk."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(BOASTING)

    report, verdicts, _ = stressed("mine.py:open_queue", Path("out"))

    assert report.power_losses == 2
    assert verdicts["durable"].verdict is Finding.VIOLATED
    assert Path("out/power-loss.jsonl").is_file()


@pytest.mark.usefixtures("losable")
@pytest.mark.scenario("stress/a-promise-that-power-breaks")
def test_a_queue_that_promises_more_than_it_syncs_is_caught(tmp_path):
    """The verdict is violated, and the story of a lost job is told."""
    (tmp_path / "boasting.py").write_text(BOASTING)

    _, verdicts, story = stressed(f"{tmp_path / 'boasting.py'}:open_queue", tmp_path / "out")

    assert verdicts["durable"].verdict is Finding.VIOLATED
    assert "power" in "".join(line.plain for line in story)


@pytest.mark.scenario("stress/no-power-to-take")
def test_what_the_machine_can_not_do_is_told(tmp_path, monkeypatch):
    """The reason is given, durable is left to the simulation, and the coverage is vacuous."""
    monkeypatch.setattr(power_loss, "unavailable", lambda: "no loop devices")

    report, verdicts, _ = stressed("file", tmp_path / "out")

    assert report.not_available == {"power-loss": "no loop devices"}
    assert (verdicts["durable"].verdict, verdicts["durable"].needs) == (Finding.VACUOUS, "simulation")
    assert verdicts["durable"].sentence == "power-loss is not available: no loop devices"
    assert "power-loss is not available: no loop devices" in verdicts[COVERAGE].sentence
    assert len(report.histories) == 1


@pytest.mark.scenario("stress/no-power-to-take")
def test_a_given_server_keeps_its_power():
    """It is somebody else's, with a disk of its own."""
    reason = powerless.unavailable(load("redis"), is_given=True)

    assert reason == "redis lives in a server that was given, with a disk of its own"


def test_of_what_is_not_promised_nothing_is_lost(tmp_path):
    """The power of a queue that promises less is left on."""
    subject = load("redis-everysec")

    lost = powerless.losses(subject, Losses(count=1), out=tmp_path, width=80, is_given=False)

    assert lost == powerless.Lost()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "chosen", "taken"),
    [
        ("all", set(Fault) - REMOTE, True),
        ("kill, power-loss", {Fault.KILL}, True),
        ("power-loss", set(), True),
        ("kill", {Fault.KILL}, False),
        ("none", set(), False),
    ],
)
def test_the_power_is_chosen_with_the_faults(text, chosen, taken):
    """By its name beside theirs, or with all."""
    assert (faults_for(load("file"), text), takes_power(load("file"), text)) == (chosen, taken)


@pytest.mark.scenario("stress/power-loss-is-not-promised")
def test_power_that_need_not_be_survived_is_not_taken():
    """Of a queue that promises less it is left out of all, and refused by its name."""
    subject = load("redis-everysec")

    assert not takes_power(subject, "all")
    with pytest.raises(BadInput, match="does not promise to survive power-loss; leave it out, or name all"):
        takes_power(subject, "kill,power-loss")


@pytest.mark.scenario("stress/the-losses-have-their-share-of-the-time")
@pytest.mark.parametrize(("seconds", "share"), [(60.0, 5.0), (8.0, 2.0), (0.0, 0.0)])
def test_losses_are_counted_in_the_time(seconds, share):
    """About a second each, and a quarter of the time at most, is kept from the rounds."""
    plan = Plan(seconds=seconds, takes_power=True)

    assert (plan.losses, plan.losses_seconds) == (5, share)
    assert Plan(seconds=seconds).losses_seconds == 0.0


@pytest.mark.usefixtures("losable")
@pytest.mark.scenario("stress/the-losses-have-their-share-of-the-time")
def test_each_loss_is_told(tmp_path):
    """How often the power has failed is told before each time."""
    told = []
    (tmp_path / "out").mkdir()

    powerless.losses(
        load("file"), Losses(count=2), out=tmp_path / "out", width=80, is_given=False, tell=told.append
    )

    assert told == [0, 1]
