"""How does a repro become a program that needs only the subject? Its steps, its turns, and a small runtime.

What the runtime does stands in the modules of `standalone`; a script brings along the text of those that it
needs. One that would not show the same is no use to anybody: `proved` runs it.
"""

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from ssq_verify import programs, versions
from ssq_verify.execution import DRAIN_POLLS_MAX as DRAIN_POLLS_MAX_IN_TURNS
from ssq_verify.execution import DRAIN_WORKER
from ssq_verify.execution import EPOCH as EPOCH_IN_TURNS
from ssq_verify.history import History
from ssq_verify.programs import NotScriptable, Race, Turn, identifier, quoted
from ssq_verify.report.layout import printable, rounded
from ssq_verify.report.story import AT_THE_END, story
from ssq_verify.repro import Replayed
from ssq_verify.scenario import Scenario, Settings, StepKind, in_one_process
from ssq_verify.simulation.clock import EPOCH
from ssq_verify.simulation.process import DRAIN_POLLS_MAX
from ssq_verify.standalone import (
    answers,
    calls,
    listings,
    locks,
    many,
    opening,
    statements,
    turns,
    wall_clock,
)
from ssq_verify.subject import Subject, load
from ssq_verify.verdict import Violation

SECONDS_MAX = 60
"""How long a script may take: what it waits for is virtual."""
RAW_CALLS = frozenset({"os.open", "os.read", "os.write", "os.fstat", "os.ftruncate"})
"""What `open` calls below its buffers."""
LINE_LENGTH = 100


def script(outcome: Replayed) -> str:
    """Return the text of a program that repeats a run that fails. Raises `NotScriptable`."""
    assert outcome.violation is not None, "give a repro that still fails"
    subject, scenario = load(outcome.repro.subject), outcome.repro.scenario
    if subject.server is not None:
        raise NotScriptable("its queue lives in a server, whose clock takes a harness to set")
    if subject.promises.processes == "one":
        scenario = in_one_process(scenario)
    raced = None if outcome.run is None else programs.race(scenario, outcome.history, outcome.run)
    drains = _drains(outcome.history, outcome.violation)
    pieces = _pieces(subject, raced)
    if outcome.history.terms.batches and any(step.many for step in scenario.steps):
        pieces.append(many)
    parts = [
        *_heading(outcome),
        _imports(pieces),
        _queue(subject.reference),
        *(_in_turns(scenario, outcome, drains=drains) if raced is None else _raced(raced)),
        *([_drain(outcome, scenario)] if drains and raced is not None else []),
        _expected(outcome, drains=drains),
        *(_text(piece) for piece in pieces),
        _main(outcome, subject, raced, drains=drains),
    ]
    return "\n\n\n".join(part.strip("\n") for part in parts) + "\n"


