"""What does the exact check make of equal times, missing ids and limits, and how does it tell of them?"""

import msgspec
import pytest

from ssq_verify import linearize, model
from ssq_verify.history import EventType, History, Terms
from ssq_verify.notation import h, items
from ssq_verify.verdict import Finding


def test_the_instant_never_goes_back():
    """An operation that overlaps the next one's call pushes what follows it to its own earliest instant."""
    line = "w1 enqueue j1 <; w2 claim <; +61s; w1 >; w2 > j1#1; w3 claim j1#2"

    assert linearize.check(h(*items(line))).verdict is Finding.HOLDS
    assert model.JobState().instant_ns == 0
    late = model.JobState(model.Phase.QUEUED, 90)
    claim = msgspec.structs.replace(h("w1 enqueue j1", "w1 claim j1").operations[1], inv_ns=50, ret_ns=80)
    assert model.step(late, claim, model.contract(Terms())) is None


def test_equal_times_order_nothing():
    """An operation that returns at the instant at which another is called is concurrent with it."""
    both = h("w1 enqueue j1", "w1 claim j1#1", "w2 ack j1#1 !lost", "w1 ack j1#1")
    tick = tuple(
        msgspec.structs.replace(event, time_ns=9_000 if event.f == "ack" else event.time_ns)
        for event in both.events
    )

    assert linearize.check(both).verdict is Finding.VIOLATED
    assert linearize.check(msgspec.structs.replace(both, events=tick)).verdict is Finding.HOLDS


def test_a_claim_is_used_after_it_was_made():
    """Where an ack is called at the very instant at which its claim returns, the claim still comes first."""
    line = "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 !lost"
    given = h(*items(line))
    tick = tuple(msgspec.structs.replace(event, time_ns=min(event.time_ns, 4_000)) for event in given.events)

    assert linearize.check(msgspec.structs.replace(given, events=tick)).verdict is Finding.VIOLATED


def test_a_claim_id_names_one_claim_ever():
    """Two claims under one id are a violation, however far apart; without fencing they are not."""
    line = "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 claim j1#2; w1 release j1#2; w1 claim j1#3"
    given = h(*items(line))
    events = tuple(
        msgspec.structs.replace(event, claim_id="c1" if event.claim_id == "c3" else event.claim_id)
        for event in given.events
    )
    again = msgspec.structs.replace(given, events=events)
    unfenced = msgspec.structs.replace(
        again, header=msgspec.structs.replace(again.header, terms=Terms(fencing=False))
    )

    verdict = linearize.check(again)

    assert verdict.verdict is Finding.VIOLATED
    assert "claim id c1 of job j1 was given to w1 at 0.000003 s and to w1 at" in verdict.sentence
    assert verdict.violation is not None
    assert [event.f for event in verdict.violation.witness] == ["claim"] * 4
    assert linearize.check(unfenced).verdict is Finding.HOLDS


def test_claims_without_ids_are_told_apart_by_what_is_reported():
    """Where the log has no claim ids, the attempt stands for the claim, else the worker does."""

    def without_ids(line: str) -> History:
        given = h(*items(line))
        events = tuple(msgspec.structs.replace(event, claim_id=None) for event in given.events)
        return msgspec.structs.replace(given, events=events)

    stale = "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 ack j1#1"
    uncounted = "w1 enqueue j1; w1 claim j1; +61s; w2 claim j1; {} ack j1"

    assert linearize.check(without_ids(stale)).verdict is Finding.VIOLATED
    assert linearize.check(without_ids(f"{stale} !lost; w2 ack j1#2")).verdict is Finding.HOLDS
    assert linearize.check(without_ids(uncounted.format("w1"))).verdict is Finding.VIOLATED
    assert linearize.check(without_ids(uncounted.format("w2"))).verdict is Finding.HOLDS


def test_of_two_claims_at_once_the_sentence_names_both():
    """The claim that came back last is told to contradict the other one, not itself."""
    line = "w1 enqueue j1; w1 claim <; w2 claim j1; w1 > j1"

    verdict = linearize.check(h(*items(line), terms=Terms(lease=False)))

    assert verdict.sentence == (
        "no order of job j1's 3 operations fits the contract: w1's claim as c2 returned ok at 0.000005 s, "
        "but then it was held by claim c1, attempt 1 of 3"
    )


