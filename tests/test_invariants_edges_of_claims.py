"""Where does certainty about claims end? Histories just inside and outside of it."""

import pytest

from edges import HELD, is_broken
from ssq_verify.invariants import violations
from ssq_verify.notation import h, items


@pytest.mark.parametrize(
    ("line", "terms", "broken"),
    [
        # A lease ends a ttl after the claim was called; an extend that returned ok moves it.
        pytest.param("+59s; w2 claim j1#2", {}, True, id="inside the lease"),
        pytest.param("+60s; w2 claim j1#2", {}, False, id="after the lease"),
        pytest.param("+30s; w1 extend j1#1; +31s; w2 claim j1#2", {}, True, id="inside the extended lease"),
        pytest.param("+30s; w1 extend j1#1 !lost; +31s; w2 claim j1#2", {}, False, id="a refused extend"),
        pytest.param(
            "+30s; w1 extend j1#1 ?; +31s; w2 claim j1#2", {}, False, id="an extend that may not have been"
        ),
        # Clocks count as the promise says.
        pytest.param("w1 clock +3s; w2 claim j1#2", {}, False, id="clocks beyond the bound"),
        pytest.param(
            "w1 clock +3s; w2 claim j1#2", {"max_clock_skew_seconds": 3.0}, True, id="clocks within it"
        ),
        pytest.param(
            "w1 clock +3s; w2 claim j1#2", {"max_clock_skew_seconds": None}, True, id="the server's clock"
        ),
        pytest.param("w1 clock +1s; w2 claim j1#2", {}, False, id="no clock may differ"),
        # What may have ended the claim ends it.
        pytest.param("w1 ack j1#1 ?; w2 claim j1#2", {}, False, id="an ack that may have been"),
        pytest.param("w1 release j1#1 dies; w2 claim j1#2", {}, False, id="a release that may have been"),
        pytest.param("w3 release j9; w2 claim j1#2", {}, True, id="a release of another job"),
        pytest.param("w3 release j1#7; w2 claim j1#2", {}, False, id="a release of a claim that nobody saw"),
        pytest.param("power-loss; w2 claim j1#2", {}, False, id="a claim undone by power loss"),
        # A dead holder keeps its lease, if there are leases.
        pytest.param("w1 dies; w2 claim j1#2", {}, True, id="a dead holder's lease"),
        pytest.param("w1 dies; w2 claim j1#2", {"lease": False}, False, id="a dead holder without leases"),
        pytest.param("+999s; w2 claim j1#2", {"lease": False}, True, id="a live holder without leases"),
    ],
)
def test_single_claimer(line, terms, broken):
    """Only claims that were certainly valid at one instant are accused."""
    assert is_broken("single-claimer", HELD + line, **terms) is broken


def test_single_claimer_of_a_holder_that_was_told():
    """A holder that was told that its claim is lost holds nothing, but its lease was still cut short."""
    line = HELD + "w1 ack j1#1 !lost; w2 claim j1#2"

    assert not is_broken("single-claimer", line)
    assert is_broken("no-early-reclaim", line)


def test_early_reclaim_needs_a_call_inside_the_lease():
    """A claim called before the holder's returned is no early reclaim; it is for single-claimer to judge."""
    line = "w1 enqueue j1; w2 claim <; w1 claim j1#1; w2 > j1#2"

    assert not is_broken("no-early-reclaim", line)
    assert is_broken("single-claimer", line)


SUPERSEDED = HELD + "+61s; w2 claim j1#2; "


