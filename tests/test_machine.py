"""The generator drives any queue to the moments that matter, the same way for the same seed."""

import os
import subprocess
import sys
from collections import Counter, deque
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from ssq_core.queue import LeaseLost
from ssq_verify.failing import InvariantViolated, violated
from ssq_verify.generation import Effort, generate
from ssq_verify.history import joined
from ssq_verify.judge import judge
from ssq_verify.machine import machine_for
from ssq_verify.repro import digest, load, replay
from ssq_verify.scenario import StepKind
from ssq_verify.subject import Promises, Subject
from ssq_verify.subject import load as load_subject
from ssq_verify.verdict import Finding

EFFORT = Effort(examples=250, steps=20, seconds_max=600)
DIGESTS = """
from ssq_verify.generation import Effort, generate
from ssq_verify.repro import digest
from ssq_verify.subject import load
effort = Effort(examples=25, steps=15, seconds_max=600)
for name, seed in (("memory", 1), ("naive-file", 1), ("naive-file", 2)):
    for example in generate(load(name), effort, seed=seed):
        print(digest(example.history))
"""


@dataclass(frozen=True)
class Claim:
    """A claim with no more than a queue must give."""

    job_id: str
    claim_id: int


class Store:
    """The jobs of a `LeaselessQueue`, whoever looks."""

    def __init__(self) -> None:
        self.waiting: deque[str] = deque()
        self.held: set[str] = set()
        self.claims = 0


class LeaselessQueue:
    """What many queues are: ack and release go by job, and who dies with a job keeps it for ever."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def enqueue(self, job_id):
        """Add a job."""
        self.store.waiting.append(job_id)

    def claim(self, *, worker_id):  # noqa: ARG002 - it does not care who asks
        """Take the oldest job."""
        if not self.store.waiting:
            return None
        self.store.claims += 1
        job_id = self.store.waiting.popleft()
        self.store.held.add(job_id)
        return Claim(job_id, self.store.claims)

    def ack(self, *, claim):
        """Forget the job, be it held or waiting."""
        if claim.job_id in self.store.held:
            self.store.held.remove(claim.job_id)
        elif claim.job_id in self.store.waiting:
            self.store.waiting.remove(claim.job_id)
        else:
            raise LeaseLost(claim.job_id, str(claim.claim_id))

    def release(self, *, claim):
        """Put the job back."""
        if claim.job_id in self.store.held:
            self.store.held.remove(claim.job_id)
            self.store.waiting.append(claim.job_id)
        elif claim.job_id not in self.store.waiting:
            raise LeaseLost(claim.job_id, str(claim.claim_id))


def leaseless_subject():
    """Return a subject that promises no more than it keeps."""
    stores: dict[Path, Store] = {}
    promises = Promises(
        lease=False,
        fencing=False,
        extend=False,
        back_off=False,
        max_attempts=None,
        idempotent_enqueue=False,
        repeat_ack="accepted",
        durability="none",
        order=None,
    )
    return Subject(
        reference="leaseless",
        factory=lambda workdir, _: LeaselessQueue(stores.setdefault(workdir, Store())),
        promises=promises,
    )


@cache
def examples_of_memory():
    """Return examples of a correct queue, generated once."""
    return tuple(generate(load_subject("memory"), EFFORT, seed=0))


def digests_in_a_process(hash_seed):
    """Return the digests of some runs, generated in a process of its own."""
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", DIGESTS], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.scenario("verdicts/the-same-seed-in-two-processes")
def test_the_same_seed_gives_the_same_histories_in_any_process():
    """Another process with another hash seed generates the same scenarios and gets the same bytes."""
    first, second = digests_in_a_process("1"), digests_in_a_process("2")
    effort = Effort(examples=25, steps=15, seconds_max=600)
    here = [digest(example.history) for example in generate(load_subject("memory"), effort, seed=1)]

    assert first == second
    assert first[:25] == here
    assert len(first) == 75


def test_another_seed_gives_other_scenarios():
    """Two seeds share few scenarios beyond the smallest ones."""
    small = Effort(examples=25, steps=15, seconds_max=600)
    one, other = (
        {example.scenario for example in generate(load_subject("memory"), small, seed=n)} for n in (1, 2)
    )

    assert len(one & other) < len(one) / 2


@pytest.mark.scenario("verdicts/what-a-sequential-run-exercises")
def test_the_machine_exercises_what_a_sequential_run_can():
    """Reclaims, dead letters, empty claims, deaths, wrong clocks and stale claims are all seen."""
    tally = sum((example.tally for example in examples_of_memory()), Counter())
    wanted = ["reclaims", "dead letters", "empty claims", "crashes", "wrong clocks"]
    wanted += [f"{f}s {when}" for f in ("ack", "release") for when in ("in time", "after expiry")]
    wanted += [f"{f}s after the next claim" for f in ("ack", "release", "extend")]

    assert {name: tally[name] for name in wanted if not tally[name]} == {}
    assert sum(tally[f"{f}s after the next holder's end"] for f in ("ack", "release", "extend")) > 0


def test_examples_vary_in_what_they_do():
    """Hypothesis switches rules off: some examples never ack, some never advance, in some nobody dies."""
    done = [{step.do for step in example.scenario.steps} for example in examples_of_memory()]

    for kind in (StepKind.ACK, StepKind.ADVANCE, StepKind.CRASH):
        assert 0 < sum(kind in kinds for kinds in done) < len(done)


@pytest.mark.scenario("verdicts/a-queue-that-promises-less")
def test_a_queue_that_promises_less_is_held_to_that():
    """A plain class without lease, fencing, payload or attempts is not accused of what it never promised."""
    history = joined([example.history for example in generate(leaseless_subject(), EFFORT, seed=0)])
    verdicts = {verdict.invariant: verdict.verdict for verdict in judge(history, ways=("model",))}

    assert Finding.VIOLATED not in verdicts.values()
    assert verdicts["fencing"] is verdicts["bounded-retries"] is Finding.NOT_OFFERED


def test_a_correct_queue_passes_the_machine_as_a_test():
    """`machine_for(...).TestCase` is a unit test, which a correct queue passes."""
    case = machine_for("memory").TestCase
    case.settings = settings(
        max_examples=10, stateful_step_count=15, deadline=None, database=None, derandomize=True
    )

    case("runTest").runTest()


@pytest.mark.scenario("verdicts/a-machine-in-anybody-s-tests")
def test_a_broken_queue_fails_the_machine_with_its_story(tmp_path, monkeypatch):
    """The failure is of the invariant's own type; its message is the story and how to replay it."""
    monkeypatch.chdir(tmp_path)
    case = machine_for("naive-file").TestCase
    case.settings = settings(
        max_examples=50, deadline=None, database=None, derandomize=True, phases=[Phase.generate]
    )

    with pytest.raises(InvariantViolated) as raised:
        case("runTest").runTest()
    command = str(raised.value).splitlines()[-1]
    invariant = raised.value.violation.invariant
    assert type(raised.value) is violated(invariant)
    assert str(raised.value).startswith(invariant)
    assert command == f"ssq replay .ssq/repros/naive-file/{invariant}.json"
    assert replay(load(Path(command.split()[-1]))).still_fails


def test_each_invariant_has_an_exception_of_its_own():
    """Hypothesis shrinks failures of different types apart."""
    assert violated("fencing").__name__ == "FencingViolated"
    assert violated("fencing") is violated("fencing") is not violated("no-lost-job")
