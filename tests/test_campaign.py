"""Does a verification simulate, and is what it says of that true?"""

import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import pytest

from ssq_stress.command import commands
from ssq_stress.command.console import BadInput
from ssq_stress.command.door import duration
from ssq_verify import verify as verify_module
from ssq_verify.execution import scratch
from ssq_verify.history import EventType
from ssq_verify.judge import judge
from ssq_verify.machine import SETTINGS
from ssq_verify.profiles import PROFILES
from ssq_verify.scenario import Faults, Step, StepKind
from ssq_verify.simulation import campaign
from ssq_verify.simulation.pool import pool
from ssq_verify.simulation.run import simulate
from ssq_verify.subject import Subject, SubjectFailed, load
from ssq_verify.verdict import Finding
from ssq_verify.verify import verify

EFFORT = campaign.Effort(
    preemptions=1,
    crashed=False,
    crash_scenarios=7,
    power_scenarios=1,
    confidence=0.0,
    random=60,
    seconds_max=600,
)


def tried(name, processes):
    """Return what a small campaign came to."""
    with pool(load(name), processes=processes) as workers:
        return campaign.finished(campaign.begin(workers, SETTINGS, EFFORT, seed=0, only=None))


@pytest.fixture(autouse=True)
def _small(tmp_path, monkeypatch):
    """Run little, and where nothing was kept before."""
    monkeypatch.chdir(tmp_path)
    small = replace(PROFILES["quick"].effort, examples=40)
    monkeypatch.setitem(PROFILES, "quick", replace(PROFILES["quick"], effort=small, simulation=EFFORT))


def verified(subject, tmp_path):
    """Return the report of a small verification."""
    return verify(subject, profile="quick", seed=0, only=None, out=tmp_path / "out")


@pytest.mark.scenario("simulation/processes-make-no-difference")
def test_processes_make_no_difference():
    """The searches' results are the same, wherever and in however many processes they ran."""
    here = tried("naive-file", 0)

    assert tried("naive-file", 1) == here
    assert tried("naive-file", 2) == here


@pytest.mark.scenario("simulation/both-ways-in-one-report")
def test_a_report_rests_on_both_ways(tmp_path):
    """The report names both, counts the schedules, and an invariant's count is more than either's alone."""
    report = verified(load("file"), tmp_path)
    alone = judge(verify_module.history_module.read(tmp_path / "out" / "history.jsonl"), ways=("model",))

    assert report.ways == ("model", "simulation")
    assert report.raced["schedules"] > 100
    assert report.certificates
    assert {each.verdict for each in report.verdicts} <= {Finding.HOLDS, Finding.VACUOUS}
    held = {each.invariant: each.sentence for each in alone}
    assert held["integrity"] != next(e.sentence for e in report.verdicts if e.invariant == "integrity")


@pytest.mark.scenario("simulation/a-subject-that-can-not-be-simulated")
def test_a_subject_with_a_thread_rests_on_less(tmp_path):
    """The report says what was met and where, and what races and crashes would show needs stress."""

    def factory(workdir, policy):
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        return load("memory").factory(workdir, policy)

    report = verified(Subject(reference="threaded", factory=factory), tmp_path)

    assert report.ways == ("model",)
    assert report.not_simulatable.startswith("a thread at ")
    assert next(e.needs for e in report.verdicts if e.invariant == "durable") == "stress"


@pytest.mark.scenario("simulation/a-subject-that-no-way-can-run")
def test_a_subject_of_the_systems_clock_with_a_thread_rests_on_stress(tmp_path):
    """Where neither way can run it, nothing is said to hold, and every verdict needs stress."""

    class Threaded:
        def __init__(self, inner):
            self.inner = inner

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def claim(self, *, worker_id):
            try:
                threading.Thread(target=lambda: None).start()
            except Exception:  # noqa: BLE001 - as many a queue does
                return None
            return self.inner.claim(worker_id=worker_id)

    def factory(workdir, policy):
        return Threaded(load("file").factory(workdir, policy))

    report = verified(Subject(reference="threaded", factory=factory, clock="system"), tmp_path)

    assert report.ways == ()
    assert report.not_simulatable.startswith("a thread at ")
    assert {each.needs for each in report.verdicts if each.verdict is not Finding.NOT_OFFERED} == {"stress"}