def proved(path: Path, outcome: Replayed) -> None:
    """Run a script. Raises `NotScriptable` if it does not show what its repro does."""
    assert outcome.violation is not None
    try:
        ran = subprocess.run(  # noqa: S603 - a program that this process wrote
            [sys.executable, str(path)], capture_output=True, text=True, timeout=SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotScriptable(f"the script did not end within {SECONDS_MAX} s") from None
    if ran.stdout.splitlines()[-1:] != [_sentence(outcome.violation)]:
        last = (ran.stderr.strip() or ran.stdout.strip() or "it printed nothing").splitlines()[-1]
        raise NotScriptable(f"the script did not show the same ({printable(last)})")


def _heading(outcome: Replayed) -> Iterator[str]:
    repro, violation = outcome.repro, outcome.violation
    assert violation is not None
    told = story(outcome.history, violation, width=LINE_LENGTH - 2, raced=outcome.raced)
    lines = [
        f"{repro.subject} breaks its promise `{violation.invariant}`:",
        *(line.plain for line in told[1:]),
        "",
        "Run this file with Python: it does the same to the queue, and prints each answer. It ends with",
        "exit code 1 if the promise is broken in the same way, with 0 if not.",
        "It needs nothing but the queue, and what opens it.",
        f"Written by ssq {version('ssq')} on Python {sys.version.split()[0]}.",
    ]
    yield "\n".join(f"# {line}".rstrip() for line in lines)


def _queue(reference: str) -> str:
    """Return the function that opens the queue; it is imported only when all is in place."""
    module, separator, function = reference.rpartition(":")
    before: Path | None = None
    if not separator:
        name, version = versions.parted(reference)
        module, function = f"ssq_verify.subjects.{name.replace('-', '_')}", "open_queue"
        before = None if version is None else versions.folder(versions.package_of(name), version)
    elif module.endswith(".py"):
        before, module = Path(module).parent.resolve(), Path(module).stem
    path = "" if before is None else f"    sys.path.insert(0, {str(before)!r})\n"
    loaded = f"{path}    from {module} import {function}\n\n    return {function}(workdir, policy)"
    return f'def open_queue(workdir, policy):\n    """Open the queue for one worker."""\n{loaded}'


def _in_turns(scenario: Scenario, outcome: Replayed, *, drains: bool) -> Iterator[str]:
    lines = programs.in_turns(scenario, outcome.history)
    if drains:
        seconds, polls = _patience(scenario), DRAIN_POLLS_MAX_IN_TURNS
        lines += [
            "",
            "# Whoever comes later finds this:",
            "run.clocks.clear()",
            f"run.now_ns = {_drain_ns(outcome.history)}",
            f"queue = opened({quoted(DRAIN_WORKER)})",
            f"drained({quoted(DRAIN_WORKER)}, queue, {seconds!r}, {polls})",
        ]
    yield _function("steps", "Do what the workers did, one after the other.", lines)


def _raced(race: Race) -> Iterator[str]:
    for life in race.lives:
        yield _function(identifier(life.key), "Do this worker's steps.", life.lines)


def _drain(outcome: Replayed, scenario: Scenario) -> str:
    lines = [
        f"queue = opened({quoted(DRAIN_WORKER)})",
        f"drained({quoted(DRAIN_WORKER)}, queue, {_patience(scenario)!r}, {DRAIN_POLLS_MAX})",
    ]
    assert outcome.run is not None
    return _function(DRAIN_WORKER, "Come when all is over, and handle what there is.", lines)


def _function(name: str, docstring: str, lines: Sequence[str]) -> str:
    return "\n".join(
        [f"def {name}():", f'    """{docstring}"""', *(f"    {line}".rstrip() for line in lines)]
    )


def _expected(outcome: Replayed, *, drains: bool) -> str:
    end_ns = programs.heal_ns(outcome.history)
    told = programs.answers(
        (each for each in outcome.history.operations if drains or each.inv_ns < end_ns),
        shows_payloads=_shows_payloads(outcome),
    )
    assert outcome.violation is not None
    broken = f"BROKEN = {quoted(_sentence(outcome.violation))}"
    return "\n".join([broken, "EXPECTED = [", *(f"    {quoted(line)}," for line in told), "]"])


def _main(outcome: Replayed, subject: Subject, race: Race | None, *, drains: bool) -> str:
    assert outcome.violation is not None
    settings = outcome.repro.scenario.settings
    epoch = EPOCH_IN_TURNS if race is None else EPOCH
    lines = [
        "run.tell, run.open_queue = print, open_queue",
        f"run.shows_payloads = {_shows_payloads(outcome)}",
        f"run.epoch = datetime.fromisoformat({quoted(epoch.isoformat())})",
        f"run.policy = {quoted(_policy(settings))}",
        f"run.retry = {quoted(_retry(settings))}",
        *(["time.sleep = sleep"]),
        *(["show_the_runs_time()"] if _reads_system(subject, race) else []),
        *(["steps()"] if race is None else _moves(race, outcome, drains=drains)),
        "shutil.rmtree(WORKDIR, ignore_errors=True)",
        "if run.answers == EXPECTED:",
        "    print(BROKEN, flush=True)",
        "    os._exit(1)  # workers that were killed never end by themselves",
        "pairs = itertools.zip_longest(run.answers, EXPECTED)",
        "got, expected = next(pair for pair in pairs if pair[0] != pair[1])",
        'print(f"not so this time: {got} instead of {expected}", flush=True)',
        "os._exit(0)",
    ]
    return _function("main", "Repeat the run, and say whether the promise was broken again.", lines) + (
        '\n\n\nif __name__ == "__main__":\n    main()'
    )


def _moves(race: Race, outcome: Replayed, *, drains: bool) -> Iterator[str]:
    yield "run.point, os.urandom, random._urandom = point, urandom, urandom"
    if race.errors:
        yield f"run.errors = {race.errors!r}"
    if race.reversed:
        yield f"run.reversed = {sorted(race.reversed)!r}"
    stops = _stops(race)
    yield from ["list_in_order()"] if _lists(race) else []
    yield from ["open_files_in_python()"] if stops & RAW_CALLS else []
    yield from [f"stop_at({quoted(sorted(stops))})"] if stops else []
    yield from ["stop_at_locks()"] if "fcntl.flock" in race.calls else []
    yield from ["stop_at_statements()"] if "sqlite" in race.calls else []
    programs_ = [f"{quoted(life.key)}: {identifier(life.key)}" for life in race.lives]
    yield f"run.seeds = {quoted(_seeds(race))}"
    told = list(race.turns)
    if drains:
        programs_.append(f"{quoted(DRAIN_WORKER)}: {DRAIN_WORKER}")
        told.append(Turn(DRAIN_WORKER, _drain_ns(outcome.history) / 1e9))
    yield "take_turns("
    yield "    # who goes on, at which second, until it is about to do what for the n-th time, and its fate"
    yield "    ["
    for turn in told:
        yield f"        ({quoted(turn)[1:-1]}),"
    yield "    ],"
    yield f"    {{{', '.join(programs_)}}},"
    yield ")"


def _seeds(race: Race) -> dict[str, str]:
    """Return what the simulator made each process's random numbers of: those started anew were made later."""
    keys = sorted((life.key for life in race.lives), key=lambda key: programs.AGAIN in key)
    numbered = enumerate([*keys, DRAIN_WORKER])
    return {key: f"0/{key.partition(programs.AGAIN)[0]}/{number}" for number, key in numbered}


def _pieces(subject: Subject, race: Race | None) -> list[ModuleType]:
    pieces: list[ModuleType] = [answers]
    if race is not None:
        stops = _stops(race)
        pieces.append(turns)
        pieces += [calls] if stops else []
        pieces += [opening] if stops & RAW_CALLS else []
        pieces += [listings] if _lists(race) else []
        pieces += [locks] if "fcntl.flock" in race.calls else []
        pieces += [statements] if "sqlite" in race.calls else []
    return pieces + ([wall_clock] if _reads_system(subject, race) else [])


def _reads_system(subject: Subject, race: Race | None) -> bool:
    """Whether the system's clock is the run's; workers that raced had no other."""
    return race is not None or subject.asks_system


def _stops(race: Race) -> frozenset[str]:
    """Return the system calls at which somebody is stopped."""
    named = {turn.call for turn in race.turns}
    named |= {call for _, call, _ in (*race.errors, *race.reversed)}
    return frozenset(call for call in named if call.startswith("os."))


def _lists(race: Race) -> bool:
    return bool(race.calls & {"os.listdir", "os.scandir"})


def _imports(pieces: Sequence[ModuleType]) -> str:
    """Return the imports of all pieces, each once, without those from one another."""
    needed = {"import itertools", "import os", "import random", "import shutil", "import sys", "import time"}
    for piece in pieces:
        needed.update(_split(piece)[0])
    plain = sorted(line for line in needed if line.startswith("import "))
    names: dict[str, set[str]] = {}
    for line in sorted(needed - set(plain)):
        module, _, named = line.removeprefix("from ").partition(" import ")
        names.setdefault(module, set()).update(named.split(", "))
    return "\n".join(
        [*plain, *(f"from {module} import {', '.join(sorted(named))}" for module, named in names.items())]
    )


def _text(piece: ModuleType) -> str:
    """Return the text of a piece: its docstring as a comment, no imports, no notes to linters."""
    question = inspect.cleandoc(piece.__doc__ or "").splitlines()[0]
    return f"# --- {question}\n\n{_split(piece)[1].strip()}"


def _split(piece: ModuleType) -> tuple[list[str], str]:
    lines = [re.sub(r"  # (noqa|type:).*", "", line) for line in inspect.getsource(piece).splitlines()]
    imports = [line for line in lines if re.match(r"(import|from) ", line)]
    start = max(number for number, line in enumerate(lines) if line in imports) + 1
    return [line for line in imports if "ssq_verify" not in line], "\n".join(lines[start:])


def _drains(history: History, violation: Violation) -> bool:
    """Whether it takes the drain to see that the promise is broken."""
    heal = min((event.index for event in history.events if event.f == "heal"), default=0)
    return violation.invariant in AT_THE_END or any(event.index > heal for event in violation.witness)


def _drain_ns(history: History) -> int:
    """Return when the drain began to open the queue."""
    return (
        next(event.time_ns for event in history.events if event.worker == DRAIN_WORKER and event.f == "open")
        - 1_000
    )


def _patience(scenario: Scenario) -> float:
    """Return how long the drain waits between two polls."""
    settings = scenario.settings
    offsets = [abs(step.seconds) for step in scenario.steps if step.do is StepKind.CLOCK]
    longest = max(settings.lease_ttl_seconds, settings.backoff_max_seconds)
    return longest + 2 * settings.max_clock_skew_seconds + max(offsets, default=0.0) + 1.0


def _policy(settings: Settings) -> dict[str, Any]:
    return {
        "lease_ttl_seconds": settings.lease_ttl_seconds,
        "max_clock_skew_seconds": settings.max_clock_skew_seconds,
    }


def _retry(settings: Settings) -> dict[str, Any]:
    return {
        "max_attempts": settings.max_attempts,
        "backoff_base_seconds": settings.backoff_base_seconds,
        "backoff_max_seconds": settings.backoff_max_seconds,
    }


def _shows_payloads(outcome: Replayed) -> bool:
    return outcome.repro.invariant == "integrity" and outcome.history.terms.payload


def _sentence(violation: Violation) -> str:
    return f"{violation.invariant}: {printable(rounded(violation.sentence))}"
