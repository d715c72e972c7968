"""What did each worker of a run call, and in which turns? The run in words that a script can say."""

import base64
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ssq_verify.history import NEVER_NS, EventType, History, Operation
from ssq_verify.report.racing import place
from ssq_verify.scenario import MANY, SETUP_WORKER, Scenario, Step, StepKind, jobs_of, one_by_one, parts
from ssq_verify.simulation.clock import EVENT_NS
from ssq_verify.simulation.run import Simulated
from ssq_verify.simulation.world import ERRORS, KILL, PAUSE, POWER_LOSS, Passed

POSIX_LOCKS = frozenset({"fcntl.lockf", "fcntl.fcntl", "os.lockf"})
BEGIN = "begin"
"""The point at which a worker has opened the queue and the race begins."""


AGAIN = " again"
"""After the name of a worker that died and was started anew."""


class NotScriptable(Exception):  # noqa: N818 - it names what can not be done
    """A run that no script with threads can repeat; the message says why."""


class Turn(NamedTuple):
    """A worker goes on until it is about to do a call for the n-th time."""

    key: str
    seconds: float
    call: str = ""
    """"" for as far as it gets."""
    number: int = 0
    fate: str = ""
    """What befalls it there."""
    where: str = ""
    """The same place, for people."""


@dataclass(kw_only=True, slots=True)
class Life:
    """One process, from its start to its end or its death."""

    key: str
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Race:
    """How workers moved."""

    lives: tuple[Life, ...]
    turns: tuple[Turn, ...]
    errors: dict[tuple[str, str, int], str]
    """Calls that fail: whose, which, for which time, and with what."""
    reversed: frozenset[tuple[str, str, int]]
    """Listings that came in reverse order."""
    calls: frozenset[str]
    """All that were made at points."""


class _Numbered(NamedTuple):
    key: str
    passed: Passed
    number: int
    """For which time this process made this call."""


def in_turns(scenario: Scenario, history: History) -> list[str]:
    """Return the lines of a run whose workers take turns. Raises `NotScriptable`."""
    operations = iter(_calls(history))
    following = next(operations, None)
    lines: list[str] = []
    opened: set[str] = set()
    used = _used(scenario)
    for step in _called(scenario, history):
        queue = identifier(step.worker)
        if step.do is StepKind.CRASH:
            lines += [f"died({quoted(step.worker)})"] * (step.worker in opened)
            opened.discard(step.worker)
        elif (line := _apart(step)) is not None:
            lines.append(line)
        elif step.do is StepKind.OPEN or _is_of(step, following):
            if step.do is StepKind.OPEN or step.worker not in opened:
                lines.append(f"{queue} = opened({quoted(step.worker)})")
                opened.add(step.worker)
            if step.do is not StepKind.OPEN:
                lines.append(_line(step, queue, used, takes_payload=history.terms.payload))
                following = next(operations, None)
    return lines


def race(scenario: Scenario, history: History, run: Simulated) -> Race:
    """Return a simulated run as programs and turns. Raises `NotScriptable`."""
    made = frozenset(passed.point.call for passed in run.trace)
    if any(struck.fault == POWER_LOSS for struck in run.faults):
        raise NotScriptable("it takes a loss of power, which no program can bring about")
    if made & POSIX_LOCKS:
        raise NotScriptable("POSIX record locks belong to a process, and a script's workers share one")
    names = sorted({step.worker for step in scenario.steps}, key=lambda name: (name != SETUP_WORKER, name))
    numbered = list(_numbered(run.trace, history))
    return Race(
        lives=tuple(life for name in names for life in _lives(scenario, history, name)),
        turns=(*_openings(scenario, history, names), *_turns(numbered, run)),
        errors={
            (each.key, each.passed.point.call, each.number): struck.fault
            for struck in run.faults
            for each in numbered
            if struck.fault in ERRORS and each.passed.cell == struck.cell
        },
        reversed=frozenset(
            (each.key, each.passed.point.call, each.number)
            for deviation in run.deviations
            for each in numbered
            if deviation.kind == "order" and each.passed.cell == deviation.cell
        ),
        calls=made,
    )


def answers(operations: Iterable[Operation], *, shows_payloads: bool = False) -> list[str]:
    """Return what the operations answered, in the words of `standalone.answers`, in their order."""
    came_back = [each for each in operations if each.ret_index is not None]
    ordered = sorted(came_back, key=lambda each: each.ret_index or 0)
    return [_answer(each, shows_payloads=shows_payloads) for each in ordered]


def quoted(value: object) -> str:
    """Return a text, a number, or what is made of them, as Python writes it, with double quotes."""
    return json.dumps(value, ensure_ascii=False)


