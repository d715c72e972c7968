"""What does one version of a package keep and break? A process judges one version, so each has its own.

Run with a subject's reference, it does what it is tried with, and tells the verdicts and the lost jobs.
"""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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
)
"""A job is given back by whom it was taken from; a holder's heart beats."""

JOBS = ("j1", "j2", "j3")
RESTED = scenario(
    *(enqueue("w1", job) for job in JOBS),
    *(claim("w1", f"c{job}") for job in JOBS),
    *(release("w1", f"c{job}") for job in JOBS),
    wait(6),
)
"""Three jobs rest until the same time; whoever claims next has them brought back first."""
REFUSED = """
CREATE TRIGGER refused BEFORE INSERT ON task WHEN instr(NEW.data, 'j1')
BEGIN SELECT RAISE(ABORT, 'no room'); END
"""


@contextmanager
def the_storage_refuses_one(workdir: Path) -> Iterator[None]:
    """Let the database take all tasks but one."""
    connection = sqlite3.connect(workdir / "huey.db")
    connection.execute(REFUSED)
    connection.close()
    yield


@contextmanager
def one_reply_is_lost(_workdir: Path) -> Iterator[None]:
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


FAULTS = {"huey-sqlite": the_storage_refuses_one, "huey-redis": one_reply_is_lost}


def swept(subject, workdir, run):
    """Return the history of a round of the scheduler that meets a fault."""
    execution = Execution(subject, RESTED.settings, workdir, run=run)
    try:
        for step in RESTED.steps:
            execution.perform(step)
        fault = FAULTS.get(versions.parted(subject.reference)[0], lambda _: nullcontext())
        with fault(workdir):
            execution.perform(claim("w1", "again"))
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
        with scratch() as workdir:
            histories.append(swept(subject, workdir, 0))
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
