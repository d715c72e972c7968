"""What did one round show? The files of its processes become a history, judged while the next round runs.

The judge is a process of its own, so that the verdict on a long run comes soon after its end: only the last
round is left to judge then. The history grows by a round at a time, each a run of its own number.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path

import msgspec
from rich.text import Text

from ssq_stress import coverage, latency
from ssq_stress.faults import SERVER, Fault, Phase
from ssq_stress.processes import effects
from ssq_stress.processes.assignment import Folders
from ssq_stress.processes.effects import Clash, Findings
from ssq_stress.processes.log import events
from ssq_verify import judge
from ssq_verify.children import settle
from ssq_verify.history import OPERATIONS, Event, EventType, Header, History, Operation
from ssq_verify.report.story import story
from ssq_verify.verdict import Evidence, Violation

SUPERVISOR = "~supervisor"
"""Its file sorts behind the workers': at one instant, a death comes after all that the dead one did."""
HISTORY = "history.jsonl"
NICE = 5
CLASHES_MAX = 20
HISTORY_BYTES_MAX = 1_000_000_000
"""A long run would fill the disk with what nobody can read; from there on only what broke is kept."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What one round showed."""

    number: int
    evidence: tuple[Evidence, ...]
    matrix: dict[str, int]
    executions: int
    outlived: int
    clashes: tuple[Clash, ...]
    clash_count: int
    claims: str
    """How long they took, encoded."""
    tally: dict[str, int]
    """Operations, claims, and so on, by name."""
    struck: dict[str, tuple[str, ...]]
    """By what was violated, the events that struck whoever was about it: `crash`, `pause`, …"""

    @property
    def kills(self) -> int:
        """How many workers were killed while faults struck."""
        return sum(self.matrix.get(coverage.cell(Fault.KILL, phase), 0) for phase in Phase)


def prepare() -> None:
    """Be the judge's process: out of the workers' way, deaf to the terminal, ended with its parent."""
    settle()
    os.nice(NICE)


def judge_round(
    folders: Folders, header: Header, number: int, out: Path, width: int
) -> tuple[Judged, list[Text]]:
    """Judge one round, add it to the history in `out`, and let go of its files.

    The story of the shortest violation comes with it, if there is one. Files of a round whose side effects
    clash are kept.
    """
    history = merged(folders.events, header)
    jobs = list(effects.read(folders.effects))
    findings = effects.compared(history, jobs)
    found = judge.evidence(history)
    told = told_shortest(history, found, width)
    is_broken = bool(findings.clashes) or any(each.violation is not None for each in found)
    base = append(history, out / HISTORY, number, is_needed=is_broken)
    judged = Judged(
        number=number,
        evidence=tuple(_placed(each, number, base) for each in found),
        matrix=dict(coverage.matrix(history, (effect for job in jobs for effect in job))),
        executions=findings.executions,
        outlived=findings.outlived,
        clashes=_kept(findings, number, base),
        clash_count=len(findings.clashes),
        claims=latency.claims(history),
        tally=dict(tally(history)),
        struck=dict(_struck(history, found)),
    )
    _let_go(folders, keep_effects=bool(findings.clashes))
    return judged, told


def merged(folder: Path, header: Header) -> History:
    """Return one history of all that the processes of a round wrote down, in the order of the one clock."""
    everything: list[Event] = []
    for path in sorted(folder.glob("*.jsonl")):
        everything += events(path)
    everything.sort(key=attrgetter("time_ns"))
    for index, event in enumerate(everything):
        # Nobody else has these events yet; to copy millions of them would take longer than to judge them.
        msgspec.structs.force_setattr(event, "index", index)
    return History(header=header, events=tuple(everything))


def append(history: History, path: Path, number: int, *, is_needed: bool = True) -> int:
    """Add a round to the history file as the run of that number; return where its first event stands.

    To a long file only a round is added that shows something broken.
    """
    if not is_needed and path.exists() and path.stat().st_size > HISTORY_BYTES_MAX:
        return 0
    base = _length(path)
    encode = msgspec.json.Encoder().encode
    with path.open("ab") as lines:
        if base == 0:
            lines.write(encode(history.header) + b"\n")
        for event in history.events:
            lines.write(encode(_moved(event, number, base)) + b"\n")
    return base


def without_cut_line(path: Path) -> None:
    """Drop what the judge had not written to its end."""
    if path.exists():
        whole = path.stat().st_size - len(_after_last_line(path))
        os.truncate(path, whole)


def tally(history: History) -> Counter[str]:
    """Return how much was done, by name."""
    counts = Counter[str]()
    for operation in history.operations:
        counts["operations"] += 1
        counts[f"{operation.f} {operation.outcome.value}"] += 1
        if operation.f == "claim" and operation.job_id is not None:
            counts["claims"] += 1
            counts["attempts after the first"] += (operation.attempt or 1) > 1
    counts.update(event.f for event in history.events if event.f in WORTH_COUNTING)
    return counts


STRIKES = frozenset({"crash", "io-error", "pause", Fault.CONNECTION_CUT})
WORTH_COUNTING = STRIKES | SERVER | {"clock", "dead", "drained", "drain-cut"}


def told_shortest(history: History, found: Iterable[Evidence], width: int) -> list[Text]:
    """Return the story of the violation with the shortest witness, if there is one."""
    violations = [each.violation for each in found if each.violation is not None]
    if not violations:
        return []
    shortest = min(violations, key=lambda violation: len(violation.witness))
    return story(*excerpt(history, shortest), width=width)