def identifier(name: str) -> str:
    """Return a worker's name as a name in Python."""
    plain = "".join(character if character.isalnum() else "_" for character in name)
    return plain if plain.isidentifier() else f"worker_{plain}"


def heal_ns(history: History) -> int:
    """Return when the faults of the run were over."""
    return min((event.time_ns for event in history.events if event.f == "heal"), default=NEVER_NS)


def _calls(history: History) -> list[Operation]:
    """Return the calls before the drain, of one with many jobs the first."""
    end_ns = heal_ns(history)
    return [each for each in history.operations if each.inv_ns < end_ns and each.lane == 0]


def _called(scenario: Scenario, history: History) -> list[Step]:
    """Return the steps as they were done: where the queue takes one job a call, one by one."""
    if history.terms.batches:
        return list(scenario.steps)
    return [each for step in scenario.steps for each in one_by_one(step)]


def _lives(scenario: Scenario, history: History, name: str) -> Iterator[Life]:
    operations = iter([each for each in _calls(history) if each.worker == name])
    following = next(operations, None)
    steps = [step for step in _called(scenario, history) if step.worker == name]
    life = Life(key=name, lines=_beginning(name, opens_late=steps[0].do is StepKind.OPEN))
    for step in steps:
        if step.do is StepKind.CRASH:
            life.lines.append(f"died({quoted(name)})")
            yield life
            life = Life(key=life.key + AGAIN, lines=[f"queue = opened({quoted(name)})"])
        elif step.do is StepKind.OPEN:
            life.lines.append(f"queue = opened({quoted(name)})")
        elif (line := _apart(step)) is not None:
            life.lines.append(line)
        elif following is not None and _is_of(step, following):
            takes_payload = history.terms.payload
            life.lines.append(_line(step, "queue", _used(scenario), takes_payload=takes_payload))
            if following.ret_index is None:
                break
            following = next(operations, None)
        else:
            life.lines.append(f'run.point("call")  # its {step.do.value} does not apply')
    yield life


def _beginning(name: str, *, opens_late: bool) -> list[str]:
    if name == SETUP_WORKER:
        return [f"queue = opened({quoted(name)})"]
    return (
        [f"run.point({quoted(BEGIN)})"]
        if opens_late
        else [f"queue = opened({quoted(name)})", f"run.point({quoted(BEGIN)})"]
    )


def _apart(step: Step) -> str | None:
    """Return the line of a step that is no operation."""
    if step.do is StepKind.FORK:
        raise NotScriptable(
            "a fork's child has a copy of its parent's memory, and a script's workers share one"
        )
    if step.do is StepKind.ADVANCE:
        return f"sleep({step.seconds!r})"
    if step.do is not StepKind.CLOCK:
        return None
    if step.zone:
        raise NotScriptable("workers in different time zones take processes of their own")
    if step.strobe:
        raise NotScriptable("a clock that jumps at each look takes the simulator's own")
    rate = f", rate={step.rate!r}" if step.rate != 1.0 else ""
    return f"set_clock({quoted(step.worker)}, {step.seconds!r}{rate})"


def _is_of(step: Step, operation: Operation | None) -> bool:
    """Whether an operation is what came of a step; a step that did not apply came to nothing."""
    if operation is None or operation.f != step.do.value or operation.worker != step.worker:
        return False
    if step.do not in {StepKind.ENQUEUE, StepKind.REQUEUE}:
        return True
    return operation.job_id in parts(step.job, step.many)


def _used(scenario: Scenario) -> set[str | None]:
    """Return the claims that anything is done to."""
    uses = (step for step in scenario.steps if step.do is not StepKind.CLAIM)
    return {name for step in uses for name in parts(step.claim, step.many)}


def _line(step: Step, queue: str, used: set[str | None], *, takes_payload: bool) -> str:
    name, claim = quoted(step.worker), f"claims[{quoted(step.claim)}]"
    if step.many and step.do in MANY:
        return _line_of_many(step, queue)
    match step.do:
        case StepKind.ENQUEUE:
            payload = f", payload={step.payload.encode()!r}" if step.payload and takes_payload else ""
            return f"done({name}, {queue}.enqueue, {quoted(step.job)}{payload})"
        case StepKind.REQUEUE:
            return f"done({name}, {queue}.requeue_dead, {quoted(step.job)})"
        case StepKind.CLAIM:
            kept = f"{claim} = " if step.claim in used else ""
            return f"{kept}done({name}, {queue}.claim, worker_id={name})"
        case StepKind.EXTEND:
            return f"{claim} = extended({name}, {queue}, {claim})"
        case _:
            return f"done({name}, {queue}.{step.do.value}, claim={claim})"


