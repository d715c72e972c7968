"""The SQL invariants and the exact check against each other, on many small histories, valid and broken."""

from random import Random

import pytest

from random_changes import changed
from random_runs import TERMS, TICK_NS, Mark, Run
from ssq_verify import linearize
from ssq_verify.history import Event, EventType, Header, History, Terms
from ssq_verify.invariants import forget, violations
from ssq_verify.pieces import Piece
from ssq_verify.verdict import Violation

RUNS = 7_200
"""Of each of the terms, as they are and changed in one place: more than 100,000 histories together."""
SAFETY = (
    "single-claimer",
    "no-early-reclaim",
    "fencing",
    "bounded-retries",
    "no-resurrection",
    "integrity",
    "back-off",
)
"""What of the SQL invariants one job's operations can break."""

ONLY_EXACT = {
    "refusal": "that a current claim was refused, or a dead job not requeued, is no invariant's matter",
    "dead letter": "no invariant says when a job may be dead or requeued, only that it is accounted for",
    "unseen claim": "an ack, release or extend of a claim that nobody was given: SQL has no pair to judge",
    "reused id": "SQL takes a name's last claim before each call, and does not ask for names to be unique",
    "call": "SQL is not certain where an ack, release or extend overlaps what made it stale, or follows a "
    "call of unknown outcome; the model tries every order",
    "claim": "in SQL one unknown enqueue excuses any number of claims, one unknown claim any gap before it, "
    "an enqueue that changed nothing any payload; in an order each counts once, in its place",
    "enqueue": "its return settles by when the job was there, and with that what overlapped it",
}
"""What the exact check alone rejects, by the call that fits nowhere, and why SQL is silent."""
SAMPLE = 200
"""So many of those are put into classes, of each of the terms."""


def histories(name: str) -> tuple[History, History]:
    """Return many runs under the terms of that name: as a correct queue made them, and changed."""
    random = Random(f"agreement: {name}")  # noqa: S311 - a seed, not a secret
    correct: list[Event] = []
    broken: list[Event] = []
    for run in range(RUNS):
        marks = Run(random, TERMS[name]).marks_of_a_run()
        _add(correct, marks, run)
        _add(broken, changed(random, marks), run)
    header = Header(terms=TERMS[name])
    return History(header=header, events=tuple(correct)), History(header=header, events=tuple(broken))


def _add(events: list[Event], marks: list[Mark], run: int) -> None:
    for time, _, worker, kind, f, fields in marks:
        index = len(events)
        events.append(
            Event(index=index, time_ns=time * TICK_NS, worker=worker, type=kind, f=f, run=run, **fields)
        )


def rejected_by_sql(history: History) -> dict[tuple[int, str], set[str]]:
    """Return the jobs that break a safety invariant, and which."""
    found: dict[tuple[int, str], set[str]] = {}
    for invariant in SAFETY:
        if _is_offered(invariant, history.terms):
            for violation in violations(history, invariant, limit=1_000_000):
                found.setdefault((violation.run, str(violation.job_id)), set()).add(invariant)
    forget()
    return found


def _is_offered(invariant: str, terms: Terms) -> bool:
    return not (
        (invariant == "fencing" and not terms.fencing)
        or (invariant == "bounded-retries" and terms.max_attempts is None)
        or (invariant == "no-early-reclaim" and not terms.lease)
    )


def only_exact(piece: Piece, violation: Violation) -> str:
    """Return the class of a job that the exact check alone rejects."""
    given = {operation.claim_id for operation in piece.definite if operation.f == "claim"}
    last = [event for event in violation.witness if event.type is not EventType.INVOKE][-1]
    if "must name one claim only" in violation.sentence:
        return "reused id"
    if last.type is EventType.FAIL:
        return "refusal"
    if last.f in {"dead", "requeue"}:
        return "dead letter"
    if last.f in {"claim", "enqueue"}:
        return last.f
    return "call" if last.claim_id in given else "unseen claim"


@pytest.mark.scenario("invariants/the-sql-invariants-and-the-exact-check-agree")
@pytest.mark.parametrize("name", TERMS)
def test_sql_invariants_and_exact_check_agree(name):
    """Neither accuses a correct queue, and what SQL rejects the exact check rejects, too."""
    correct, broken = histories(name)

    assert rejected_by_sql(correct) == {}
    assert [violation.sentence for violation in linearize.violations(correct)] == []
    by_sql = rejected_by_sql(broken)
    pieces = {(piece.run, piece.job_id): piece for piece in linearize.rejected(broken)}
    assert {place: names for place, names in by_sql.items() if place not in pieces} == {}
    assert len(by_sql) > RUNS // 10, "the changes must break something, or this shows nothing"
    alone = [pieces[place] for place in pieces if place not in by_sql][:SAMPLE]
    told = linearize.violations_of(broken, alone)
    assert {only_exact(piece, violation) for piece, violation in zip(alone, told, strict=True)} <= set(
        ONLY_EXACT
    )