def _struck(history: History, found: Iterable[Evidence]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield, by the invariant, which faults struck whoever was about its violation."""
    for each in found:
        if each.violation is not None:
            shown, _ = excerpt(history, each.violation)
            yield each.invariant, tuple(sorted({event.f for event in shown.events} & (STRIKES | SERVER)))


def excerpt(history: History, violation: Violation) -> tuple[History, Violation]:
    """Return the little of a history that a violation is about, and the violation in it.

    That is what was done to its job, what its witness shows, what struck whoever was about it, and by which
    clock that one went.
    """
    witness = {event.index for event in violation.witness}
    about = [
        each
        for each in history.operations
        if {each.inv_index, each.ret_index} & witness
        or (violation.job_id is not None and each.job_id == violation.job_id)
    ]
    kept = witness | {each.inv_index for each in about}
    kept |= {each.ret_index for each in about if each.ret_index is not None}
    kept |= _strikes_on(history, about) | _clocks_of(history, about)
    places = {index: place for place, index in enumerate(sorted(kept))}
    lanes = _lanes_left(history, kept)

    def moved(index: int) -> Event:
        return msgspec.structs.replace(history.events[index], index=places[index], lane=lanes.get(index, 0))

    shown = History(header=history.header, events=tuple(moved(index) for index in sorted(kept)))
    there = tuple(moved(event.index) for event in violation.witness)
    return shown, msgspec.structs.replace(violation, witness=there)


def _lanes_left(history: History, kept: set[int]) -> dict[int, int]:
    """Return the lane of each event of a call with many jobs of which only some are kept."""
    lanes, left = dict[int, int](), Counter[str]()
    for operation in history.operations:
        if operation.lane == 0:
            left[operation.worker] = 0
        if operation.inv_index in kept:
            lanes[operation.inv_index] = left[operation.worker]
            if operation.ret_index is not None:
                lanes[operation.ret_index] = left[operation.worker]
            left[operation.worker] += 1
    return lanes


def _strikes_on(history: History, about: Iterable[Operation]) -> set[int]:
    """Return the places of the faults that struck a worker inside one of these operations, or soon after.

    What struck its server is told of an operation that came back without an answer.
    """
    struck: set[int] = set()
    for operation in about:
        is_unknown = operation.outcome is EventType.INFO
        if is_unknown or operation.f == "claim":
            later = history.events[operation.inv_index + 1 :]
            its = (event for event in later if event.worker == operation.worker)
            after = next((event for event in its if not _is_of_a_call_begun(event)), None)
            if after is not None and after.f in STRIKES:
                struck.add(after.index)
        if is_unknown and operation.ret_index is not None:
            within = history.events[operation.inv_index : operation.ret_index]
            struck.update(event.index for event in within if event.f in SERVER)
    return struck


def _is_of_a_call_begun(event: Event) -> bool:
    """Whether an event belongs to the call that a worker is in, or comes back from."""
    return event.f in OPERATIONS and (event.type is not EventType.INVOKE or event.lane > 0)


def _clocks_of(history: History, about: Iterable[Operation]) -> set[int]:
    """Return the places at which the clocks were set by which these operations were called."""
    called = {operation.inv_index for operation in about}
    last, found = dict[str, int](), set[int]()
    for event in history.events:
        if event.f == "clock":
            last[event.worker] = event.index
        elif event.index in called and event.worker in last:
            found.add(last[event.worker])
    return found


def _placed(found: Evidence, number: int, base: int) -> Evidence:
    """Return evidence whose events are those of the whole history."""
    if found.violation is None:
        return found
    witness = tuple(_moved(event, number, base) for event in found.violation.witness)
    moved: Violation = msgspec.structs.replace(found.violation, run=number, witness=witness)
    return msgspec.structs.replace(found, violation=moved)


def _kept(findings: Findings, number: int, base: int) -> tuple[Clash, ...]:
    return tuple(
        msgspec.structs.replace(clash, witness=tuple(_moved(event, number, base) for event in clash.witness))
        for clash in findings.clashes[:CLASHES_MAX]
    )


def _moved(event: Event, number: int, base: int) -> Event:
    return msgspec.structs.replace(event, run=number, index=event.index + base)


def _length(path: Path) -> int:
    """Return how many events a history file has."""
    if not path.exists():
        return 0
    last = _last_line(path)
    return msgspec.json.decode(last, type=Event).index + 1


def _last_line(path: Path) -> bytes:
    return _end(path).rstrip(b"\n").rpartition(b"\n")[2]


def _after_last_line(path: Path) -> bytes:
    return _end(path).rpartition(b"\n")[2]


def _end(path: Path) -> bytes:
    """Return enough of the end of a file for a line."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - (1 << 20)))
        return file.read()


def _let_go(folders: Folders, *, keep_effects: bool) -> None:
    for path in _of(folders):
        if path != folders.effects or not keep_effects:
            shutil.rmtree(path, ignore_errors=True)
    folders.board.unlink(missing_ok=True)
    if not keep_effects:
        shutil.rmtree(folders.round, ignore_errors=True)


def _of(folders: Folders) -> Iterator[Path]:
    yield folders.queue
    yield folders.events
    yield folders.effects
