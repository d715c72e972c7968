"""The model: the state diagram row by row, and its own rules explored exhaustively at small scope."""

import pytest

from ssq_verify import exploration, small_scope
from ssq_verify.exploration import TIMED, WATCHED, explore, summary
from ssq_verify.history import EventType, Operation, Terms
from ssq_verify.model import JobState, Phase, contract, step
from ssq_verify.small_scope import LONG_AGO, Record

OK, FAIL, INFO = EventType.OK, EventType.FAIL, EventType.INFO
TERMS = Terms(lease_ttl_seconds=10e-9, max_attempts=2)
"""A lease of ten nanoseconds, so that times below read as they are."""
ABSENT, QUEUED, CLAIMED, DEAD = (
    JobState(phase, attempt=1, claim_id="c1", lease_end_ns=10) for phase in Phase
)
LAST = JobState(Phase.CLAIMED, attempt=2, claim_id="c2", lease_end_ns=10)


def operation(f: str, outcome: EventType = OK, *, at: int = 5, claim: str = "c1", attempt: int | None = None):
    """Return an operation that is called and returns at one instant."""
    return Operation(
        run=0,
        worker="w1",
        f=f,
        job_id="j1",
        claim_id=claim,
        attempt=attempt,
        value=None,
        outcome=outcome,
        error=None,
        inv_ns=at,
        ret_ns=at,
        inv_index=0,
        ret_index=1,
    )


@pytest.mark.parametrize(
    ("before", "does", "after"),
    [
        (ABSENT, operation("enqueue"), Phase.QUEUED),
        (QUEUED, operation("enqueue"), Phase.QUEUED),
        (CLAIMED, operation("enqueue"), Phase.CLAIMED),
        (DEAD, operation("enqueue"), Phase.DEAD),
        (ABSENT, operation("claim"), None),
        (QUEUED, operation("claim"), Phase.CLAIMED),
        (CLAIMED, operation("claim", at=10), None),
        (CLAIMED, operation("claim", at=11), Phase.CLAIMED),
        (LAST, operation("claim", at=11), None),
        (DEAD, operation("claim"), None),
        (ABSENT, operation("ack"), None),
        (QUEUED, operation("ack"), None),
        (CLAIMED, operation("ack"), Phase.ABSENT),
        (CLAIMED, operation("ack", at=99), Phase.ABSENT),
        (CLAIMED, operation("ack", claim="c0"), None),
        (DEAD, operation("ack"), None),
        (CLAIMED, operation("release"), Phase.QUEUED),
        (LAST, operation("release", claim="c2"), Phase.DEAD),
        (CLAIMED, operation("release", claim="c0"), None),
        (CLAIMED, operation("extend"), Phase.CLAIMED),
        (CLAIMED, operation("extend", claim="c0"), None),
        (QUEUED, operation("extend"), None),
        (CLAIMED, operation("ack", FAIL), None),
        (CLAIMED, operation("ack", FAIL, at=11), None),
        (LAST, operation("ack", FAIL, claim="c2"), None),
        (LAST, operation("ack", FAIL, claim="c2", at=11), Phase.DEAD),
        (CLAIMED, operation("ack", FAIL, claim="c0"), Phase.CLAIMED),
        (QUEUED, operation("release", FAIL), Phase.QUEUED),
        (DEAD, operation("requeue"), Phase.QUEUED),
        (LAST, operation("requeue", at=11), Phase.QUEUED),
        (LAST, operation("requeue", at=10), None),
        (CLAIMED, operation("requeue", at=11), None),
        (DEAD, operation("requeue", FAIL), None),
        (QUEUED, operation("requeue", FAIL), Phase.QUEUED),
        (DEAD, operation("dead"), Phase.DEAD),
        (QUEUED, operation("dead"), None),
        (CLAIMED, operation("ack", INFO), Phase.ABSENT),
    ],
)
def test_a_row_of_the_state_diagram(before, does, after):
    """From each state, each operation leads where the diagram says, or nowhere."""
    state = step(before, does, contract(TERMS))

    assert (None if state is None else state.phase) == after


def test_a_claim_counts_the_attempt_and_starts_the_lease_from_its_call():
    """The lease's earliest end is ttl after the call, the latest ttl, 2E and a unit after the return."""
    terms = Terms(lease_ttl_seconds=10e-9, max_clock_skew_seconds=3e-9, time_resolution_seconds=2e-9)

    state = step(JobState(Phase.QUEUED, payload="YQ=="), operation("claim", at=5, attempt=1), contract(terms))

    assert state is not None
    assert (state.attempt, state.payload, state.claim_id) == (1, "YQ==", "c1")
    assert (state.lease_end_ns, state.lease_end_latest_ns) == (15, 23)


