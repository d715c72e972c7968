"""Is a repro's script a program that needs only the queue, and does the same to it in a fresh process?"""

import re
import subprocess
import sys
import textwrap
from functools import cache

import pytest

from ssq_verify import script as script_module
from ssq_verify.execution import execute, scratch
from ssq_verify.history import OPERATIONS, EventType
from ssq_verify.judge import violations
from ssq_verify.programs import NotScriptable
from ssq_verify.repro import replay, repro, save
from ssq_verify.scenario import SETUP_WORKER, Faults, Scenario, Settings, Step, StepKind
from ssq_verify.script import proved, script
from ssq_verify.simulation.campaign import small
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.strategies import Exhaustive, StrikeAt
from ssq_verify.simulation.tape import Replay
from ssq_verify.subject import load

SETTINGS = Settings(lease_ttl_seconds=60, max_clock_skew_seconds=2)
LOST, TWICE = "no-lost-job", "single-claimer"
PLAIN = (Replay(()),)


def step(do, worker="w1", **fields):
    """Return a step."""
    return Step(do=do, worker=worker, **fields)


ENQUEUE = step(StepKind.ENQUEUE, SETUP_WORKER, job="j1")
CLAIM, CLAIM_TOO = step(StepKind.CLAIM, claim="a"), step(StepKind.CLAIM, "w2", claim="b")
ACK = step(StepKind.ACK, claim="a")


def scenario(*steps, **faults):
    """Return a scenario of these steps and faults."""
    return Scenario(settings=SETTINGS, steps=steps, faults=Faults(**faults))


def strikes(fault):
    """Return strategies that let a fault strike at one point after the other."""
    return (StrikeAt(fault, number) for number in range(1, 60))


def raced(what, strategies, invariant, reference="naive-file", wanted=lambda _: True):
    """Return the replay of the first run that is wanted and breaks an invariant."""
    subject = load(reference)
    for strategy in strategies:
        with scratch() as workdir:
            run = simulate(what, subject, strategy, workdir)
        if wanted(run) and (found := violations(run.history, invariant)):
            return replay(repro(subject, what, found[0], run.history, run=run))
    raise AssertionError


@cache
def in_turns():
    """Return the replay of a job that two workers hold after it was enqueued twice."""
    what = scenario(step(StepKind.ENQUEUE, job="j1"), CLAIM, step(StepKind.ENQUEUE, job="j1"), CLAIM_TOO)
    with scratch() as workdir:
        history = execute(what, load("naive-file"), workdir)
    return replay(repro(load("naive-file"), what, violations(history, TWICE)[0], history))


@cache
def killed():
    """Return the replay of a job that is lost by a kill inside a claim, beside another worker."""
    return raced(small(SETTINGS, workers=2, jobs=2, faults=Faults(kills=1)), strikes("kill"), LOST)


@cache
def half_written():
    """Return the replay of a job that is lost without any fault."""
    what = scenario(step(StepKind.ENQUEUE, job="j1", payload="one"), CLAIM_TOO)
    return raced(what, Exhaustive(deviations_max=1).runs(), LOST)


CASES = {"in turns": in_turns, "killed": killed, "half-written": half_written}


def written(outcome, path):
    """Write a script, and return it run in a fresh process."""
    path.write_text(script(outcome), encoding="utf-8")
    return subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)


def shown(history):
    """Return who got what answer to which operation, in order."""
    return [
        (event.worker, event.f, answer_of(event))
        for event in history.events
        if event.f in OPERATIONS and event.type is not EventType.INVOKE
    ]


def answer_of(event):
    """Return an answer in a word."""
    if event.type is not EventType.OK:
        return event.value.partition(":")[0]
    return (event.job_id or "nothing") if event.f == "claim" else "ok"


def printed(text):
    """Return the same of what a script printed."""
    return re.findall(r"^ +[\d.]+ s  (\w+)  (\w+).* → (\S+)", text, flags=re.MULTILINE)


def assert_same(ran, history):
    """Expect all answers from a script, but those of the drain where the promise is broken before."""
    got, expected = printed(ran.stdout), shown(history)
    assert got
    assert got == expected[: len(got)]
    assert {worker for worker, _, _ in expected[len(got) :]} <= {"drain"}


