"""Is it told honestly how often stress breaks again what no simulation finds?"""

from dataclasses import replace

import pytest
from msgspec import structs

from ssq_stress.back_to_simulation import Sought
from ssq_stress.command.repeating import lines
from ssq_stress.command.stress_lines import simulated_lines
from ssq_stress.conductor import Crew, Round
from ssq_stress.faults import Fault, Phase
from ssq_stress.following import Again, Stressing
from ssq_stress.plan import SETTINGS, Plan
from ssq_stress.record import Record
from ssq_stress.repeating import Rate, Repetition, decoded, repeat, save
from ssq_stress.report import reported
from ssq_verify.subject import load

FORGETFUL = """
import threading
from ssq_core.file import FileWorkerQueue

class Forgetful(FileWorkerQueue):
    def release(self, *, claim):
        super().ack(claim=claim)

def open_queue(workdir, policy):
    threading.Thread(target=int).start()  # no simulation controls it
    return Forgetful(workdir / "q", lease_ttl_seconds=policy.lease_ttl_seconds, retry=policy.retry,
                     max_clock_skew_seconds=policy.max_clock_skew_seconds, clock=policy.clock)
"""
LOST = "no-lost-job"
ROUND = Round(
    number=3,
    faults=frozenset({Fault.KILL}),
    seconds=12.0,
    seed="7/3",
    cells=frozenset({(Fault.KILL, Phase.ACK)}),
    is_full=True,
)
QUICK = structs.replace(SETTINGS, lease_ttl_seconds=0.4, backoff_base_seconds=0.1, backoff_max_seconds=0.2)
REPETITION = Repetition(subject="file", round=ROUND, crew=Crew(consumers=2, producers=1), settings=QUICK)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Keep what fails in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.scenario("stress/broken-again")
def test_what_is_not_simulated_is_repeated(tmp_path, ssq, monkeypatch):
    """A round that broke something is repeated; the rate is told, and a file repeats it another day."""
    monkeypatch.setattr("ssq_stress.repeating.REPETITIONS_MAX", 2)
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    subject = load("forgetful.py:open_queue")
    plan = Plan(
        seconds=1.0, consumers=2, producers=1, faults=frozenset({Fault.PAUSE}), strikes=15, settings=QUICK
    )
    stressing = Stressing(
        subject=subject, out=tmp_path / "out", processes=1, server=None, tell=lambda _: None
    )

    stressed = stressing.run(plan, tmp_path / "out")
    (again,) = [each for each in stressed.again if each.invariant == LOST]
    code, out, _ = ssq("replay", again.path)

    assert LOST in stressed.sought.missing
    assert again.rate.broken[LOST] == again.rate.of >= 1
    assert code == 1
    assert f"still fails: {LOST}, in 2 of 2 repetitions" in out
    assert not list((tmp_path / "out/rounds").iterdir())


def test_a_round_is_repeated_in_short_form():
    """Faults last a few seconds, at the places of the round; where their number ends them it stays so."""
    struck = replace(ROUND, strikes=9)

    assert REPETITION.short == replace(ROUND, seconds=3.0, is_full=False)
    assert Repetition(subject="x", round=struck, crew=REPETITION.crew, settings=QUICK).short == struck


def test_a_repetition_is_read_as_it_was_written(tmp_path):
    """What a file holds is the round; a repro of a simulation is something else."""
    save(REPETITION, tmp_path / "a/b.json")

    assert decoded((tmp_path / "a/b.json").read_bytes()) == REPETITION
    assert decoded(b'{"format": 1}') is None
    assert decoded(b"no JSON") is None


@pytest.mark.scenario("stress/a-file-that-is-not-understood")
def test_a_file_of_another_version_is_named(ssq, is_one_line, tmp_path):
    """A round that lacks what it takes is bad input, and so is a script of one."""
    (tmp_path / "old.json").write_text('{"way": "stress", "subject": "file"}')
    save(REPETITION, tmp_path / "new.json")

    code, _, error = ssq("replay", "old.json")
    refused, _, why = ssq("replay", "new.json", "--script", "x.py")

    assert (code, refused) == (64, 64)
    assert is_one_line(error, "old.json", "no round of stress")
    assert is_one_line(why, "no two rounds of stress are alike")


def test_no_breach_is_no_proof(tmp_path):
    """A correct queue breaks in no repetition, and that is said to show nothing."""
    rate = repeat(load("file"), replace_round(strikes=2), out=tmp_path, times=1)

    assert rate == Rate(of=1, broken={})
    assert lines(rate, 3.0)[0].plain == "nothing broke in 1 repetitions of 3.0 s; that shows no absence"


def replace_round(**changes):
    """Return the repetition with another round."""
    return Repetition(
        subject="file", round=replace(ROUND, cells=None, **changes), crew=REPETITION.crew, settings=QUICK
    )


@pytest.mark.scenario("stress/broken-again")
def test_the_rate_is_told_with_its_command(tmp_path):
    """How often it broke again, and what repeats it, stand under what there is of it."""
    rate = Rate(of=20, broken={LOST: 7})
    again = Again(invariant=LOST, rate=rate, seconds=3.0, path="out/repetitions/x.json")
    report = reported(Record(), load("file"), Plan(), tmp_path)

    told = [line.plain for line in simulated_lines(report, Sought(missing=(LOST,)), [again], columns=100)]

    assert f"{LOST} broke again in 7 of 20 repetitions of 3.0 s" in told
    assert "  ssq replay out/repetitions/x.json" in told
