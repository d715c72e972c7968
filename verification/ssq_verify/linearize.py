"""Is there, for each job, an order of its operations that the contract accepts? The exact check.

A history is cut into jobs (`pieces`), each is searched for an order (`orders`), and where there is none, the
shortest beginning that has none is the witness. What a single job can't show, claims that found nothing and
the order of jobs, is left to the SQL invariants. The search is bounded: at its limit the verdict is unknown,
and names job and limit.
"""

import msgspec

from ssq_verify.history import NEVER_NS, Event, EventType, History, Operation
from ssq_verify.model import JobState
from ssq_verify.orders import BudgetSpent, Search, same_but_for_time
from ssq_verify.pieces import Piece, left_to_durable, pieces
from ssq_verify.verdict import Evidence, Finding, Verdict, Violation, refused
from ssq_verify.witness import no_order, reuse

INVARIANT = "linearizable"
BUDGET_STEPS = 200_000
"""How many steps of the model the search may try for one job."""
WITNESSES_MAX = 20
"""Of how many violating jobs, the smallest first, the shortest history is sought."""
BEGINNINGS_MAX = 8
"""At how many places it is tried to leave out earlier incarnations from a witness."""


JOBS, OPERATIONS, AFTER_LOSS = "jobs", "operations", "operations after a loss of power"


def check(history: History, *, budget: int = BUDGET_STEPS) -> Verdict:
    """Return the verdict on `linearizable`; `budget` is in steps of the model for each job.

    Raises `InvalidHistory`.
    """
    return verdict(evidence(history, budget=budget))


def evidence(history: History, *, budget: int = BUDGET_STEPS) -> Evidence:
    """Return what a history says of `linearizable`. Raises `InvalidHistory`."""
    found: dict[bool | None, list[Piece]] = {True: [], False: [], None: []}
    for piece in pieces(history):
        found[_is_explained(piece, budget)].append(piece)
    accepted, broken, limited = found[True], found[False], found[None]
    told = violations_of(history, _smallest(broken, WITNESSES_MAX), budget=budget)
    return Evidence(
        invariant=INVARIANT,
        violation=min(told, key=lambda violation: len(violation.witness), default=None),
        limit=_limit(limited, budget) if limited else None,
        seen={
            JOBS: len(accepted),
            OPERATIONS: sum(piece.size for piece in accepted),
            AFTER_LOSS: left_to_durable(history),
        },
    )


def verdict(found: Evidence) -> Verdict:
    """Return what the evidence comes to."""
    if found.violation is not None or found.limit is not None:
        return refused(found)
    if not found.seen.get(JOBS):
        return Verdict(invariant=INVARIANT, verdict=Finding.VACUOUS, sentence="no operation on any job")
    return Verdict(invariant=INVARIANT, verdict=Finding.HOLDS, sentence=_holds(found))


def violations(
    history: History, *, limit: int = WITNESSES_MAX, budget: int = BUDGET_STEPS
) -> tuple[Violation, ...]:
    """Return the violations, at most `limit`, those of the smallest jobs. Raises `InvalidHistory`."""
    broken = _smallest(rejected(history, budget=budget), limit)
    return violations_of(history, broken, budget=budget)


def rejected(history: History, *, budget: int = BUDGET_STEPS) -> list[Piece]:
    """Return the jobs whose operations have no order that the contract accepts. Raises `InvalidHistory`."""
    return [piece for piece in pieces(history) if _is_explained(piece, budget) is False]


def violations_of(
    history: History, broken: list[Piece], *, budget: int = BUDGET_STEPS
) -> tuple[Violation, ...]:
    """Return the violation of each of the jobs that were `rejected`."""
    starts: dict[int, int] = {}
    for event in history.events:
        starts.setdefault(event.run, event.time_ns)
    return tuple(_violation(history, piece, starts[piece.run], budget) for piece in broken)


def _smallest(broken: list[Piece], limit: int) -> list[Piece]:
    return sorted(broken, key=lambda piece: piece.size)[:limit]


def _is_explained(piece: Piece, budget: int) -> bool | None:
    """Whether some order explains the piece; None if the budget did not suffice."""
    if _reused(piece):
        return False
    try:
        return next(Search(piece, budget_steps=budget).orders(), None) is not None
    except BudgetSpent:
        return None


def _limit(limited: list[Piece], budget: int) -> str:
    piece = limited[0]
    others = f" (and {len(limited) - 1} other jobs)" if len(limited) > 1 else ""
    return (
        f"the limit of {budget:,} steps a job was reached at job {piece.job_id} of run {piece.run}, "
        f"{piece.size} operations{others}; raise the budget or give jobs fewer operations"
    )


