"""What can a worker and the queue do next, by the contract's rules? The transitions that `exploration` tries.

The queue decides by its records and by clocks that may be wrong; each transition is put to `model.step`,
which goes by the true one, for its consent.
"""

from collections.abc import Iterator
from functools import cache
from typing import TypeVar

import msgspec

from ssq_verify.history import EventType, Operation, Terms
from ssq_verify.model import JobState, Phase, contract, step

T = TypeVar("T")

JOBS = ("j1", "j2")
WORKERS = ("w1", "w2")
TTL, SKEW, REST, ATTEMPTS_MAX = 2, 1, 2, 2
"""Lease, E and back-off in ticks, and the attempts. A back-off of E could not be told from none."""
BEYOND = SKEW + 1
OVER = -1
"""By the true clock: the last tick, and all before it."""
LONG_AGO = -99
"""Never told apart from what lies further back."""

_TICK_SECONDS = 1e-9  # The model's nanosecond.
_CONTRACT = contract(
    Terms(
        lease_ttl_seconds=TTL * _TICK_SECONDS,
        max_clock_skew_seconds=SKEW * _TICK_SECONDS,
        backoff_base_seconds=REST * _TICK_SECONDS,
        max_attempts=ATTEMPTS_MAX,
    )
)


class Record(msgspec.Struct, frozen=True):
    """A job as the queue keeps it."""

    phase: Phase = Phase.QUEUED
    attempt: int = 0
    """The claim's name as well, for a job has one incarnation here."""
    due: int = LONG_AGO
    """QUEUED: available from then on; CLAIMED: the lease's end. By the clock of the worker that wrote it."""


class Hold(msgspec.Struct, frozen=True):
    """A claim in a worker's hand."""

    job: int
    attempt: int
    until: int
    """How long the worker counts on it; `OVER` from when it gives it back."""


class Call(msgspec.Struct, frozen=True):
    """An operation that was called and has not taken effect."""

    f: str
    called: int = 0
    job: int = 0
    attempt: int = 0


class Worker(msgspec.Struct, frozen=True):
    """What one worker has in hand, and what it is doing."""

    hold: Hold | None = None
    call: Call | None = None


class Clocks(msgspec.Struct, frozen=True):
    """How far each worker's clock is ahead, and how far back a time can lie and still make a difference."""

    offsets: tuple[int, int]

    @property
    def due_min(self) -> int:
        """A lease that ended then is over by the slowest clock and E; so is any rest."""
        return min(self.offsets) - SKEW - 1

    @property
    def called_min(self) -> int:
        """A lease that is counted from then is over for its holder, and for all as soon as it is given."""
        return min(self.due_min - max(self.offsets), OVER) - TTL


class World(msgspec.Struct, frozen=True):
    """Everything at one instant; all times count from it."""

    records: tuple[Record, ...]
    states: tuple[JobState, ...]
    """The same jobs in the model."""
    workers: tuple[Worker, ...]


class Move(msgspec.Struct, frozen=True):
    """What happened, the world after it, and the invariant that it broke."""

    said: str
    world: World | None
    """None if the model has no state to go on from."""
    broken: str | None = None


TICK = "a tick passes"


def first_world() -> World:
    """Return the world in which both jobs were just enqueued."""
    return World((Record(),) * len(JOBS), _enqueued(), (Worker(),) * len(WORKERS))


def moves(world: World, clocks: Clocks) -> Iterator[Move]:
    """Yield all that can happen next."""
    yield Move(TICK, _a_tick_later(world, clocks))
    for index, worker in enumerate(world.workers):
        offset = clocks.offsets[index]
        if worker.call is None:
            yield from _calls(world, index, offset)
        elif worker.call.f == "claim":
            yield _claim(world, index, worker.call, offset)
        else:
            yield _use(world, index, worker.call, offset)
        if worker != Worker():
            yield Move(f"{WORKERS[index]} dies, and starts anew", _with_worker(world, index, Worker()))


def counts_on(worker: Worker, job: int) -> bool:
    """Whether the worker believes that it holds the job, and may."""
    return worker.hold is not None and worker.hold.job == job and worker.hold.until >= 0


