"""Are steps with many jobs done, shrunk, composed and scripted as calls with many?"""

import subprocess
import sys

import msgspec
import pytest

from ssq_verify.execution import execute, scratch
from ssq_verify.generation import Effort, generate
from ssq_verify.history import OPERATIONS, EventType, Terms, joined
from ssq_verify.judge import judge, violations
from ssq_verify.machine import SETTINGS
from ssq_verify.repro import replay, repro
from ssq_verify.scenario import NO_FAULTS, Faults, Scenario, Step, StepKind, one_by_one
from ssq_verify.script import script
from ssq_verify.shrink import claims_renumbered, shrink_scenario
from ssq_verify.simulation.composition import from_seed
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.scenarios.parts import ack, claim, crash, enqueue, later, many, release
from ssq_verify.simulation.strategies import AtRandom, StrikeAt
from ssq_verify.simulation.tape import Replay
from ssq_verify.subject import load
from ssq_verify.verdict import Finding

LATE = 2 * SETTINGS.lease_ttl_seconds
THREE = (many(enqueue("w1", "j1", "p"), 3), many(claim("w1", "held"), 3), many(ack("w1", "held"), 3))
STALE = (
    many(enqueue("w1", "j1", "p"), 3),
    many(claim("w1", "held"), 3),
    later("w1", LATE + 1.0),
    later("w2", LATE),
    claim("w2", "next"),
    many(ack("w1", "held"), 3),
)
BROKEN = '''
from ssq_verify.subjects.memory import MemoryWorkerQueue, _store


class AcksByJob(MemoryWorkerQueue):
    """An ack of many goes by the jobs, whoever holds them."""

    def ack_many(self, *, claims):
        for claim in claims:
            self._store.jobs.pop(claim.job_id, None)


def open_queue(workdir, policy):
    return AcksByJob(_store(workdir), policy)
'''


@pytest.fixture
def acks_by_job(tmp_path):
    """Return a reference to a queue that acks stale claims among many."""
    path = tmp_path / "acks_by_job.py"
    path.write_text(BROKEN)
    return f"{path}:open_queue"


def in_turns(*steps, subject="memory"):
    """Return the history of steps that workers do one after the other."""
    with scratch() as workdir:
        return execute(Scenario(settings=SETTINGS, steps=steps), load(subject), workdir)


def raced(*steps, subject="memory", strategy=None, faults=NO_FAULTS):
    """Return the run of steps that workers do at once."""
    what = Scenario(settings=SETTINGS, steps=steps, faults=faults)
    with scratch() as workdir:
        return simulate(what, load(subject), strategy or Replay(()), workdir)


def lanes(history):
    """Return the operations before the drain: what, on which job, in which lane, with what outcome."""
    return [
        (each.f, each.job_id, each.lane, each.outcome.value)
        for each in history.operations
        if each.worker != "drain"
    ]


BOTH = pytest.mark.parametrize(
    "run", [in_turns, lambda *steps, **kwargs: raced(*steps, **kwargs).history], ids=["in turns", "raced"]
)


@BOTH
@pytest.mark.scenario("simulation/steps-with-many-jobs")
def test_a_step_with_many_is_one_call(run):
    """Its jobs and claims have names of their own, by which later steps know them, too."""
    history = run(*THREE[:2], release("w1", "held.2"), THREE[2])

    jobs = ["j1", "j1.2", "j1.3"]
    assert lanes(history) == [
        *(("enqueue", job, lane, "ok") for lane, job in enumerate(jobs)),
        *(("claim", job, lane, "ok") for lane, job in enumerate(jobs)),
        ("release", "j1.2", 0, "ok"),
        *(("ack", job, lane, "fail" if lane == 1 else "ok") for lane, job in enumerate(jobs)),
    ]


@BOTH
@pytest.mark.scenario("simulation/steps-with-many-jobs")
def test_a_queue_without_batches_does_them_one_by_one(run):
    """The same jobs are enqueued, claimed and acked, each in a call of its own."""
    history = run(*THREE, subject="naive-file")

    assert not history.terms.batches
    assert {lane for _, _, lane, _ in lanes(history)} == {0}
    single = [each for step in THREE for each in one_by_one(step)]
    assert lanes(history) == lanes(run(*single, subject="naive-file"))
    assert sorted(job for f, job, *_ in lanes(history) if f == "ack") == ["j1", "j1.2", "j1.3"]


@BOTH
def test_what_was_never_claimed_is_not_acked(run):
    """An ack of more than was given is one of those that were; of none it is nothing."""
    history = run(many(ack("w1", "held"), 2), enqueue("w1", "j1"), *THREE[1:])

    assert [each for each in lanes(history) if each[0] == "ack"] == [("ack", "j1", 0, "ok")]


@pytest.mark.scenario("simulation/steps-with-many-jobs")
@pytest.mark.parametrize("seed", range(3))
def test_the_same_run_with_many_every_time(seed):
    """Steps with many jobs give the same history again, and the same from a tape."""
    steps = (*STALE, many(enqueue("w2", "j2"), 2), many(claim("w2", "more"), 3))
    run = raced(*steps, strategy=AtRandom(seed))

    assert raced(*steps, strategy=AtRandom(seed)).history == run.history
    assert raced(*steps, strategy=Replay(run.tape)).history == run.history


