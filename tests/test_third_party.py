"""Do queues from PyPI, unmodified, break what THIRD_PARTY.md says that they break, and nothing else?"""

import re
import sys
import tomllib
from functools import cache
from importlib import metadata
from itertools import islice
from pathlib import Path

import pytest
from msgspec.structs import replace

from ssq_verify import subject as subject_module
from ssq_verify.execution import execute, scratch
from ssq_verify.history import joined
from ssq_verify.judge import judge
from ssq_verify.scenario import SETUP_WORKER, Faults, Scenario, Settings, Step, StepKind
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.strategies import Exhaustive, StrikeAt
from ssq_verify.simulation.tape import Replay
from ssq_verify.subject import NotInstalled, load
from ssq_verify.verdict import Finding

ROOT = Path(__file__).parents[1]
NAMES = (
    "alchemical-queues",
    "dirq",
    "femtoqueue",
    "fs-task-queue",
    "fs-task-queue-file-lock",
    "huey-file",
    "litequeue",
    "monlite",
    "persist-queue",
    "pytaskcore",
)
SETTINGS = Settings(lease_ttl_seconds=60, max_attempts=3, backoff_base_seconds=5.0)
SCHEDULES_MAX = 150
"""Of one race."""


def enqueue(worker, job):
    """Return the step that adds a job."""
    return Step(do=StepKind.ENQUEUE, worker=worker, job=job, payload=f"{job} of {worker}")


def claim(worker, name):
    """Return the step that takes a job under a name."""
    return Step(do=StepKind.CLAIM, worker=worker, claim=name)


def ack(worker, name):
    """Return the step that finishes it."""
    return Step(do=StepKind.ACK, worker=worker, claim=name)


def release(worker, name):
    """Return the step that gives it back."""
    return Step(do=StepKind.RELEASE, worker=worker, claim=name)


def extend(worker, name):
    """Return the step that starts its lease anew."""
    return Step(do=StepKind.EXTEND, worker=worker, claim=name)


def wait(seconds):
    """Return the step that lets time pass, for the worker that every scenario has."""
    return Step(do=StepKind.ADVANCE, worker="w1", seconds=seconds)


def scenario(*steps):
    """Return a scenario of these steps."""
    return Scenario(settings=SETTINGS, steps=steps)


DEAD_HOLDERS = tuple(step for number in range(4) for step in (claim("w1", f"c{number}"), wait(61)))
IN_TURNS = (
    scenario(enqueue("w1", "j1"), wait(61), claim("w1", "a"), claim("w2", "b"), ack("w1", "a")),
    scenario(enqueue("w1", "j1"), *DEAD_HOLDERS),
    scenario(
        enqueue("w1", "j1"), claim("w1", "a"), wait(61), claim("w2", "b"), ack("w1", "a"), ack("w2", "b")
    ),
    scenario(
        enqueue("w1", "j1"),
        enqueue("w1", "j2"),
        claim("w1", "a"),
        wait(61),
        claim("w2", "b"),
        ack("w2", "b"),
        claim("w2", "c"),
    ),
    scenario(
        enqueue("w1", "j1"),
        wait(60),
        claim("w2", "a"),
        enqueue("w1", "j2"),
        enqueue("w2", "j3"),
        claim("w1", "b"),
        claim("w1", "c"),
    ),
    scenario(
        enqueue("w1", "j1"),
        enqueue("w1", "j2"),
        claim("w1", "a"),
        claim("w2", "b"),
        release("w1", "a"),
        wait(5.1),
        claim("w1", "c"),
        ack("w1", "c"),
        ack("w2", "b"),
        claim("w2", "d"),
    ),
)
"""An old job; one whose holders all die; a late ack; an expired job in a backlog; a late handle; a retry."""

OLD = Step(do=StepKind.ADVANCE, worker=SETUP_WORKER, seconds=61)
RACES = (
    scenario(enqueue(SETUP_WORKER, "j1"), claim("w1", "a"), claim("w2", "b")),
    scenario(enqueue("w1", "j1"), claim("w2", "a"), ack("w2", "a")),
    scenario(enqueue(SETUP_WORKER, "j1"), OLD, claim("w1", "a"), claim("w2", "b")),
)
"""Two claims of one job; an enqueue and a claim; two claims of a job that waited for longer than a lease."""
RACE_OF_PRODUCERS = scenario(enqueue("w1", "j1"), claim("w1", "a"), enqueue("w2", "j1"), claim("w2", "b"))
"""For a queue that knows its jobs by the producers' ids."""

ZONE = "CET-1CEST,M3.5.0,M10.5.0/3"
BEFORE_CHANGE_SECONDS = tuple(day * 86_400 + 3_600 - 30 for day in (89, 299))
"""From the beginning of simulated time to half a minute before summer time, and before its end."""