def finishes(records: tuple[Record, ...], offset: int, clocks: Clocks) -> bool:
    """Whether a worker that polls at each tick finishes every job within `ttl + 2E + one poll`.

    Beyond E, that is by how much the clocks differ more.
    """
    beyond = max(0, max(clocks.offsets) - min(clocks.offsets) - SKEW)
    for now in range(TTL + 2 * SKEW + beyond + 2):
        job: int | None = 0
        while job is not None:
            records, job = _handed_out(records, now + offset, now + offset)
            if job is not None:
                records = _replaced(records, job, Record(Phase.ABSENT))
    return all(record.phase in {Phase.ABSENT, Phase.DEAD} for record in records)


def _enqueued() -> tuple[JobState, ...]:
    states = [_judged(JobState(), Call("enqueue", 0, job), EventType.OK)[0] for job in range(len(JOBS))]
    return tuple(state for state in states if state is not None)


def _calls(world: World, index: int, offset: int) -> Iterator[Move]:
    """Yield what an idle worker may call: a claim with empty hands, else anything on its claim."""
    name, hold = WORKERS[index], world.workers[index].hold
    if hold is None:
        yield Move(f"{name} calls claim", _with_worker(world, index, Worker(call=Call("claim"))))
        return
    extend = Call("extend", 0, hold.job, hold.attempt)
    yield Move(f"{name} calls {_named(extend)}", _with_worker(world, index, Worker(hold, extend)))
    # To sleep inside an ack or a release is as good as to sleep before it: the claim is given up already.
    yield _use(world, index, Call("ack", 0, hold.job, hold.attempt), offset)
    yield _use(world, index, Call("release", 0, hold.job, hold.attempt), offset)


def _claim(world: World, index: int, call: Call, offset: int) -> Move:
    records, job = _handed_out(world.records, offset, call.called + offset)
    world, broken = _with_deaths(world, records)
    if job is None:
        return Move(f"{WORKERS[index]} finds nothing", _with_worker(world, index, Worker()), broken)
    claimed = Call("claim", call.called, job, records[job].attempt)
    hold = Hold(job, claimed.attempt, max(OVER, call.called + TTL))
    said = f"{WORKERS[index]} is given {JOBS[job]}, attempt {claimed.attempt}"
    move = _taken(said, world, claimed, EventType.OK, records[job])
    after = None if move.world is None else _with_worker(move.world, index, Worker(hold))
    return Move(said, after, move.broken or broken)


def _use(world: World, index: int, call: Call, offset: int) -> Move:
    """Return an ack, release or extend: the queue decides by its record, the model says if it may."""
    record, hold = world.records[call.job], world.workers[index].hold
    current = _is_current(record, call)
    outcome = EventType.OK if current else EventType.FAIL
    said = f"{WORKERS[index]}'s {_named(call)} {'returns ok' if current else 'is refused'}"
    # A worker may read its clock when it is called, and write what it read later: the earliest end there is.
    after = _given_back(record, call.f, call.called + offset) if current else record
    move = _taken(said, world, call, outcome, after)
    if move.world is None:
        return move
    if not current:
        hold = None
    elif call.f == "extend":
        hold = Hold(call.job, call.attempt, max(OVER, call.called + TTL))
    else:
        # It may be tried again: the second time it is refused.
        hold = Hold(call.job, call.attempt, OVER)
    return Move(said, _with_worker(move.world, index, Worker(hold)), move.broken)


def _is_current(record: Record, call: Call) -> bool:
    return record.phase is Phase.CLAIMED and record.attempt == call.attempt


def _taken(said: str, world: World, call: Call, outcome: EventType, record: Record) -> Move:
    """Return the world after an operation, if the model accepts it."""
    state, broken = _judged(world.states[call.job], call, outcome)
    if state is None:
        return Move(said, None, broken)
    records = _replaced(world.records, call.job, record)
    states = _replaced(world.states, call.job, state)
    return Move(said, World(records, states, world.workers), broken)


def _with_deaths(world: World, records: tuple[Record, ...]) -> tuple[World, str | None]:
    """Return the world with the jobs dead that a claim found expired at their last attempt."""
    broken = None
    for job, record in enumerate(records):
        if record.phase is Phase.DEAD is not world.records[job].phase:
            move = _taken("", world, Call("dead", 0, job), EventType.OK, record)
            broken = broken or move.broken
            world = move.world or world
    return world, broken