@pytest.mark.parametrize(
    ("line", "terms", "broken"),
    [
        pytest.param(SUPERSEDED + "w1 release j1#1", {}, True, id="a stale release"),
        pytest.param(SUPERSEDED + "w1 extend j1#1", {}, True, id="a stale extend"),
        pytest.param(SUPERSEDED + "w1 ack j1#1 ?", {}, False, id="a stale ack that may have failed"),
        pytest.param(SUPERSEDED + "w1 ack j1#1", {"fencing": True, "lease": True}, True, id="a stale ack"),
        pytest.param(HELD + "+61s; w1 ack j1#1", {}, False, id="a late ack that nobody came before"),
        pytest.param(
            HELD + "+61s; w2 claim <; w1 ack j1#1; w2 > j1#2", {}, False, id="an ack beside the claim"
        ),
        pytest.param(HELD + "+61s; w1 ack j1#1 <; w2 claim j1#2; w1 >", {}, False, id="an ack called before"),
        pytest.param(HELD + "w1 ack j1#1; w1 ack j1#1", {}, True, id="a second ack"),
        pytest.param(
            HELD + "w1 ack j1#1; w1 ack j1#1", {"repeat_ack": "accepted"}, False, id="an idempotent ack"
        ),
        pytest.param(
            HELD + "w1 release j1#1; w1 ack j1#1", {"repeat_ack": "accepted"}, True, id="released, acked"
        ),
        pytest.param(
            HELD + "w1 ack j1#1 ?; w1 ack j1#1", {}, False, id="an ack after one that may have failed"
        ),
        pytest.param(HELD + "w1 ack j1#1; power-loss; w1 ack j1#1", {}, False, id="after a power loss"),
    ],
)
def test_fencing(line, terms, broken):
    """Only what was called after the claim had certainly ended is accused."""
    assert is_broken("fencing", line, **terms) is broken


@pytest.mark.parametrize(
    ("line", "terms", "broken"),
    [
        pytest.param("w1 claim j1#2", {}, True, id="the first attempt is 2"),
        pytest.param("w2 claim ?; w1 claim j1#2", {}, False, id="an unknown claim may have been the first"),
        pytest.param("w2 claim dies; w1 claim j1#3", {}, True, id="one unknown claim is not two"),
        pytest.param("w1 claim j1#1; w1 release j1#1; w1 claim j1#3", {}, True, id="a gap"),
        pytest.param("w1 claim j1#1; w1 release j1#1; w1 claim j1#1", {}, True, id="a repeat"),
        pytest.param("w2 claim ?; w1 claim j1#2; w1 release j1#2; w1 claim j1#1", {}, True, id="backward"),
        pytest.param("w1 claim <; w2 claim j1#2; w1 > j1#1", {}, False, id="two at once, in either order"),
        pytest.param("w1 claim j1#4", {}, True, id="beyond the bound"),
        pytest.param(
            "w1 claim j1#1; w1 ack j1#1; w1 claim j1#1", {}, True, id="acked, and not enqueued again"
        ),
        pytest.param(
            "w1 claim j1#1; w1 ack j1#1; w1 enqueue j1; w1 claim j1#1", {}, False, id="a new incarnation"
        ),
        pytest.param(
            "w1 claim j1#1; w1 ack j1#1; w1 enqueue j1 ?; w1 claim j1#1", {}, False, id="perhaps a new one"
        ),
        pytest.param(
            "w2 enqueue j1 <; w1 claim j1#1; w1 ack j1#1; w1 claim j1#1", {}, False, id="a slow enqueue"
        ),
        pytest.param(
            "w1 claim j1#1; w1 ack j1#1 ?; w1 enqueue j1; w1 claim j1#1", {}, False, id="perhaps acked"
        ),
        pytest.param(
            "w1 claim j1#3; w1 requeue j1; w1 claim j1#1", {"max_attempts": 3}, True, id="not from one"
        ),
        pytest.param(
            "w1 claim j1#1; w1 release j1#1; w1 requeue j1; w1 claim j1#1",
            {"max_attempts": 1},
            False,
            id="requeued",
        ),
        pytest.param(
            "w1 claim j1#1; power-loss; w1 claim j1#1", {}, False, id="an attempt undone by power loss"
        ),
        pytest.param(
            "w1 claim j1#1; +61s; w2 claim j1#2; w1 ack j1#1; w1 enqueue j1; +61s; w2 claim j1#1",
            {},
            True,
            id="a stale ack ends no incarnation",
        ),
        pytest.param(
            "w1 claim j1; w1 release j1; w1 claim j1; w1 enqueue j1; w1 release j1; w1 claim j1",
            {"max_attempts": 2, "dead_letters": False},
            False,
            id="a queue that forgets its dead may take one anew",
        ),
    ],
)
def test_bounded_retries(line, terms, broken):
    """Attempts count together only within what is certainly one incarnation."""
    assert is_broken("bounded-retries", "w1 enqueue j1; " + line, **terms) is broken


