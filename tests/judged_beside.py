"""What does one version of a package keep and break? A process judges one version, so each has its own.

Run with a subject's reference, it does what it is tried with, and tells the verdicts and the lost jobs.
"""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from ssq_stress.serving import served
from ssq_verify import versions
from ssq_verify.execution import Execution, execute, scratch
from ssq_verify.history import joined
from ssq_verify.judge import judge, violations
from ssq_verify.subject import load
from test_third_party import IN_TURNS, ack, claim, enqueue, extend, release, scenario, wait

LATE = (
    scenario(
        enqueue("w1", "j1"),
        claim("w1", "a"),
        wait(61),
        claim("w2", "b"),
        release("w1", "a"),
        wait(6),
        claim("w3", "c"),
        ack("w2", "b"),
    ),
    scenario(enqueue("w1", "j1"), claim("w1", "a"), wait(50), extend("w1", "a"), wait(50), claim("w2", "b")),
    scenario(
        enqueue("w1", "j1"),
        enqueue("w1", "j2"),
        claim("w1", "a"),
        wait(61),
        claim("w1", "b"),
        claim("w2", "c"),
    ),
)
"""A job is given back by whom it was taken from; a holder's heart beats; a stale job and a new one wait."""

JOBS = ("j1", "j2", "j3")
RESTED = scenario(
    *(enqueue("w1", job) for job in JOBS),
    *(claim("w1", f"c{job}") for job in JOBS),
    *(release("w1", f"c{job}") for job in JOBS),
    wait(6),
)
"""Three jobs rest until the same time; whoever claims next has them brought back first."""
STALLED = scenario(enqueue("w1", "j1"), claim("w1", "a"), wait(61))
MEANWHILE = (release("w1", "a"), wait(6), claim("w2", "b"))
"""A stalled job's holder gives it back after all, and another takes it."""
REFUSED = """
CREATE TRIGGER refused BEFORE INSERT ON task WHEN instr(NEW.data, 'j1')
BEGIN SELECT RAISE(ABORT, 'no room'); END
"""


@contextmanager
def the_storage_refuses_one(_execution: Execution, workdir: Path) -> Iterator[None]:
    """Let the database take all tasks but one."""
    connection = sqlite3.connect(workdir / "huey.db")
    connection.execute(REFUSED)
    connection.close()
    yield


@contextmanager
def one_reply_is_lost(_execution: Execution, _workdir: Path) -> Iterator[None]:
    """Let the first task be taken, and the connection break before that is told."""
    from redis.connection import AbstractConnection as Connection  # noqa: PLC0415 - only where it is tried

    sent, answered = Connection.send_command, Connection.read_response
    pushes: list[str] = []

    def sending(self, *arguments, **settings):
        pushes.extend(arguments[:1] if arguments[0] == "LPUSH" else ())
        return sent(self, *arguments, **settings)

    def answering(self, *arguments, **settings):
        answer = answered(self, *arguments, **settings)
        if pushes == ["LPUSH"]:
            pushes.append("lost")
            raise ConnectionError("the connection was cut")
        return answer

    Connection.send_command, Connection.read_response = sending, answering
    try:
        yield
    finally:
        Connection.send_command, Connection.read_response = sent, answered


@contextmanager
def the_sweeper_stands_still(execution: Execution, _workdir: Path) -> Iterator[None]:
    """Let others go on between a sweeper's look at what is stalled, and what it does about it."""
    from ssq_verify.subjects.procrastinate import ProcrastinateAdapter  # noqa: PLC0415 - as above

    retry, left = ProcrastinateAdapter._retry, [MEANWHILE]

    def late(self, job, seconds, held=None):
        if held is None and left:
            for step in left.pop():
                execution.perform(step)
        retry(self, job, seconds, held)

    ProcrastinateAdapter._retry = late
    try:
        yield
    finally:
        ProcrastinateAdapter._retry = retry


TRIALS = {
    "huey-sqlite": (RESTED, the_storage_refuses_one),
    "huey-redis": (RESTED, one_reply_is_lost),
    "procrastinate": (STALLED, the_sweeper_stands_still),
}
"""What is done first, and what then befalls a round of the sweeper."""


def swept(subject, workdir, steps, fault):
    """Return the history of a round of the sweeper that meets a fault."""
    execution = Execution(subject, steps.settings, workdir)
    try:
        for step in steps.steps:
            execution.perform(step)
        with fault(execution, workdir):
            execution.open("sweeper").inner.sweep()
        execution.perform(claim("w3", "again"))
        return execution.finish()
    finally:
        execution.close()


def told(reference):
    """Return the verdicts on a subject, and the jobs that it lost in the scheduler's round."""
    subject, histories = load(reference), []
    with served(reference, subject, in_turns=True):
        for steps in (*IN_TURNS, *LATE):
            with scratch() as workdir:
                histories.append(execute(steps, subject, workdir))
        trial = TRIALS.get(versions.parted(reference)[0])
        if trial is not None:
            with scratch() as workdir:
                histories.append(swept(subject, workdir, *trial))
    verdicts = {each.invariant: each.verdict for each in judge(joined(histories), ways=("model",))}
    lost = [violation.sentence.split(",")[0] for violation in violations(histories[-1], "no-lost-job")]
    broken = {
        violation.sentence
        for invariant, verdict in verdicts.items()
        if verdict == "violated"
        for violation in violations(joined(histories), invariant)[:1]
    }
    return {"verdicts": verdicts, "lost": lost, "broken": sorted(broken)}


@cache
def judged(reference):
    """Return what `told` says of a subject, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
    done = subprocess.run(
        [sys.executable, __file__, reference], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(told(sys.argv[1])))