def test_a_kill_inside_a_call_with_many_is_told_once():
    """The worker that dies leaves all its lanes open, and the operation is named as any other."""
    steps = (many(enqueue("w1", "j1"), 2), many(claim("w1", "held"), 2))
    run = raced(*steps, strategy=StrikeAt("kill", 2), faults=Faults(kills=1))

    assert [struck.operation for struck in run.faults] == ["claim"]
    assert lanes(run.history)[2:] == [("claim", None, 0, "info"), ("claim", None, 1, "info")]


def test_a_queue_that_is_right_keeps_its_promises_with_many():
    """What the machine does with the model answer, calls with many among it, breaks nothing; all are seen."""
    examples = generate(load("memory"), Effort(examples=60, steps=30, seconds_max=600), seed=1)

    verdicts = judge(joined([example.history for example in examples]), ways=("model",))
    said = verdicts[-1].sentence
    assert [each for each in verdicts if each.verdict is Finding.VIOLATED] == []
    assert "many jobs at once" not in said
    done = {step.do for example in examples for step in example.scenario.steps if step.many}
    assert done == {StepKind.ENQUEUE, StepKind.CLAIM, StepKind.ACK}


def test_a_run_without_calls_with_many_says_so():
    """Where a queue takes many jobs at once and none were given so, the run is vacuous in that."""
    verdict = judge(in_turns(enqueue("w1", "j1")), ways=("model",))[-1]

    for what in ("enqueues", "claims", "acks"):
        assert f"{what} of many jobs at once" in verdict.sentence


def test_the_machine_finds_what_goes_wrong_with_many(acks_by_job):
    """A queue that acks stale claims, but only among many, is found by its random examples."""
    subject = load(acks_by_job)
    examples = generate(subject, Effort(examples=80, steps=30, seconds_max=600), seed=1)

    assert violations(joined([example.history for example in examples]), "fencing")


@pytest.mark.scenario("verdicts/many-jobs-are-shrunk-to-fewer")
def test_many_jobs_are_shrunk_to_fewer():
    """What three jobs are not needed for is shown with as few as it takes, and with one call if that does."""

    def failing_if(wanted):
        def failing(candidates):
            return [place for place, each in enumerate(candidates) if wanted(each.steps)]

        return failing

    def shrunk(wanted):
        steps = shrink_scenario(Scenario(settings=SETTINGS, steps=STALE), failing_if(wanted)).steps
        return [(step.do, step.many) for step in steps]

    two = shrunk(lambda steps: any(step.do is StepKind.CLAIM and step.many >= 2 for step in steps))
    one = shrunk(lambda steps: any(step.do is StepKind.ACK for step in steps))
    assert (two, one) == ([(StepKind.CLAIM, 2)], [(StepKind.ACK, 0)])


def test_claims_of_one_call_are_renamed_together():
    """Names are plain in the end, and still say which of many is meant."""
    steps = (
        many(claim("w1", "odd name"), 3),
        claim("w2", "b.2"),
        release("w1", "odd name.2"),
        ack("w2", "b.2"),
    )

    assert [step.claim for step in claims_renumbered(steps)] == ["claim1", "claim2", "claim1.2", "claim2"]


def test_steps_come_back_from_json():
    """What is written of a step with many is read as the same; of any other nothing is said of it."""
    for step in (*STALE, crash("w1")):
        text = msgspec.json.encode(step)
        assert msgspec.json.decode(text, type=Step) == step
        assert (b"many" in text) is (step.many > 0)


@pytest.mark.scenario("simulation/programs-of-many-jobs")
def test_random_programs_of_many_jobs():
    """They are composed where they are offered; a seed means the same as before where they are not."""

    def composed(**offered):
        terms = Terms(max_clock_skew_seconds=2.0, **offered)
        return [from_seed(seed, SETTINGS, terms) for seed in range(60)]

    with_many = [step for each in composed(batches=True) for step in each.steps if step.many]

    assert {step.do for step in with_many} == {StepKind.ENQUEUE, StepKind.CLAIM, StepKind.ACK}
    assert not [step for each in composed() for step in each.steps if step.many]


@pytest.mark.scenario("simulation/a-script-with-many-jobs")
@pytest.mark.parametrize("way", ["in turns", "raced"])
def test_a_script_calls_with_many(acks_by_job, tmp_path, way):
    """The program makes the same calls, prints an answer for each job, and shows what is broken."""
    subject, what = load(acks_by_job), Scenario(settings=SETTINGS, steps=STALE)
    run = raced(*STALE, subject=acks_by_job) if way == "raced" else None
    history = in_turns(*STALE, subject=acks_by_job) if run is None else run.history
    outcome = replay(repro(subject, what, violations(history, "fencing")[0], history, run=run))
    path = tmp_path / "script.py"
    path.write_text(script(outcome), encoding="utf-8")

    ran = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stderr) == (1, "")
    assert "claimed_many(" in path.read_text()
    answered = [line.split("  ")[-1].split(" → ")[0] for line in ran.stdout.splitlines() if " → " in line]
    came_back = [
        event.f
        for event in history.events
        if event.f in OPERATIONS and event.type is not EventType.INVOKE and event.worker != "drain"
    ]
    assert [each.split()[0] for each in answered[: len(came_back)]] == came_back