def test_the_sentence_says_what_fits_nowhere_and_how_the_job_stood():
    """A violation is told in a sentence of plain words."""
    line = "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 ack j1#1; w2 ack j1#2 !lost"

    verdict = linearize.check(h(*items(line)))

    assert verdict.sentence == (
        "no order of job j1's 4 operations fits the contract: w1's ack of c1 (attempt 1) returned ok at "
        "61.000007 s, but then it was held by claim c2, attempt 2 of 3, its lease not ending before "
        "121.000004 s"
    )


def test_the_witness_is_the_shortest_beginning_of_the_last_incarnation():
    """What came after the first impossible return, and incarnations that were over, are left out."""
    before = "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; +1s"
    broken = "w2 enqueue j1; w2 claim j1#1; w3 claim j1#2"
    after = "w3 ack j1#2; w3 enqueue j1; w3 claim j1#1; w3 ack j1#1"

    (violation,) = linearize.violations(h(*items(f"{before}; {broken}; {after}")))

    assert [(event.worker, event.f, event.type) for event in violation.witness] == [
        ("w2", "enqueue", EventType.INVOKE),
        ("w2", "enqueue", EventType.OK),
        ("w2", "claim", EventType.INVOKE),
        ("w2", "claim", EventType.OK),
        ("w3", "claim", EventType.INVOKE),
        ("w3", "claim", EventType.OK),
    ]


def test_an_operation_that_was_still_open_shows_its_call_alone():
    """What had not returned when the impossible happened is part of the witness, but its return is not."""
    line = "w1 enqueue j1; w1 claim j1#1; w3 extend j1#1 <; w2 claim j1#2; +9s; w3 >"

    (violation,) = linearize.violations(h(*items(line)))

    assert [event.type for event in violation.witness if event.f == "extend"] == [EventType.INVOKE]


@pytest.mark.scenario("invariants/the-exact-check-reaches-its-limit")
def test_at_the_limit_the_verdict_is_unknown_and_names_it():
    """A search that runs out of steps says so, with the job; it never says that the contract holds."""
    calls = [f"w{number} enqueue j1 <" for number in range(9)]
    returns = [f"w{number} >" for number in range(9)]
    hard = h(*calls, *returns, "w1 claim j1#2")

    verdict = linearize.check(hard, budget=100)

    assert verdict.verdict is Finding.UNKNOWN
    assert "100 steps" in verdict.sentence
    assert "job j1 of run 0, 10 operations" in verdict.sentence
    assert linearize.violations(hard, budget=100) == ()
    assert linearize.check(hard).verdict is Finding.VIOLATED


def test_a_violation_found_counts_more_than_a_limit_reached():
    """One job beyond the limit does not hide another's violation."""
    calls = [f"w{number} enqueue j1 <" for number in range(9)]
    returns = [f"w{number} >" for number in range(9)]

    verdict = linearize.check(h(*calls, *returns, "w1 claim j1#2", "w1 claim j2#1"), budget=100)

    assert verdict.verdict is Finding.VIOLATED
    assert verdict.violation is not None
    assert verdict.violation.job_id == "j2"


def test_no_operation_is_vacuous():
    """A history without an operation on any job shows nothing."""
    assert linearize.check(h()).verdict is Finding.VACUOUS
    assert linearize.check(h("w1 claim -")).verdict is Finding.VACUOUS


def test_what_was_left_to_durable_is_said():
    """The verdict counts the operations that no piece holds because a loss of power came before."""
    verdict = linearize.check(h("w1 enqueue j1", "power-loss", "w2 claim j1#1"))

    assert verdict.sentence.endswith("; 1 operations after a loss of power are left to durable")


def test_a_long_job_is_searched_without_recursion():
    """A job of ten thousand operations, one after the other, is no deeper than one of ten."""
    life = ("w1 enqueue j1", "w1 claim j1#1", "w1 ack j1#1")

    assert linearize.check(h(*life * 3_400)).verdict is Finding.HOLDS


@pytest.mark.scenario("history/the-server-was-away")
def test_what_a_server_was_away_for_did_not_happen():
    """An ack that failed for want of a server leaves the claim current, and the job undone."""
    held = ("w1 enqueue j1", "w1 claim j1#1", "w1 ack j1#1 !away")

    assert linearize.check(h(*held, "w1 ack j1#1")).verdict is Finding.HOLDS
    assert linearize.check(h(*held, "w1 enqueue j1", "w1 claim j1#1")).verdict is Finding.VIOLATED