@pytest.mark.scenario("simulation/a-search-that-is-cut-by-time")
def test_a_search_that_is_cut_by_time_says_so():
    """What was not finished stands among the certificates."""
    with pool(load("memory"), processes=0) as workers:
        late = replace(EFFORT, seconds_max=time.monotonic() * -2)
        explored = campaign.finished(campaign.begin(workers, SETTINGS, late, seed=0, only=None))

    assert explored.covered
    assert all(str(scope).endswith("cut by time") for scope in explored.covered)


@pytest.mark.scenario("simulation/a-process-without-a-simulation")
def test_this_process_is_left_as_it_is(tmp_path):
    """With processes for the simulation, nothing is replaced in the one that asks."""
    program = (
        "import os, time, sqlite3, builtins\n"
        "before = (os.rename, os.open, time.time, sqlite3.connect, open)\n"
        "if __name__ == '__main__':\n"
        "    from pathlib import Path\n"
        "    from ssq_verify.subject import load\n"
        "    from ssq_verify.simulation import campaign\n"
        "    from ssq_verify.simulation.pool import pool\n"
        "    from ssq_verify.machine import SETTINGS\n"
        "    effort = campaign.Effort(preemptions=1, crashed=False, crash_scenarios=1, power_scenarios=1,"
        "        confidence=0.0, random=9, seconds_max=600)\n"
        "    with pool(load('file'), processes=1) as workers:\n"
        "        begun = campaign.begin(workers, SETTINGS, effort, seed=0, only=None)\n"
        "        assert campaign.finished(begun).tally['schedules'] > 10\n"
        "    assert before == (os.rename, os.open, time.time, sqlite3.connect, open)\n"
    )
    (tmp_path / "asks.py").write_text(program)

    subprocess.run([sys.executable, "asks.py"], check=True, cwd=tmp_path)


@pytest.mark.scenario("simulation/a-subject-that-never-comes-back")
@pytest.mark.parametrize(
    ("does", "told"), [("os._exit(3)", "process died"), ("\n        while True: pass", "did not come back")]
)
def test_a_subject_that_never_comes_back_is_named(tmp_path, monkeypatch, does, told):
    """One that ends the process, or loops for ever, is one clear error, not a hang."""
    monkeypatch.setattr(campaign, "HANG_SECONDS", 3.0)
    (tmp_path / "hangs.py").write_text(f"import os\ndef open_queue(workdir, policy):\n    if True: {does}\n")
    subject = Subject(reference=f"{tmp_path}/hangs.py:open_queue", factory=lambda *_: None)

    with pool(subject, processes=1) as workers, pytest.raises(SubjectFailed, match=told):
        campaign.begin(workers, SETTINGS, EFFORT, seed=0, only=None)


@pytest.mark.scenario("simulation/time-to-go-on")
def test_more_time_is_more_seeds(tmp_path, monkeypatch):
    """As long as there is time, rounds with other seeds follow, and what was found is put together."""
    times = iter([0.0, 1.0, 2.0])
    monkeypatch.setattr(verify_module, "time", SimpleNamespace(monotonic=lambda: next(times)))
    report = verify(load("memory"), profile="quick", seed=5, only=None, out=tmp_path / "out", seconds=1.5)

    assert report.next_seed == 5 + 2 * EFFORT.random
    assert report.raced["schedules"] > 2 * EFFORT.random


@pytest.mark.scenario("simulation/no-more-than-the-time")
def test_a_night_ends_when_it_is_to_end():
    """Nothing is begun after the time that was asked for, though the profile would; a little always is."""
    nightly = PROFILES["nightly"]
    night = verify_module.within(nightly, 5 * 3_600.0)
    moment = verify_module.within(nightly, 1.0)

    assert night.simulation.seconds_max == 5 * 3_600.0 < nightly.simulation.seconds_max
    assert night.effort == nightly.effort
    assert moment.effort.seconds_max == moment.simulation.seconds_max == 180.0
    assert verify_module.within(nightly, 0.0) == nightly


