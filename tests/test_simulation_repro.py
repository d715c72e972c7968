"""Is a raced failure shrunk to its least, told, and replayed for what it is, also on changed code?"""

from functools import cache
from itertools import combinations
from pathlib import Path

import msgspec
import pytest

from ssq_verify.execution import scratch
from ssq_verify.judge import violations
from ssq_verify.machine import SETTINGS
from ssq_verify.report.racing import place
from ssq_verify.report.story import story
from ssq_verify.repro import Result, replay, smallest
from ssq_verify.scenario import Faults, Scenario, Step, StepKind
from ssq_verify.simulation import campaign, nearby
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.shrinking import shrink_simulated
from ssq_verify.simulation.strategies import Exhaustive, StrikeAt
from ssq_verify.simulation.tape import Replay
from ssq_verify.subject import SubjectFailed, load

NAIVE = "from ssq_verify.subjects.naive_file import open_queue\n"
RACE = campaign.small(SETTINGS, workers=2, jobs=2, faults=Faults(kills=1))
ENQUEUE_MEETS_CLAIM = Scenario(
    settings=SETTINGS,
    steps=(
        Step(do=StepKind.ENQUEUE, worker="setup", job="j1"),
        Step(do=StepKind.ENQUEUE, worker="w1", job="j2"),
        Step(do=StepKind.CLAIM, worker="w2", claim="claim1"),
        Step(do=StepKind.CLAIM, worker="w2", claim="claim2"),
    ),
)


def run(scenario, strategy, subject="naive-file"):
    """Simulate one run in a folder of its own."""
    with scratch() as workdir:
        return simulate(scenario, load(subject), strategy, workdir)


def breaks(scenario, tape, invariant="no-lost-job"):
    """Whether the run breaks the invariant."""
    return bool(violations(run(scenario, Replay(tape)).history, invariant))


@cache
def lost_by_a_kill():
    """Return a tape on which a killed claim loses a job."""
    for number in range(1, 100):
        found = run(RACE, StrikeAt("kill", number))
        if violations(found.history, "no-lost-job"):
            return found.tape
    raise AssertionError


@cache
def lost_without_a_fault():
    """Return a tape on which a claim meets a half-written enqueue."""
    for strategy in Exhaustive(deviations_max=2).runs():
        found = run(ENQUEUE_MEETS_CLAIM, strategy)
        if violations(found.history, "no-lost-job"):
            return found.tape
    raise AssertionError


def cases():
    """Return the naive queue's two ways to lose a job, as scenario and tape."""
    return [(RACE, lost_by_a_kill()), (ENQUEUE_MEETS_CLAIM, lost_without_a_fault())]


@pytest.mark.scenario("simulation/a-local-minimum")
@pytest.mark.parametrize("number", [0, 1])
def test_nothing_can_be_dropped_from_a_shrunk_run(number):
    """Without any of its steps, or any of its deviations, the run holds."""
    scenario, tape = cases()[number]
    shrunk = shrink_simulated(scenario, tape, load("naive-file"), "no-lost-job", tries_max=2_000)
    steps, cells = shrunk.scenario.steps, shrunk.run.tape

    assert shrunk.is_minimal
    assert len(steps) <= 4
    for kept in combinations(steps, len(steps) - 1):
        assert not breaks(msgspec.structs.replace(shrunk.scenario, steps=kept), cells)
    for position in (position for position, cell in enumerate(cells) if cell):
        assert not breaks(shrunk.scenario, (*cells[:position], 0, *cells[position + 1 :]))


@pytest.mark.scenario("simulation/a-repro-of-a-race")
@pytest.mark.parametrize("number", [0, 1])
def test_a_raced_failure_replays_in_other_processes(number):
    """Each time in a fresh process, it is the same history, byte for byte."""
    scenario, tape = cases()[number]
    found, _ = smallest(load("naive-file"), scenario, tape, "no-lost-job", tries_max=500)

    outcomes = [replay(found, processes=1) for _ in range(3)]

    assert any("stops before write" in step or "is killed before rename" in step for step in found.steps)

    assert {outcome.result for outcome in outcomes} == {Result.STILL_FAILS}
    assert all(outcome.is_same_history for outcome in outcomes)


@pytest.mark.scenario("simulation/the-story-of-a-race")
def test_the_story_shows_where_a_worker_was_killed_and_what_would_have_been():
    """It has the kill, the empty queue at the end, and how a run without the kill differs."""
    found, _ = smallest(load("naive-file"), RACE, lost_by_a_kill(), "no-lost-job", tries_max=500)
    outcome = replay(found)
    told = [line.plain for line in story(outcome.history, outcome.violation, raced=outcome.raced)]

    assert sum("is killed before rename" in line for line in told) == 1
    assert "drain" in next(line for line in told if "✗ here" in line)
    assert told[-1] == "without the kill: w1's claim → j1"
    assert len(told) <= 10