@pytest.mark.parametrize(
    ("line", "terms", "broken"),
    [
        pytest.param(HELD + "w1 ack j1#1 ?; w2 claim j1#2", {}, False, id="perhaps acked"),
        pytest.param(HELD + "w2 claim <; w1 ack j1#1; w2 > j1#2", {}, False, id="claimed beside the ack"),
        pytest.param(
            HELD + "w1 ack j1#1; w2 enqueue j1 dies; w2 claim j1#2", {}, False, id="perhaps enqueued"
        ),
        pytest.param(SUPERSEDED + "w1 ack j1#1; w3 claim j1#3", {}, False, id="a stale ack ends nothing"),
        pytest.param(HELD + "dead j1; w2 claim j1#2", {}, True, id="a dead job comes back"),
        pytest.param(HELD + "dead j1; w2 requeue j1; w2 claim j1#1", {}, False, id="a dead job is requeued"),
        pytest.param(
            HELD + "w1 ack j1#1; w1 enqueue j1; w2 claim j1#1; w1 ack j1#1; w2 claim j1#2",
            {"repeat_ack": "accepted"},
            False,
            id="a repeated ack ends nothing",
        ),
        pytest.param(
            HELD + "+61s; w1 ack j1#1; w2 claim j1#2", {"fencing": False}, False, id="an ack by job alone"
        ),
        pytest.param(
            HELD + "w1 ack j1#1; w2 claim j1#2", {"fencing": False}, True, id="an ack inside its lease"
        ),
        pytest.param(
            HELD + "w1 ack j1#1; w1 enqueue j1; w2 claim j1#1; w2 claim j1#1",
            {"idempotent_enqueue": False},
            False,
            id="an id that names two jobs",
        ),
    ],
)
def test_no_resurrection(line, terms, broken):
    """Only a claim after a certain end, with no enqueue that may have come between, is accused."""
    assert is_broken("no-resurrection", line, **terms) is broken


@pytest.mark.parametrize(
    ("line", "terms", "broken"),
    [
        pytest.param("w1 claim j1#1; w1 enqueue j1", {}, True, id="enqueued only later"),
        pytest.param("w1 enqueue j1 <; w2 claim j1#1; w1 >", {}, False, id="enqueued beside it"),
        pytest.param("w1 enqueue j1 =a ?; w1 claim j1#1 =a", {}, False, id="an enqueue that may have been"),
        pytest.param("w1 enqueue j1 =a !lost; w1 claim j1#1 =a", {}, True, id="an enqueue that failed"),
        pytest.param("w1 enqueue j1 =a; w1 claim j1#1 =b", {"payload": False}, False, id="no payloads"),
        pytest.param("w1 enqueue j1 =a; w2 enqueue j1 =b; w1 claim j1#1 =b", {}, False, id="either enqueue"),
        pytest.param(
            "w1 enqueue j1 =a; w1 claim j1#1; w1 ack j1#1; w1 enqueue j1 =b; w1 claim j1#1 =a",
            {},
            True,
            id="of an incarnation that is over",
        ),
    ],
)
def test_integrity(line, terms, broken):
    """A payload is judged against every enqueue that may be its origin."""
    assert is_broken("integrity", line, **terms) is broken


def test_runs_are_judged_by_themselves():
    """The same job and worker names in two runs have nothing to do with each other."""
    line = HELD + "next run; " + HELD + "next run; w1 enqueue j1; w2 claim j1#1"

    for name in ("single-claimer", "no-early-reclaim", "bounded-retries", "fencing"):
        assert not is_broken(name, line)


def test_claims_without_ids_are_told_apart_by_what_is_recorded():
    """A queue whose claims have no id is judged by attempt, or by worker."""
    history = h(*items(SUPERSEDED + "w1 ack j1#1"))
    bare = [{"claim_id": None}, {"claim_id": None, "attempt": None}]
    for fields in bare:
        events = tuple(
            type(e)(**{**{f: getattr(e, f) for f in e.__struct_fields__}, **fields}) for e in history.events
        )

        assert violations(type(history)(events=events), "fencing")