@pytest.mark.scenario("simulation/a-night-goes-on-where-the-last-one-stopped")
def test_a_night_goes_on_where_the_last_one_stopped():
    """The seed is kept for each subject, and read by nightly alone."""
    assert commands.resumed("file", "nightly") == 0
    commands.keep_seed("file", "nightly", 1_234)
    commands.keep_seed("file", "quick", 99)

    assert commands.resumed("file", "nightly") == 1_234
    assert commands.resumed("file", "quick") == commands.resumed("sqlite", "nightly") == 0


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("1.5m", 90.0), ("8h", 28_800.0)])
def test_a_duration_is_read(text, seconds):
    """A number and its unit."""
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "h", "-1h", "8 h", "1d"])
def test_what_is_no_duration_is_refused(text):
    """In one line that says what to write."""
    with pytest.raises(BadInput, match="write 90s, 30m or 8h"):
        duration(text)


class OnlySynced:
    """Lets a fault strike at the n-th chance, and of what was not synced nothing survive."""

    def __init__(self, fault, number, extent=1):
        self.fault = fault
        self.left = number
        self.extent = extent

    def choose(self, kind, options):
        """Return the fault when its time has come."""
        if kind == "power loss":
            return self.extent
        if kind == "next" and self.fault in options:
            self.left -= 1
            if self.left == 0:
                return options.index(self.fault)
        return 0


def power_losses(name, disk):
    """Return the runs of the smallest race in which the power fails at each point in turn."""
    scenario = msgspec.structs.replace(
        campaign.small(SETTINGS, workers=2, jobs=2), faults=Faults(power_losses=1, disk=disk)
    )
    runs = []
    while True:
        with scratch() as workdir:
            strategy = OnlySynced("power loss", len(runs) + 1)
            run = simulate(scenario, load(name), strategy, workdir)
        if not run.faults:
            return runs
        runs.append(run)


@pytest.mark.scenario("simulation/what-was-not-synced-is-lost")
def test_the_naive_queue_syncs_nothing():
    """Its jobs are gone with the power."""
    histories = [run.history for run in power_losses("naive-file", "ordered")]

    assert judge(verify_module.joined(histories), ways=("simulation",), only={"durable"})[0].violation


@pytest.mark.scenario("simulation/what-was-synced-is-kept")
@pytest.mark.parametrize("disk", ["ordered", "posix"])
def test_the_file_queue_survives_a_loss_of_power(disk):
    """At whichever point the power fails, and whatever of the two models the disk keeps to."""
    runs = power_losses("file", disk)
    verdict = judge(verify_module.joined([run.history for run in runs]), ways=(), only={"durable"})[0]

    assert {run.faults[0].operation for run in runs} == {"claim", "ack"}
    assert verdict.verdict is Finding.HOLDS


@pytest.mark.scenario("simulation/a-pause-longer-than-a-lease")
def test_a_paused_holder_finds_its_claim_taken():
    """Another worker polls while the holder stands still inside its ack, and the ack is refused."""
    steps = (
        Step(do=StepKind.ENQUEUE, worker="setup", job="j1"),
        Step(do=StepKind.CLAIM, worker="w1", claim="claim1"),
        Step(do=StepKind.ACK, worker="w1", claim="claim1"),
        Step(do=StepKind.CLAIM, worker="w2", claim="claim2"),
    )
    scenario = msgspec.structs.replace(
        campaign.small(SETTINGS, workers=1, jobs=1),
        steps=steps,
        faults=Faults(pauses=1, pause_seconds=(65.0,)),
    )
    refused = []
    for number in range(1, 100):
        with scratch() as workdir:
            run = simulate(scenario, load("file"), OnlySynced("pause 65.0 s", number), workdir)
        if run.faults and run.faults[0].operation == "ack":
            refused += [each.worker for each in run.history.operations if each.outcome is EventType.FAIL]

    assert set(refused) == {"w1"}
