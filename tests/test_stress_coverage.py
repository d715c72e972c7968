"""Is each strike counted in the phase that it struck, and does an empty cell keep a verdict from green?"""

import pytest
from msgspec.structs import replace

from ssq_stress.coverage import NEEDED, applicable, cell, empty, matrix
from ssq_stress.faults import Fault, Phase
from ssq_stress.processes.effects import Effect
from ssq_stress.record import Record
from ssq_stress.side_verdicts import coverage_verdict, exercised
from ssq_verify.history import Event, EventType, Header, History, Terms
from ssq_verify.verdict import Evidence, Finding

TERMS = Terms(lease_ttl_seconds=1.0, max_clock_skew_seconds=0.2)
SECOND = 1_000_000_000


def history(*told, terms=TERMS):
    """Return a history of (seconds, worker, type, f, fields)."""
    events = [
        Event(index=n, time_ns=round(at * SECOND), worker=worker, type=EventType(kind), f=f, **fields)
        for n, (at, worker, kind, f, fields) in enumerate(told)
    ]
    return History(header=Header(terms=terms), events=tuple(events))


def begun(worker, at):
    """Return the side effect that a worker began at an instant."""
    return Effect(job_id="j1", claim_id="c1", worker=worker, f="begin", time_ns=round(at * SECOND))


CLAIM = (
    (1.0, "w1", "invoke", "claim", {}),
    (1.1, "w1", "ok", "claim", {"job_id": "j1", "claim_id": "c1"}),
)
ON_CLAIM = {"job_id": "j1", "claim_id": "c1"}
CRASH = ("w1", "info", "crash", {})
PHASES = {
    Phase.IDLE: ((0.5, "w1", "info", "open", {}), (1.0, *CRASH)),
    Phase.ENQUEUE: ((1.0, "w1", "invoke", "enqueue", {"job_id": "j1"}), (1.1, *CRASH)),
    Phase.CLAIM: ((1.0, "w1", "invoke", "claim", {}), (1.1, *CRASH)),
    Phase.BEFORE_EFFECT: (*CLAIM, (1.2, *CRASH)),
    Phase.HOLDING: (*CLAIM, (1.4, *CRASH)),
    Phase.ACK: (*CLAIM, (1.4, "w1", "invoke", "ack", ON_CLAIM), (1.5, *CRASH)),
    Phase.RELEASE: (*CLAIM, (1.4, "w1", "invoke", "release", ON_CLAIM), (1.5, *CRASH)),
    Phase.EXTEND: (*CLAIM, (1.4, "w1", "invoke", "extend", ON_CLAIM), (1.5, *CRASH)),
    Phase.RECLAIM: (*CLAIM, (2.3, "w2", "invoke", "claim", {}), (2.4, "w2", "info", "crash", {})),
    Phase.RECOVERY: ((0.5, "w1", "info", "crash", {"value": "exit 1"}), (1.0, *CRASH)),
    Phase.SWEEP: ((0.5, "w1", "info", "sweep", {}), (1.0, *CRASH)),
}


@pytest.mark.scenario("stress/each-phase-is-told-apart")
@pytest.mark.parametrize("phase", Phase)
def test_a_strike_counts_in_its_phase(phase):
    """A kill counts in the phase that the worker's own events and side effects show."""
    struck = matrix(history(*PHASES[phase]), [begun("w1", 1.3)])

    assert struck == {cell(Fault.KILL, phase): 1}


def test_a_claim_while_no_lease_has_ended_is_no_reclaim():
    """Until the lease and the clocks' difference are over, a claim takes nothing over."""
    struck = matrix(
        history(*CLAIM, (2.1, "w2", "invoke", "claim", {}), (2.15, "w2", "info", "crash", {})), []
    )

    assert struck == {cell(Fault.KILL, Phase.CLAIM): 1}