def over_a_change_of_time(seconds):
    """Return a claim, and two polls of another worker: within the lease, and after it, across the change."""
    zones = [Step(do=StepKind.CLOCK, worker=worker, zone=ZONE) for worker in ("w1", "w2")]
    later = [Step(do=StepKind.ADVANCE, worker="w2", seconds=after) for after in (seconds + 40, 40)]
    polls = (later[0], claim("w2", "b"), later[1], claim("w2", "c"))
    return scenario(*zones, wait(seconds), enqueue("w1", "j1"), claim("w1", "a"), *polls)


LIFE = scenario(
    enqueue("w1", "j1"),
    claim("w1", "a"),
    release("w1", "a"),
    wait(6),
    claim("w1", "b"),
    extend("w1", "b"),
    ack("w1", "b"),
    claim("w2", "c"),
    ack("w2", "c"),
)
"""What a worker can do, and somebody beside it: each step of it is a place to be killed at."""


def runs_of(subject):
    """Yield the history of each run that the subject is tried with."""
    for steps in IN_TURNS:
        with scratch() as workdir:
            yield execute(steps, subject, workdir)
    for race in RACES + (RACE_OF_PRODUCERS,) * subject.promises.idempotent_enqueue:
        for strategy in islice(Exhaustive(deviations_max=2).runs(), SCHEDULES_MAX):
            with scratch() as workdir:
                yield simulate(race, subject, strategy, workdir).history
    for seconds in BEFORE_CHANGE_SECONDS:
        with scratch() as workdir:
            yield simulate(over_a_change_of_time(seconds), subject, Replay(()), workdir).history
    number, strategy = 0, None
    while strategy is None or strategy.has_struck:
        number += 1
        strategy = StrikeAt("kill", number)
        with scratch() as workdir:
            yield simulate(replace(LIFE, faults=Faults(kills=1)), subject, strategy, workdir).history


@cache
def verdicts(name):
    """Return what is seen of a subject, by invariant."""
    history = joined(list(runs_of(load(name))))
    return {each.invariant: each.verdict for each in judge(history, ways=("model", "simulation"))}


@cache
def table():
    """Return the table of THIRD_PARTY.md: for each subject what is violated, holds, and is not offered."""
    text = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| `")]
    return {
        name.strip(" `"): [set(cell.replace(",", " ").split()) for cell in cells] for name, *cells in rows
    }


def found(name, finding):
    """Return the invariants of which that was found, less what only says how much was tried."""
    return {
        invariant
        for invariant, seen in verdicts(name).items()
        if seen is finding and invariant != "not-vacuous"
    }


@pytest.mark.scenario("simulation/a-package-is-judged-as-it-is")
@pytest.mark.parametrize("name", NAMES)
def test_a_package_breaks_what_the_table_says(name):
    """Each package breaks what its row says, keeps the rest, and is not held to what it never promised."""
    violated, holds, not_offered = table()[name]

    assert found(name, Finding.VIOLATED) == violated
    assert found(name, Finding.HOLDS) == holds
    assert found(name, Finding.NOT_OFFERED) == not_offered


def test_the_table_has_a_row_for_each_package():
    """Each row is a subject, and each subject that is somebody else's has a row."""
    assert sorted(table()) == sorted(NAMES)
    ours = {"file", "memory", "naive-file", "postgres", "postgres-async", "sqlite"}
    ours |= {"file-process-crash", "sqlite-process-crash"}
    ours |= {"redis", "redis-everysec", "redis-snapshots"}
    ours |= {
        "huey-redis",
        "huey-sqlite",
        "pgqueuer",
        "procrastinate",
        "rq",
    }  # these are in THIRD_PARTY_SERVERS.md
    assert set(NAMES) == set(subject_module.names()) - ours


def test_the_version_that_was_judged_is_the_one_that_is_installed():
    """What an adapter says that it adapts, the version pinned for it, and the installed one are the same."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = dict(pin.split("==") for pin in project["optional-dependencies"]["third-party"])

    for name in NAMES:
        package, version = (sys.modules[load(name).factory.__module__].__doc__ or "").split()[:2]
        assert version.rstrip(":,") == pins[package] == metadata.version(package), name


@pytest.fixture
def without_femtoqueue(monkeypatch):
    """Let the package be one that is not installed."""
    monkeypatch.delitem(sys.modules, "ssq_verify.subjects.femtoqueue", raising=False)
    monkeypatch.setitem(sys.modules, "femtoqueue", None)


@pytest.mark.usefixtures("without_femtoqueue")
@pytest.mark.scenario("simulation/a-package-that-is-not-installed")
def test_a_package_that_is_not_installed_is_named(ssq, is_one_line):
    """Its subject says what to install, in one line, and the list of subjects says so, too."""
    with pytest.raises(NotInstalled):
        load("femtoqueue")
    code, out, error = ssq("verify", "femtoqueue")
    listed_code, listed, _ = ssq("subjects")

    assert (code, out) == (64, "")
    assert is_one_line(error, "femtoqueue is not installed; pip install 'ssq[third-party]'")
    assert listed_code == 0
    assert re.search(r"^femtoqueue +\(not installed", listed, flags=re.MULTILINE)