def _line_of_many(step: Step, queue: str) -> str:
    name, claims = quoted(step.worker), quoted(list(parts(step.claim, step.many)))
    if step.do is StepKind.ENQUEUE:
        return f"enqueued_many({name}, {queue}, {jobs_of(step)!r})"
    if step.do is StepKind.CLAIM:
        return f"claimed_many({name}, {queue}, {claims})"
    return f"acked_many({name}, {queue}, {claims})"


def _numbered(trace: Iterable[Passed], history: History) -> Iterator[_Numbered]:
    counts: Counter[tuple[str, str]] = Counter()
    crashes = [event for event in history.events if event.f == "crash" and event.value is None]
    for passed in trace:
        earlier = sum(crash.worker == passed.worker and crash.index < passed.event for crash in crashes)
        key = passed.worker + AGAIN * earlier
        counts[key, passed.point.call] += 1
        yield _Numbered(key, passed, counts[key, passed.point.call])


def _openings(scenario: Scenario, history: History, names: list[str]) -> Iterator[Turn]:
    """Yield how the queue is prepared and opened: one worker after the other."""
    for name in names:
        first = min((each.time_ns for each in history.events if each.worker == name), default=EVENT_NS)
        seconds = (first - EVENT_NS) / 1e9
        opens_late = next(step.do for step in scenario.steps if step.worker == name) is StepKind.OPEN
        if name == SETUP_WORKER:
            yield Turn(name, seconds)
        else:
            yield Turn(name, 0.0 if opens_late else seconds, BEGIN, 1)


def _turns(numbered: list[_Numbered], run: Simulated) -> Iterator[Turn]:
    slices = _slices([each for each in numbered if each.passed.cell], run)
    for place_, turn in enumerate(slices):
        key, seconds = turn[0].key, turn[0].passed.time_ns / 1e9
        following = next((later[0] for later in slices[place_ + 1 :] if later[0].key == key), None)
        if following is not None:
            point = following.passed.point
            fate = _paused(following, run)
            yield Turn(key, seconds, point.call, following.number, fate, place(_told(following.passed)))
        else:
            yield _last(key, seconds, numbered, run)


def _slices(racing: list[_Numbered], run: Simulated) -> list[list[_Numbered]]:
    slices: list[list[_Numbered]] = []
    for each in racing:
        if slices and slices[-1][0].key == each.key and not _paused(each, run):
            slices[-1].append(each)
        else:
            slices.append([each])
    return slices


def _paused(each: _Numbered, run: Simulated) -> str:
    """Return how long a worker stood still before it passed a point."""
    for struck in run.faults:
        later = (
            passed for passed in run.trace if passed.worker == struck.worker and passed.cell > struck.cell
        )
        if struck.fault.startswith(PAUSE) and next(later, None) is each.passed:
            return f"stands still for {struck.fault.removeprefix(PAUSE)}"
    return ""


def _last(key: str, seconds: float, numbered: list[_Numbered], run: Simulated) -> Turn:
    """Return a worker's last turn: it gets as far as it can, or to where it is killed."""
    for struck in run.faults:
        if (
            struck.fault == KILL
            and struck.worker == key.partition(AGAIN)[0]
            and key == _latest(struck.worker, numbered)
        ):
            call = struck.point.call
            number = 1 + sum(each.key == key and each.passed.point.call == call for each in numbered)
            return Turn(key, seconds, call, number, "is killed", place(f"{call} {struck.point.detail}"))
    return Turn(key, seconds)


def _latest(worker: str, numbered: list[_Numbered]) -> str:
    return next(each.key for each in reversed(numbered) if each.passed.worker == worker)


def _told(passed: Passed) -> str:
    return f"{passed.point.call} {passed.point.detail}"


def _answer(operation: Operation, *, shows_payloads: bool) -> str:
    about = operation.job_id if operation.f in {"enqueue", "requeue"} else operation.claim_id
    asked = operation.f if operation.f == "claim" else f"{operation.f} {about}"
    return f"{operation.worker} {asked} → {_result(operation, shows_payloads=shows_payloads)}"


def _result(operation: Operation, *, shows_payloads: bool) -> str:
    if operation.outcome is not EventType.OK:
        return (operation.error or "").partition(":")[0]
    if operation.f != "claim":
        return "ok"
    if operation.job_id is None:
        return "nothing"
    attempt = f" #{operation.attempt}" if operation.attempt is not None else ""
    payload = f", {base64.b64decode(operation.value or '')!r}" if shows_payloads else ""
    return f"{operation.job_id}{attempt} as {operation.claim_id}{payload}"