def test_the_first_operation_of_a_replacement_is_recovery():
    """A replaced worker recovers until its first operation is over."""
    struck = matrix(
        history(
            (1.0, *CRASH),
            (1.1, "w1", "info", "open", {}),
            (1.2, "w1", "invoke", "claim", {}),
            (1.3, "w1", "info", "io-error", {"value": "EIO|os.rename"}),
            (1.4, "w1", "ok", "claim", {}),
            (1.5, "w1", "info", "pause", {}),
        ),
        [],
    )

    assert struck == {
        cell(Fault.KILL, Phase.IDLE): 1,
        cell(Fault.IO_ERROR, Phase.RECOVERY): 1,
        cell(Fault.PAUSE, Phase.IDLE): 1,
    }


def test_what_is_no_fault_counts_nothing():
    """A worker that ended by itself or after the faults, and a drift's other end, are no strikes."""
    struck = matrix(
        history(
            (1.0, "w1", "info", "crash", {"value": "exit 1"}),
            (1.1, "w2", "info", "clock", {"value": "0.05"}),
            (1.1, "w2", "info", "clock", {"value": "0.1"}),
            (1.2, "drain", "info", "heal", {}),
            (1.3, "w2", "info", "crash", {}),
        ),
        [],
    )

    assert struck == {cell(Fault.SKEW, Phase.IDLE): 1}


@pytest.mark.scenario("stress/an-empty-cell")
def test_an_empty_cell_is_named():
    """What was struck too seldom is named; `nightly` asks for thirty times."""
    full = dict.fromkeys((cell(*each) for each in applicable({Fault.KILL}, TERMS)), 1)
    lacking = full | {cell(Fault.KILL, Phase.ACK): 0}

    assert empty(full, {Fault.KILL}, TERMS, needed=NEEDED["ci"]) == []
    assert empty(lacking, {Fault.KILL}, TERMS, needed=NEEDED["ci"]) == [(Fault.KILL, Phase.ACK)]
    assert empty(full, {Fault.KILL}, TERMS, needed=NEEDED["nightly"]) == applicable({Fault.KILL}, TERMS)


def test_what_can_not_be_struck_is_not_asked_for():
    """What a queue does not offer can't be struck; and storage fails only where the queue's code runs."""
    terms = Terms(lease=False, release=False, extend=False)
    asked = {phase for _, phase in applicable({Fault.IO_ERROR}, terms)}

    assert asked == {Phase.ENQUEUE, Phase.CLAIM, Phase.ACK}
    assert {phase for _, phase in applicable({Fault.KILL}, TERMS)} == set(Phase) - {Phase.SWEEP}
    swept = replace(TERMS, sweeps=True)
    assert {phase for _, phase in applicable({Fault.KILL}, swept)} == set(Phase)


@pytest.mark.scenario("stress/a-fault-that-was-not-chosen")
def test_what_was_not_chosen_is_not_asked_for():
    """Where only kills were chosen wrong clocks are told, not asked for; all that kills bring about is."""
    seen = {
        "empty claims": 3,
        "runs with skewed clocks": 0,
        "workers dead between operations": 1,
        "kills inside ack": 2,
    }
    found = Evidence(invariant="not-vacuous", seen=seen, inside=("kills inside ack",))

    verdict = exercised(found, {"kill"})
    lacking = exercised(replace(found, seen=seen | {"kills inside ack": 0}), {"kill"})

    assert verdict.verdict is Finding.HOLDS
    assert verdict.sentence.endswith("; skew not chosen, so not asked for: runs with skewed clocks")
    assert lacking.verdict is Finding.VACUOUS
    assert lacking.sentence.startswith("not seen: kills inside ack")
    assert exercised(found, {"kill", "skew"}).verdict is Finding.VACUOUS


def test_what_any_fault_brings_about_is_always_asked_for():
    """A run without empty claims is vacuous, whatever was chosen; and without faults coverage is."""
    found = Evidence(invariant="not-vacuous", seen={"empty claims": 0, "kills inside ack": 0})

    assert exercised(found, ()).verdict is Finding.VACUOUS
    assert coverage_verdict(Record(), needed=1).verdict is Finding.VACUOUS