def _holds(found: Evidence) -> str:
    jobs, operations, left = (found.seen[what] for what in (JOBS, OPERATIONS, AFTER_LOSS))
    text = f"{jobs:,} jobs, {operations:,} operations, each job's in an order that the contract accepts"
    return f"{text}; {left:,} {AFTER_LOSS} are left to durable" if left else text


def _reused(piece: Piece) -> list[Operation]:
    """Return two claims that were given one claim id, which names one claim and no other, ever."""
    if not piece.contract.terms.fencing:
        return []
    first: dict[str, Operation] = {}
    for operation in piece.definite:
        if operation.f == "claim" and operation.claim_id is not None and operation.outcome is EventType.OK:
            if operation.claim_id in first:
                return [first[operation.claim_id], operation]
            first[operation.claim_id] = operation
    return []


def _violation(history: History, piece: Piece, start_ns: int, budget: int) -> Violation:
    reused = _reused(piece)
    if reused:
        return _witnessed(history, piece, reused, reuse(piece, reused, start_ns))
    piece = _without_earlier_incarnations(_shortest_beginning(piece, budget), budget)
    last = max(piece.definite, key=lambda operation: (operation.ret_ns, operation.ret_index or 0))
    # Two claims at once exclude each other: what the last is told to contradict is an order without it.
    search = Search(piece, budget_steps=budget, without=last)
    _ = _exhausted(search)
    sentence = no_order(piece, last, search.deepest.state, start_ns)
    return _witnessed(history, piece, piece.definite + piece.indefinite, sentence)


def _witnessed(history: History, piece: Piece, operations: list[Operation], sentence: str) -> Violation:
    indexes = {operation.inv_index for operation in operations} | {
        operation.ret_index
        for operation in operations
        # An operation that was still open at the end of the witness shows its call alone.
        if operation.ret_index is not None and operation.outcome is not EventType.INFO
    }
    events: tuple[Event, ...] = tuple(history.events[index] for index in sorted(indexes))
    return Violation(
        invariant=INVARIANT, run=piece.run, job_id=piece.job_id, sentence=sentence, witness=events
    )


def _shortest_beginning(piece: Piece, budget: int) -> Piece:
    """Return the shortest beginning without an order; every longer one has none either, so it is bisected."""
    ends = sorted({operation.ret_ns for operation in piece.definite})
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if _is_explained(_until(piece, ends[middle]), budget) is False:
            high = middle
        else:
            low = middle + 1
    return _until(piece, ends[low])


def _until(piece: Piece, end_ns: int) -> Piece:
    """Return what was called by then; what had not returned is of unknown outcome."""
    begun = [operation for operation in piece.definite if operation.inv_ns <= end_ns]
    pending = [
        msgspec.structs.replace(operation, outcome=EventType.INFO, ret_ns=NEVER_NS)
        for operation in begun
        if operation.ret_ns > end_ns
    ]
    indefinite = [operation for operation in piece.indefinite if operation.inv_ns <= end_ns] + pending
    return msgspec.structs.replace(
        piece,
        definite=[operation for operation in begun if operation.ret_ns <= end_ns],
        indefinite=sorted(indefinite, key=lambda operation: operation.inv_index),
        stray_claims=[claim for claim in piece.stray_claims if claim.inv_ns <= end_ns],
    )


def _without_earlier_incarnations(piece: Piece, budget: int) -> Piece:
    """Return what came after the job was last certainly gone, if that alone has no order."""
    if piece.stray_claims:
        return piece
    for index in reversed(_quiet_enqueues(piece)[-BEGINNINGS_MAX:]):
        head = msgspec.structs.replace(piece, definite=piece.definite[:index], indefinite=[])
        tail = msgspec.structs.replace(piece, definite=piece.definite[index:])
        ends = _exhausted(Search(head, budget_steps=budget))
        gone = bool(ends) and all(same_but_for_time(state, JobState()) for state in ends)
        if gone and _is_explained(tail, budget) is False:
            return tail
    return piece


def _quiet_enqueues(piece: Piece) -> list[int]:
    """Return the places of enqueues that were called when all before them had returned."""
    quiet, returned_ns = [], -1
    begun_ns = min((operation.inv_ns for operation in piece.indefinite), default=NEVER_NS)
    for index, operation in enumerate(piece.definite):
        if index and operation.f == "enqueue" and returned_ns < operation.inv_ns < begun_ns:
            quiet.append(index)
        returned_ns = max(returned_ns, operation.ret_ns)
    return quiet


def _exhausted(search: Search) -> list[JobState]:
    """Return the states after all orders; none if the budget does not suffice to know them all."""
    try:
        return list(search.orders())
    except BudgetSpent:
        return []