@pytest.mark.scenario("simulation/the-story-of-a-race")
def test_the_story_shows_where_a_worker_was_stopped():
    """The stop stands between what was done before it and what others did meanwhile."""
    scenario, tape = cases()[1]
    found, _ = smallest(load("naive-file"), scenario, tape, "no-lost-job", tries_max=500)
    outcome = replay(found)
    told = [line.plain for line in story(outcome.history, outcome.violation, raced=outcome.raced)]
    stop = next(number for number, line in enumerate(told) if "enqueue j1… stops before write" in line)

    assert "claim" in told[stop + 1]
    assert any("enqueue j1 → ok" in line for line in told[stop + 1 :])
    assert told[-1] == "without the stop: w2's claim → j1"


@pytest.mark.parametrize(
    ("at", "told"),
    [
        ("os.rename queue/a.json -> held/a.tmp", "before rename queue/a.json → held/a.tmp"),
        ("os.open deep/down/here/0123456789abcdef.q", "before open here/012….q"),
        ("os.rename held/a.tmp -> held/a.json", "before rename held/a.tmp → a.json"),
        ("return claim", "before its answer"),
        ("sqlite COMMIT", "before sqlite COMMIT"),
    ],
)
def test_a_point_is_told_in_few_words(at, told):
    """Folders above the last and random names are left out."""
    assert place(at) == told


class TestWhenTheCodeHasChanged:
    """A repro is replayed on a subject that is no longer what it was."""

    @pytest.fixture
    def found(self, tmp_path):
        """Return a repro on a file, and the file."""
        source = tmp_path / "theirs.py"
        source.write_text(NAIVE)
        subject = load(f"{source}:open_queue")
        return smallest(subject, RACE, lost_by_a_kill(), "no-lost-job", tries_max=500)[0], source

    @pytest.mark.scenario("simulation/a-fixed-race")
    def test_a_queue_that_was_mended_is_fixed(self, found):
        """The tape no longer fits, and all schedules with as many deviations hold."""
        repro, source = found
        source.write_text("from ssq_verify.subjects.file import open_queue\n")
        outcome = replay(repro)

        assert (outcome.result, outcome.still_fails) == (Result.FIXED, False)
        assert outcome.tried > 5

    @pytest.mark.scenario("simulation/a-race-that-moved")
    def test_a_failure_that_moved_is_found_nearby(self, found):
        """One more system call before the failure, and the kill strikes elsewhere: it is searched for."""
        repro, source = found
        source.write_text(
            "import os\n"
            "from ssq_verify.subjects import naive_file\n"
            "class Queue(naive_file.NaiveFileQueue):\n"
            "    def claim(self, *, worker_id):\n"
            "        for _ in range(12): (self.claimed / 'touched').touch()\n"
            "        return super().claim(worker_id=worker_id)\n"
            "def open_queue(workdir, policy):\n"
            "    return Queue(workdir, policy.lease_ttl_seconds, policy.clock)\n"
        )
        outcome = replay(repro)

        assert outcome.result is Result.NEARBY
        assert outcome.passing is not None
        assert replay(outcome.repro).result is Result.STILL_FAILS

    @pytest.mark.scenario("simulation/a-race-that-is-out-of-reach")
    def test_a_search_that_was_cut_is_no_proof(self, found, monkeypatch):
        """If not all schedules near it could be tried, the result is `diverged`."""
        repro, source = found
        source.write_text("from ssq_verify.subjects.file import open_queue\n")
        monkeypatch.setattr(nearby, "TRIES_MAX", 5)
        outcome = replay(repro)

        assert (outcome.result, outcome.tried) == (Result.DIVERGED, 5)

    @pytest.mark.parametrize("processes", [0, 1])
    def test_a_queue_that_can_not_be_simulated_any_more_is_named(self, found, processes):
        """It says what the queue does now, and where, in one line."""
        repro, source = found
        source.write_text(
            "import threading\ndef open_queue(workdir, policy):\n    threading.Thread(target=int).start()\n"
        )

        with pytest.raises(SubjectFailed, match=r"a thread at .*theirs.py:3 can not be simulated") as failed:
            replay(repro, processes=processes)
        assert "\n" not in str(failed.value)


def test_a_tape_that_fails_no_more_is_refused():
    """There is nothing to shrink in a run that holds."""
    with pytest.raises(ValueError, match="does not break fencing"):
        shrink_simulated(RACE, (), load("file"), "fencing", tries_max=10)


def test_paths_of_this_machine_stay_out(tmp_path):
    """A repro names what was done, not where."""
    found, history = smallest(load("naive-file"), RACE, lost_by_a_kill(), "no-lost-job", tries_max=100)

    assert "/dev/shm" not in msgspec.json.encode(found).decode()  # noqa: S108 - looked for, not used
    assert str(Path.home()) not in msgspec.json.encode(history).decode()
    assert str(tmp_path) not in msgspec.json.encode(found).decode()