def _handed_out(
    records: tuple[Record, ...], clock: int, called: int
) -> tuple[tuple[Record, ...], int | None]:
    """Return the jobs after a claim at that reading of a clock, and which one it takes, the first it may."""
    for job, record in enumerate(records):
        expired = record.phase is Phase.CLAIMED and clock > record.due + SKEW
        if expired and record.attempt == ATTEMPTS_MAX:
            records = _replaced(records, job, Record(Phase.DEAD, record.attempt))
        elif expired or (record.phase is Phase.QUEUED and clock >= record.due):
            taken = Record(Phase.CLAIMED, record.attempt + 1, called + TTL)
            return _replaced(records, job, taken), job
    return records, None


def _given_back(record: Record, f: str, clock: int) -> Record:
    if f == "ack":
        return Record(Phase.ABSENT)
    if f == "extend":
        return Record(Phase.CLAIMED, record.attempt, max(record.due, clock + TTL))
    if record.attempt == ATTEMPTS_MAX:
        return Record(Phase.DEAD, record.attempt)
    return Record(Phase.QUEUED, record.attempt, clock + REST)


@cache
def _judged(state: JobState, call: Call, outcome: EventType) -> tuple[JobState | None, str | None]:
    """Return the model's next state, and what is broken if it has none, or none but for time."""
    operation = _operation(call, outcome)
    after, broken = step(state, operation, _CONTRACT), None
    if after is None:
        over = msgspec.structs.replace(state, lease_end_ns=OVER, available_ns=OVER)
        after = step(over, operation, _CONTRACT)
        broken = _broken(state, operation, timed=after is not None)
    return None if after is None else _at(after, 0), broken


def _broken(state: JobState, operation: Operation, *, timed: bool) -> str:
    if timed:
        return "back-off" if state.phase is Phase.QUEUED else "no-early-reclaim"
    if operation.f == "claim":
        return "bounded-retries" if state.phase in {Phase.QUEUED, Phase.CLAIMED} else "no-resurrection"
    return "fencing" if operation.outcome is EventType.OK else "progress"


def _operation(call: Call, outcome: EventType) -> Operation:
    return Operation(
        run=0,
        worker="",
        f=call.f,
        job_id=JOBS[call.job],
        claim_id=f"#{call.attempt}",
        attempt=call.attempt,
        value=None,
        outcome=outcome,
        error=None,
        inv_ns=call.called,
        ret_ns=0,
        inv_index=0,
        ret_index=0,
    )


def _a_tick_later(world: World, clocks: Clocks) -> World:
    return World(
        tuple(_recorded(record, clocks) for record in world.records),
        tuple(_at(state, 1) for state in world.states),
        tuple(Worker(_held(worker.hold), _called(worker.call, clocks)) for worker in world.workers),
    )


def _recorded(record: Record, clocks: Clocks) -> Record:
    if record.due == LONG_AGO:
        return record
    return Record(record.phase, record.attempt, max(clocks.due_min, record.due - 1))


def _held(hold: Hold | None) -> Hold | None:
    return None if hold is None else Hold(hold.job, hold.attempt, max(OVER, hold.until - 1))


def _called(call: Call | None, clocks: Clocks) -> Call | None:
    if call is None:
        return None
    return Call(call.f, max(clocks.called_min, call.called - 1), call.job, call.attempt)


@cache
def _at(state: JobState, ticks: int) -> JobState:
    # When the last operation took effect is known here, and the latest end of a lease decides nothing.
    return JobState(
        state.phase,
        LONG_AGO,
        state.attempt,
        None,
        state.claim_id,
        max(OVER, state.lease_end_ns - ticks) if state.phase is Phase.CLAIMED else OVER,
        0,
        max(OVER, state.available_ns - ticks) if state.phase is Phase.QUEUED else OVER,
    )


def _named(call: Call) -> str:
    return f"{call.f} of {JOBS[call.job]}, attempt {call.attempt}"


def _with_worker(world: World, index: int, worker: Worker) -> World:
    return World(world.records, world.states, _replaced(world.workers, index, worker))


def _replaced(values: tuple[T, ...], index: int, value: T) -> tuple[T, ...]:
    return (*values[:index], value, *values[index + 1 :])
