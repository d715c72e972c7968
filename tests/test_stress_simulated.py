"""Does stress come back with a repro that shows what it found, each time alike, or say why not?"""

from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from ssq_stress.back_to_simulation import Sought, nearest_first, seek, wanted, with_repros
from ssq_stress.command.stress_lines import last_lines, simulated_lines
from ssq_stress.plan import Plan
from ssq_stress.processes.effects import PROMISE
from ssq_stress.report import Report
from ssq_stress.runner import stress
from ssq_verify.failures import kept
from ssq_verify.machine import SETTINGS
from ssq_verify.profiles import PROFILES
from ssq_verify.repro import load as load_repro
from ssq_verify.repro import replay
from ssq_verify.simulation.campaign import Probe, planned
from ssq_verify.simulation.searches import Alone, Sweep
from ssq_verify.subject import load
from ssq_verify.verdict import Finding, Verdict

LOST = "no-lost-job"
RUNS_MAX = 4
"""Chance may spare a defective queue once."""
WITH_A_THREAD = """
import threading
from ssq_verify.subjects import naive_file

def open_queue(workdir, policy):
    threading.Thread(target=int).start()
    return naive_file.open_queue(workdir, policy)
"""
RAISING = """
def open_queue(workdir, policy):
    raise RuntimeError("not here")
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Keep what fails in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)


def violated(*invariants, subject="mine", out="out"):
    """Return the report of a run that saw these broken, and nothing else."""
    verdicts = [Verdict(invariant=name, verdict=Finding.VIOLATED, sentence="broken") for name in invariants]
    return Report(
        subject=subject,
        seed=7,
        profile="ci",
        verdicts=tuple(verdicts),
        faults=(),
        matrix={},
        applicable=(),
        kills=0,
        kills_per_second=0.0,
        not_available={},
        power_losses=0,
        tally={},
        rounds=1,
        jobs=1,
        claim_latency=None,
        rounds_seconds=1.0,
        seconds=1.0,
        seconds_to_verdict=0.0,
        clashes=(),
        struck={},
        out=out,
    )


def plain(lines):
    """Return lines as one text."""
    return " ".join(line.plain.strip() for line in lines).rstrip()


def broken(report):
    """Return what was violated."""
    return {each.invariant for each in report.verdicts if each.verdict is Finding.VIOLATED}


def stressed(tmp_path):
    """Stress the naive file queue until it has lost a job."""
    for seed in range(RUNS_MAX):
        out = tmp_path / f"out{seed}"
        out.mkdir()
        plan = Plan(seconds=1.0, consumers=4, producers=1, strikes=300, seed=seed)
        report, _ = stress(load("naive-file"), plan, out=out)
        if LOST in broken(report):
            break
    return report


@pytest.mark.scenario("stress/found-again-in-simulation")
def test_what_broke_is_found_again(tmp_path):
    """A job that real processes lost is lost by simulated ones too, each time with the same history."""
    report = stressed(tmp_path)
    subject = load("naive-file")

    sought = seek(
        subject, report, out=Path(report.out), processes=1, wanted=wanted(report), seconds_max=600.0
    )
    report = structs.replace(report, verdicts=with_repros(report.verdicts, sought.repros))
    again = replay(load_repro(Path(sought.repros[LOST])))

    assert set(report.struck) == broken(report) - {PROMISE}
    assert LOST not in sought.missing
    assert (again.still_fails, again.is_same_history) == (True, True)
    assert last_lines(report)[-1].plain.startswith("ssq replay ")
    assert f"{LOST}.json" in [path.name for path in kept(subject)]


@pytest.mark.scenario("stress/a-subject-that-can-not-be-simulated")
def test_what_can_not_be_simulated_is_said(tmp_path):
    """A queue with a thread is not searched; what there is of its violation is named."""
    (tmp_path / "threaded.py").write_text(WITH_A_THREAD)
    report = violated(LOST)

    sought = seek(load("threaded.py:open_queue"), report, out=tmp_path, processes=1, wanted=wanted(report))
    told = plain(simulated_lines(report, sought, (), columns=100))

    assert (sought.repros, sought.missing) == ({}, (LOST,))
    assert "not simulated: a thread" in told
    assert "seed 7" in told
    assert told.endswith(f"ssq check out/history.jsonl --invariants {LOST}")
    assert not (tmp_path / "repros").exists()


def test_a_server_is_not_simulated(tmp_path):
    """A queue that lives in a server is told to do so."""
    sought = seek(load("postgres"), violated(LOST), out=tmp_path, processes=1, wanted=frozenset({LOST}))

    assert "server" in (sought.reason or "")


def test_a_subject_that_fails_there_leaves_the_verdict_alone(tmp_path):
    """A factory that raises in the simulator is a reason, not an end."""
    (tmp_path / "raising.py").write_text(RAISING)

    sought = seek(
        load("raising.py:open_queue"),
        violated(LOST),
        out=tmp_path,
        processes=1,
        wanted=frozenset({LOST}),
    )

    assert sought.missing == (LOST,)
    assert "not here" in (sought.reason or "")


@pytest.mark.scenario("stress/not-found-in-simulation")
def test_what_is_not_found_is_said(tmp_path, monkeypatch):
    """Searches that end with nothing say how many schedules there were."""
    quick = PROFILES["quick"]
    few = replace(quick.simulation, preemptions=0, crash_scenarios=1, random=10)
    monkeypatch.setitem(PROFILES, "quick", replace(quick, simulation=few))
    report = violated(LOST, "durable")

    sought = seek(load("file"), report, out=tmp_path, processes=1, wanted=wanted(report), seconds_max=600.0)
    told = plain(simulated_lines(report, sought, (), columns=100))

    assert sought.missing == ("durable", LOST)
    assert sought.schedules > 10
    assert f"not found among {sought.schedules:,} simulated schedules" in told
    assert "seed 7" in told


def test_nothing_broken_is_nothing_sought():
    """Where nothing is violated nothing is looked for, and nothing said."""
    assert wanted(violated()) == frozenset()
    assert simulated_lines(violated(), Sought(), (), columns=100) == []


def test_side_effects_have_the_repro_of_single_claimer():
    """What was done twice at once is shown again by two who hold one job."""
    verdicts = with_repros(violated(PROMISE, LOST).verdicts, {"single-claimer": "s.json"})

    assert [each.repro for each in verdicts] == ["s.json", None]


@pytest.mark.scenario("stress/the-nearest-searches-come-first")
@pytest.mark.parametrize(
    ("event", "is_near"),
    [
        ("crash", lambda search: isinstance(search, Sweep) and search.fault == "kill"),
        ("io-error", lambda search: isinstance(search, Sweep) and search.fault in {"ENOSPC", "EIO"}),
        ("pause", lambda search: isinstance(search, Alone)),
    ],
)
def test_the_nearest_come_first(event, is_near):
    """Searches with the fault that struck whoever was about the job come before all others."""
    searches = list(planned(Probe(), SETTINGS, PROFILES["quick"].simulation, seed=0))
    near = [each for each in searches if is_near(each)]

    ordered = nearest_first(searches, {event})

    assert near
    assert all(is_near(each) for each in ordered[: len(near)])
    assert sorted(map(id, ordered)) == sorted(map(id, searches))
