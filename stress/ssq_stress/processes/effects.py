"""What did the workers do in the world? Who holds a job writes in its shard's file that it begins, and ends.

So a job that was done twice at once is seen apart from the history. What is compared with it: whether each
execution belongs to a claim that was given out, and whether two executions of one job overlapped while the
leases of both ran; one that outlives its lease may overlap with the next, which the contract allows. A file
holds the lines of many jobs, for a million files are more than most machines bear; a job's are in one file.
"""

import os
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from ssq_stress.processes.log import APPEND, MONOTONIC_NS, WRITE
from ssq_verify.history import NEVER_NS, Event, EventType, History, Operation, Terms
from ssq_verify.pieces import Faults

PROMISE = "side-effects"
SHARDS = 16
"""So many files that two workers seldom wait for each other to write."""


class Effect(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A line that the holder of a job wrote."""

    job_id: str
    claim_id: str
    worker: str
    f: Literal["begin", "end"]
    time_ns: int


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One holder's work on one job."""

    job_id: str
    claim_id: str
    worker: str
    begin_ns: int
    end_ns: int
    """`NEVER_NS` if it never wrote that it ended."""


class Clash(msgspec.Struct, frozen=True, kw_only=True):
    """What the side effects show that no queue that keeps its promises lets happen."""

    job_id: str
    sentence: str
    executions: tuple[Execution, ...]
    witness: tuple[Event, ...]
    """The claims that they belong to, as the history has them."""


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """All that the side effects of one round say."""

    executions: int
    outlived: int
    """How many went on after another had begun, their own leases over: allowed, and told."""
    clashes: tuple[Clash, ...]


class Effects:
    """Writes the side effects of one process."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.fspath(folder)
        self._encode = msgspec.json.Encoder().encode
        self._files: dict[int, int] = {}

    def write(self, f: Literal["begin", "end"], *, job_id: str, claim_id: str, worker: str) -> None:
        """Append a line to the file of the job's shard."""
        effect = Effect(job_id=job_id, claim_id=claim_id, worker=worker, f=f, time_ns=MONOTONIC_NS())
        # Others write to this file, too: what a kill leaves of a line must not run into theirs.
        WRITE(self._file(shard(job_id)), b"\n" + self._encode(effect) + b"\n")

    def _file(self, number: int) -> int:
        if number not in self._files:
            self._files[number] = os.open(f"{self._folder}/{number:02d}.jsonl", APPEND, 0o644)
        return self._files[number]


def shard(job_id: str) -> int:
    """Return the number of a job's file: a job id may hold anything."""
    return zlib.crc32(job_id.encode(errors="surrogatepass")) % SHARDS


def read(folder: Path) -> Iterator[list[Effect]]:
    """Yield each job's side effects, in the order in which they were written."""
    decode = msgspec.json.Decoder(Effect).decode
    for path in sorted(folder.iterdir()):
        jobs: dict[str, list[Effect]] = defaultdict(list)
        for line in path.read_bytes().split(b"\n"):
            if line.endswith(b"}"):
                effect = decode(line)
                jobs[effect.job_id].append(effect)
        yield from jobs.values()


def executions(effects: Iterable[Effect]) -> list[Execution]:
    """Join the lines of one job, in the order in which its executions began."""
    begun: dict[tuple[str, str], Execution] = {}
    for effect in effects:
        key = (effect.claim_id, effect.worker)
        if effect.f == "begin":
            begun[key] = Execution(
                job_id=effect.job_id,
                claim_id=effect.claim_id,
                worker=effect.worker,
                begin_ns=effect.time_ns,
                end_ns=NEVER_NS,
            )
        elif key in begun:
            begun[key] = msgspec.structs.replace(begun[key], end_ns=effect.time_ns)
    return sorted(begun.values(), key=lambda execution: execution.begin_ns)


def compared(history: History, jobs: Iterable[list[Effect]]) -> Findings:
    """Compare the side effects with the history of the same round."""
    claims, rights = _claims(history), _Rights(history)
    total, outlived, clashes = 0, 0, []
    for effects in jobs:
        done = executions(effects)
        total += len(done)
        clashes += [_unclaimed(each) for each in done if (each.job_id, each.claim_id) not in claims]
        known = [each for each in done if (each.job_id, each.claim_id) in claims]
        for first, second in _overlapping(known, rights):
            # The later one may have slept since it was given the job, and begin when it has lost it.
            if second.begin_ns < min(rights.until_ns(first), rights.until_ns(second)):
                clashes.append(_overlap(history, claims, first, second))
            else:
                outlived += 1
    return Findings(executions=total, outlived=outlived, clashes=tuple(clashes))


class _Rights:
    """Until when each execution went on, and until when it certainly went on by right.

    Where the clocks differed by more than the bound, nobody has a right.
    """

    def __init__(self, history: History) -> None:
        faults = Faults()
        self._leases = _lease_ends(history)
        self._deaths: dict[str, list[int]] = defaultdict(list)
        for event in history.events:
            if event.f == "crash":
                self._deaths[event.worker].append(event.time_ns)
            elif event.f == "clock":
                faults.add(event)
        self._is_within = faults.within(history.terms.max_clock_skew_seconds)

    def ended_ns(self, execution: Execution) -> int:
        """Return when it ended, or its worker died."""
        died = (moment for moment in self._deaths[execution.worker] if moment >= execution.begin_ns)
        return min(execution.end_ns, next(died, NEVER_NS))

    def until_ns(self, execution: Execution) -> int:
        """Return up to when the job was certainly its own."""
        lease_ns = self._leases.get(execution.job_id, {}).get(execution.claim_id, 0)
        return min(self.ended_ns(execution), lease_ns) if self._is_within else 0


def _overlapping(done: list[Execution], rights: _Rights) -> Iterator[tuple[Execution, Execution]]:
    """Yield each execution that began inside an earlier one, with the one that had the job for longest."""
    for place, second in enumerate(done):
        inside = [first for first in done[:place] if rights.ended_ns(first) > second.begin_ns]
        if inside:
            yield max(inside, key=rights.until_ns), second


def _claims(history: History) -> dict[tuple[str, str], Operation]:
    return {
        (operation.job_id, operation.claim_id): operation
        for operation in history.operations
        if operation.f == "claim" and operation.job_id is not None and operation.claim_id is not None
    }


def _lease_ends(history: History) -> dict[str, dict[str, int]]:
    """Return until when each claim of each job certainly gave it to its holder."""
    leases, endings = defaultdict[str, dict[str, int]](dict), list[Operation]()
    for operation in history.operations:
        if operation.job_id is not None and operation.claim_id is not None:
            _lead_on(leases[operation.job_id], operation, history.terms)
            if operation.f in {"ack", "release"} and operation.outcome is not EventType.FAIL:
                endings.append(operation)
    if not history.terms.fencing:
        begun = {claim: operation.inv_ns for (_, claim), operation in _claims(history).items()}
        for ending in endings:
            _end_all(leases[str(ending.job_id)], ending, begun)
    return leases


def _lead_on(ends: dict[str, int], operation: Operation, terms: Terms) -> None:
    """Begin a lease, keep it, or end it."""
    claim, is_ok = str(operation.claim_id), operation.outcome is EventType.OK
    # Without fencing, an extend of a lost claim may return ok, too.
    is_kept = operation.f == "extend" and (terms.fencing or operation.ret_ns <= ends.get(claim, 0))
    if is_ok and (operation.f == "claim" or is_kept):
        end_ns = operation.inv_ns + round(terms.lease_ttl_seconds * 1e9)
        ends[claim] = max(ends.get(claim, 0), end_ns) if terms.lease else NEVER_NS
    elif operation.f in {"ack", "release"}:
        ends[claim] = min(ends.get(claim, NEVER_NS), operation.inv_ns)


def _end_all(ends: dict[str, int], ending: Operation, begun: Mapping[str, int]) -> None:
    """Without fencing, whoever ends a job ends it for whoever has it at any moment of that."""
    for claim, end_ns in ends.items():
        if begun.get(claim, 0) < ending.ret_ns:
            ends[claim] = min(end_ns, ending.inv_ns)


def _unclaimed(execution: Execution) -> Clash:
    return Clash(
        job_id=execution.job_id,
        sentence=f"{execution.worker} worked on job {execution.job_id} as claim {execution.claim_id}, "
        "which nobody was given",
        executions=(execution,),
        witness=(),
    )


def _overlap(
    history: History, claims: Mapping[tuple[str, str], Operation], first: Execution, second: Execution
) -> Clash:
    start_ns = history.events[0].time_ns
    began = f"{(second.begin_ns - start_ns) / 1e9:.3f} s"
    indexes = [claims[each.job_id, each.claim_id].ret_index for each in (first, second)]
    return Clash(
        job_id=first.job_id,
        sentence=f"job {first.job_id} was done twice at once: {second.worker} began at {began}, "
        f"while {first.worker} was at it with its lease running",
        executions=(first, second),
        witness=tuple(history.events[index] for index in indexes if index is not None),
    )