def test_a_requeued_job_is_a_new_incarnation_with_its_payload():
    """All attempts are there again; what was enqueued is kept."""
    dead = JobState(Phase.DEAD, attempt=2, payload="YQ==")

    assert step(dead, operation("requeue"), contract(TERMS)) == JobState(Phase.QUEUED, 5, payload="YQ==")


@pytest.mark.scenario("invariants/the-model-s-own-rules-are-enough")
@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_within_e_no_run_breaks_an_invariant(offset):
    """Of two workers and two jobs, in no run of any length, with clocks at most E apart, anything breaks."""
    found = explore(offset)

    assert found.within
    assert found.broken == {}
    assert found.states > 50_000


@pytest.mark.scenario("invariants/the-model-s-own-rules-are-enough")
@pytest.mark.parametrize("offset", [-2, 2])
def test_beyond_e_only_what_rests_on_clocks_breaks(offset):
    """One tick beyond E a job is held twice; nothing is lost, and only the current claim's ack counts."""
    found = explore(offset)

    assert not found.within
    assert {"single-claimer", "no-early-reclaim"} <= set(found.broken) <= TIMED
    assert found.states > 50_000


def test_the_shortest_run_beyond_e_is_told(monkeypatch):
    """Five moves and two ticks are enough to hold a job twice; the summary tells them."""
    for module in (exploration, small_scope):
        monkeypatch.setattr(module, "JOBS", ("j1",))

    text = summary((explore(1), explore(2)))

    assert "second clock +1 (within E): " in text
    assert "broken: none" in text
    assert "broken: single-claimer, no-early-reclaim" in text
    assert (
        "single-claimer, second clock +2:\n"
        "  0  both jobs are enqueued\n"
        "  0  w1 calls claim\n"
        "  2  w1 is given j1, attempt 1\n"
        "  2  w2 calls claim\n"
        "  2  w2 is given j1, attempt 2\n"
        "  2  j1 is in two hands"
    ) in text


handed_out, given_back = small_scope._handed_out, small_scope._given_back


def impatient(records, clock, called):
    """Wait a tick less than E."""
    return handed_out(records, clock + 1, called)


def uncounted(records, clock, called):
    """Give a job out as its first attempt, ever again."""
    after, job = handed_out(records, clock, called)
    if job is None:
        return after, job
    first = Record(Phase.CLAIMED, 1, after[job].due)
    return small_scope._replaced(after, job, first), job


def forgetful(records, clock, called):
    """Never look at expired leases."""
    after, job = handed_out(
        tuple(Record(Phase.DEAD) if r.phase is Phase.CLAIMED else r for r in records), clock, called
    )
    kept = tuple(b if b.phase is Phase.CLAIMED else a for a, b in zip(after, records, strict=True))
    return kept, job


def restless(record, f, clock):
    """Release without a rest."""
    back = given_back(record, f, clock)
    return Record(back.phase, back.attempt, LONG_AGO) if f == "release" else back


def careless(record, f, clock):
    """Lose what is released."""
    return Record(Phase.ABSENT) if f == "release" else given_back(record, f, clock)


def undead(record, f, clock):
    """Put back what was acked."""
    return Record(Phase.QUEUED, record.attempt) if f == "ack" else given_back(record, f, clock)


def by_job(record, _call):
    """Take any ack as the holder's."""
    return record.phase is Phase.CLAIMED


@pytest.mark.parametrize(
    ("invariant", "rule", "broken_rule"),
    [
        ("single-claimer", "_handed_out", impatient),
        ("no-early-reclaim", "_handed_out", impatient),
        ("fencing", "_is_current", by_job),
        ("bounded-retries", "_handed_out", uncounted),
        ("no-lost-job", "_given_back", careless),
        ("no-resurrection", "_given_back", undead),
        ("progress", "_handed_out", forgetful),
        ("back-off", "_given_back", restless),
    ],
)
def test_the_exploration_sees_each_invariant_break(invariant, rule, broken_rule, monkeypatch):
    """With one rule broken, the invariant that rests on it breaks within E: the exploration can fail."""
    for module in (exploration, small_scope):
        monkeypatch.setattr(module, "JOBS", ("j1",))
    monkeypatch.setattr(small_scope, rule, broken_rule)

    assert invariant in explore(1).broken


def test_each_invariant_that_is_watched_was_seen_to_break():
    """The list above leaves none out."""
    marks = test_the_exploration_sees_each_invariant_break.pytestmark
    (cases,) = (mark.args[1] for mark in marks if mark.name == "parametrize")

    assert {invariant for invariant, _, _ in cases} == set(WATCHED)