@pytest.mark.scenario("simulation/a-script-in-a-fresh-process")
@pytest.mark.parametrize("name", CASES)
def test_a_script_prints_the_same_answers(name, tmp_path):
    """Run by itself, a script gets the history's answers, in order, says what broke, and ends with 1."""
    outcome = CASES[name]()
    ran = written(outcome, tmp_path / "shown.py")

    assert_same(ran, outcome.history)
    assert ran.stdout.splitlines()[-1].startswith(f"{outcome.repro.invariant}: job j1")
    assert (ran.returncode, ran.stderr) == (1, "")


def test_a_script_opens_with_the_story():
    """Its first lines are comments: what broke, the story, how to run it; then come the workers' steps."""
    text = script(half_written())
    comments = text[: text.index("import ")]

    assert comments.startswith("# naive-file breaks its promise `no-lost-job`:\n")
    assert "enqueue j1… stops before write queued/j1.json" in comments
    assert all(line.startswith("#") for line in comments.split("\n") if line)
    assert text.index('done("w1", queue.enqueue, "j1")') < text.index("def take_turns(")


FAULTS = {
    "kill": (scenario(ENQUEUE, CLAIM, ACK, CLAIM_TOO, kills=1), "kill", LOST),
    "I/O error": (scenario(ENQUEUE, CLAIM, ACK, CLAIM_TOO, errors=1), "EIO", LOST),
    "pause": (
        scenario(ENQUEUE, CLAIM, ACK, CLAIM_TOO, pauses=1, pause_seconds=(65.0,)),
        "pause 65.0 s",
        "linearizable",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_strikes_at_the_same_call(fault, tmp_path):
    """A worker is killed, stands still, or its call fails, where it did in the run."""
    what, strike, invariant = FAULTS[fault]
    outcome = raced(what, strikes(strike), invariant)
    ran = written(outcome, tmp_path / "shown.py")

    assert [struck.fault for struck in outcome.run.faults] == [strike]
    assert_same(ran, outcome.history)


def test_a_process_that_is_started_anew_has_a_script_too(tmp_path):
    """What a worker does after it died is another thread's."""
    again = (step(StepKind.ENQUEUE, job="j1"), step(StepKind.CLAIM, claim="b"))
    outcome = raced(scenario(ENQUEUE, CLAIM, step(StepKind.CRASH), *again), PLAIN, TWICE)
    ran = written(outcome, tmp_path / "shown.py")

    assert_same(ran, outcome.history)
    assert "w1  dies" in ran.stdout


class TestOtherQueues:
    """A queue in a file of its own, with a defect that takes what the script stands in for."""

    @pytest.fixture
    def queue(self, tmp_path, monkeypatch):
        """Write a queue's file, and return its reference."""
        monkeypatch.chdir(tmp_path)

        def written(claim):
            (tmp_path / "theirs.py").write_text(THEIRS + textwrap.indent(claim, "    "))
            return "theirs.py:Queue"

        return written

    @pytest.mark.parametrize("kind", ["flock", "sqlite", "listing", "clock"])
    def test_it_is_shown_by_the_script(self, queue, kind, tmp_path):
        """Locks, statements, the order of listings and the system's time are the run's."""
        claim, what, deviations, invariant = QUEUES[kind]
        outcome = raced(what, Exhaustive(deviations_max=deviations).runs(), invariant, queue(claim))
        ran = written(outcome, tmp_path / "shown.py")

        assert_same(ran, outcome.history)
        assert ran.returncode == 1

    def test_who_waits_for_a_lock_lets_the_others_go_on(self, queue, tmp_path):
        """A worker that meets a held lock does not stop the script, and gets it when it is free."""
        claim, what, deviations, invariant = QUEUES["flock"]

        def waits(run):
            locking = [passed.worker for passed in run.trace if passed.point.call == "fcntl.flock"]
            return locking[:3] == ["w1", "w2", "w1"]

        strategies = Exhaustive(deviations_max=deviations).runs()
        outcome = raced(what, strategies, invariant, queue(claim), wanted=waits)
        ran = written(outcome, tmp_path / "shown.py")

        assert_same(ran, outcome.history)
        assert ran.returncode == 1

    @pytest.mark.scenario("simulation/a-run-that-no-script-shows")
    def test_what_depends_on_more_than_the_script_controls_is_refused(self, queue, tmp_path):
        """A script that comes to something else is no proof, and says what."""
        (tmp_path / "there").touch()
        claim = '    return Claim("j1", worker_id) if Path("there").exists() else None'
        outcome = raced(TWO_CLAIM, PLAIN, TWICE, queue(claim))
        (tmp_path / "there").unlink()
        path = tmp_path / "shown.py"
        path.write_text(script(outcome))

        with pytest.raises(NotScriptable, match=r"did not show the same .*claim → nothing instead of"):
            proved(path, outcome)

    @pytest.mark.scenario("simulation/a-run-that-no-script-shows")
    def test_posix_locks_are_refused(self, queue):
        """They belong to a process, and the workers of a script share one."""
        claim, what, deviations, invariant = QUEUES["flock"]
        reference = queue(claim.replace("flock(", "lockf("))
        outcome = raced(what, Exhaustive(deviations_max=deviations).runs(), invariant, reference)

        with pytest.raises(NotScriptable, match="POSIX record locks"):
            script(outcome)

    @pytest.mark.scenario("simulation/a-script-after-a-fix")
    def test_a_mended_queue_ends_with_zero(self, queue, tmp_path):
        """Once the queue is mended, the same script says what comes out instead."""
        claim, what, deviations, invariant = QUEUES["flock"]
        outcome = raced(what, Exhaustive(deviations_max=deviations).runs(), invariant, queue(claim))
        queue(claim.replace("fcntl.flock(lock, fcntl.LOCK_UN)", "pass"))
        ran = written(outcome, tmp_path / "shown.py")

        assert "not so this time: w1 claim → j1 as c1 instead of w2 claim → j1 as c1" in ran.stdout
        assert ran.returncode == 0


@pytest.mark.scenario("simulation/a-run-that-no-script-shows")
def test_a_loss_of_power_is_refused():
    """No program can bring one about."""
    outcome = raced(scenario(ENQUEUE, CLAIM, power_losses=1), strikes("power loss"), "durable")

    with pytest.raises(NotScriptable, match="loss of power"):
        script(outcome)


@pytest.mark.scenario("simulation/a-run-that-no-script-shows")
def test_time_zones_are_refused():
    """They take processes of their own."""
    zoned = step(StepKind.CLOCK, zone="Europe/Berlin")
    enqueue = step(StepKind.ENQUEUE, "w1", job="j1")
    outcome = raced(scenario(zoned, enqueue, CLAIM, enqueue, CLAIM_TOO), PLAIN, TWICE)

    with pytest.raises(NotScriptable, match="time zones"):
        script(outcome)


@pytest.mark.scenario("simulation/a-clock-that-jumps-to-and-fro")
def test_a_clock_that_jumps_to_and_fro_is_refused():
    """The repro keeps it and fails again; a script that counts looks otherwise would not."""
    strobing = step(StepKind.CLOCK, strobe=1.0)
    enqueue = step(StepKind.ENQUEUE, "w1", job="j1")
    outcome = raced(scenario(strobing, enqueue, CLAIM, enqueue, CLAIM_TOO), PLAIN, TWICE)

    assert outcome.still_fails
    assert outcome.repro.scenario.steps[0].strobe == 1.0
    with pytest.raises(NotScriptable, match="jumps at each look"):
        script(outcome)


def test_a_script_that_hangs_is_refused(tmp_path, monkeypatch):
    """What it waits for is virtual, so it is given little time."""
    monkeypatch.setattr(script_module, "SECONDS_MAX", 0.2)
    path = tmp_path / "shown.py"
    path.write_text("while True: pass")

    with pytest.raises(NotScriptable, match="did not end"):
        proved(path, killed())


class TestTheCommand:
    """`ssq replay FILE --script OUT.py`."""

    @pytest.mark.scenario("command-line/a-script-for-a-bug-report")
    def test_it_writes_the_script_and_how_to_run_it(self, ssq, tmp_path):
        """The last line is the command that runs it."""
        save(killed().repro, tmp_path / "lost.json")
        code, out, err = ssq("replay", "lost.json", "--script", "shown.py")
        ran = subprocess.run([sys.executable, "shown.py"], capture_output=True, check=False)

        assert (code, err, out.splitlines()[-1]) == (1, "", "python shown.py")
        assert ran.returncode == 1

    @pytest.mark.scenario("command-line/no-script")
    def test_what_can_not_be_scripted_is_one_line(self, ssq, tmp_path, is_one_line):
        """The exit code is that of bad input, and no file is left."""
        lost = raced(scenario(ENQUEUE, CLAIM, power_losses=1), strikes("power loss"), "durable")
        save(lost.repro, tmp_path / "lost.json")
        code, _, err = ssq("replay", "lost.json", "--script", "shown.py")

        assert code == 64
        assert is_one_line(err, "shown.py: no script", "loss of power")
        assert not (tmp_path / "shown.py").exists()

    def test_a_folder_that_is_not_there_is_one_line(self, ssq, tmp_path, is_one_line):
        """It says which file can not be written."""
        save(killed().repro, tmp_path / "lost.json")
        code, _, err = ssq("replay", "lost.json", "--script", "nowhere/shown.py")

        assert (code, is_one_line(err, "nowhere/shown.py: can not be written")) == (64, True)


THEIRS = """
import fcntl, os, sqlite3, time
from pathlib import Path
from collections import namedtuple

Claim = namedtuple("Claim", "job_id claim_id")


class Queue:
    def __init__(self, workdir, policy):
        self.folder = workdir / "jobs"
        self.folder.mkdir(exist_ok=True)
        self.database = sqlite3.connect(workdir / "jobs.db", isolation_level=None)
        self.database.execute("CREATE TABLE IF NOT EXISTS jobs (id TEXT, state TEXT, until REAL)")
        self.ttl = policy.lease_ttl_seconds

    def enqueue(self, job_id):
        (self.folder / job_id).write_text("free")
        self.database.execute("INSERT INTO jobs VALUES (?, 'free', 0)", (job_id,))

    def ack(self, *, claim):
        (self.folder / claim.job_id).unlink()

    def claim(self, *, worker_id):
"""
FLOCK = """
    with (self.folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        free = [job for job in sorted(self.folder.iterdir()) if job.read_text() == "free"]
        fcntl.flock(lock, fcntl.LOCK_UN)
        if not free:
            return None
        free[0].write_text(worker_id)
        return Claim(free[0].name, worker_id)
"""
SQLITE = """
    row = self.database.execute("SELECT id FROM jobs WHERE state = 'free'").fetchone()
    if row is None:
        return None
    self.database.execute("BEGIN IMMEDIATE")
    self.database.execute("UPDATE jobs SET state = 'taken' WHERE id = ?", row)
    self.database.commit()
    return Claim(row[0], worker_id)
"""
LISTING = """
    for name in os.listdir(self.folder):
        (self.folder / name).rename(self.folder.parent / name)
        return Claim(name, worker_id)
"""
CLOCK = """
    row = self.database.execute("SELECT id, until FROM jobs").fetchone()
    if row is None or row[1] > time.time():
        return None
    self.database.execute("UPDATE jobs SET until = ?", (time.time() + self.ttl / 2,))
    return Claim(row[0], f"{worker_id} at {time.time()}")
"""
TWO_CLAIM = scenario(ENQUEUE, CLAIM, CLAIM_TOO)
QUEUES = {
    "flock": (FLOCK, TWO_CLAIM, 2, TWICE),
    "sqlite": (SQLITE, TWO_CLAIM, 2, TWICE),
    "listing": (
        LISTING,
        scenario(ENQUEUE, step(StepKind.ENQUEUE, SETUP_WORKER, job="j2"), CLAIM),
        1,
        "order",
    ),
    "clock": (CLOCK, scenario(ENQUEUE, CLAIM, step(StepKind.ADVANCE, seconds=31.0), CLAIM_TOO), 1, TWICE),
}
"""A queue's claim, a scenario, how many deviations it takes, and what breaks."""
