"""Does each invariant reject its smallest broken history, and no other invariant's query with it?"""

import pytest

from ssq_verify.invariants import INVARIANTS, exercised, invariant, undecided, violations
from ssq_verify.notation import h, items

IMPLIED = {"no-early-reclaim": {"single-claimer"}}
"""What is broken too, always: a job that is taken inside another's lease has two claimers."""


def broken_by(line, terms):
    """Return the invariants whose queries reject the history."""
    history = h(*items(line), terms=terms)
    return {each.id for each in INVARIANTS if violations(history, each.id)}


def case(name, *, scenario):
    """Return an invariant as a parameter, marked with its scenario."""
    return pytest.param(name, marks=scenario, id=name)


BROKEN = [
    case("single-claimer", scenario=pytest.mark.scenario("invariants/two-claims-valid-at-one-instant")),
    case("no-early-reclaim", scenario=pytest.mark.scenario("invariants/a-dead-holder-s-lease-is-cut-short")),
    case("fencing", scenario=pytest.mark.scenario("invariants/a-superseded-claim-is-acked")),
    case("bounded-retries", scenario=pytest.mark.scenario("invariants/an-attempt-is-not-counted")),
    case("no-lost-job", scenario=pytest.mark.scenario("invariants/a-job-is-gone-after-the-drain")),
    case("no-resurrection", scenario=pytest.mark.scenario("invariants/an-acked-job-comes-back")),
    case("integrity", scenario=pytest.mark.scenario("invariants/a-job-that-nobody-enqueued-so")),
    case("reclaim-on-expiry", scenario=pytest.mark.scenario("invariants/an-expired-job-is-starved")),
    case("progress", scenario=pytest.mark.scenario("invariants/nothing-found-where-something-is")),
    case("back-off", scenario=pytest.mark.scenario("invariants/a-released-job-rests-too-short")),
    case("order", scenario=pytest.mark.scenario("invariants/a-younger-job-first")),
    case("durable", scenario=pytest.mark.scenario("invariants/an-enqueue-or-an-ack-is-undone-by-power-loss")),
]
ACCEPTED = [
    case("single-claimer", scenario=pytest.mark.scenario("invariants/claimed-again-after-the-lease")),
    case("no-early-reclaim", scenario=pytest.mark.scenario("invariants/claimed-again-after-a-release")),
    case("fencing", scenario=pytest.mark.scenario("invariants/a-superseded-claim-is-refused")),
    case("bounded-retries", scenario=pytest.mark.scenario("invariants/a-new-incarnation-counts-anew")),
    case("no-lost-job", scenario=pytest.mark.scenario("invariants/a-killed-claim-used-an-attempt")),
    case("no-resurrection", scenario=pytest.mark.scenario("invariants/an-acked-job-is-enqueued-again")),
    case("integrity", scenario=pytest.mark.scenario("invariants/a-job-comes-as-it-was-enqueued")),
    case("reclaim-on-expiry", scenario=pytest.mark.scenario("invariants/reclaimed-in-time")),
    case("progress", scenario=pytest.mark.scenario("invariants/nothing-found-beside-an-enqueue")),
    case("back-off", scenario=pytest.mark.scenario("invariants/a-released-job-rests")),
    case("order", scenario=pytest.mark.scenario("invariants/two-enqueues-at-once")),
    case("durable", scenario=pytest.mark.scenario("invariants/a-claim-may-be-undone-by-power-loss")),
]


@pytest.mark.parametrize("name", BROKEN)
def test_rejects_its_smallest_broken_histories(name):
    """Its own query rejects them; other queries do not, so that the name says what is wrong."""
    for line in invariant(name).broken:
        assert broken_by(line, invariant(name).terms) == {name} | IMPLIED.get(name, set()), line


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepts_its_smallest_accepted_histories(name):
    """No query accuses them, and there was something to judge."""
    for line in invariant(name).accepted:
        history = h(*items(line), terms=invariant(name).terms)

        assert broken_by(line, invariant(name).terms) == set(), line
        assert exercised(history, name) > 0, line
        assert undecided(history, name) is None


@pytest.mark.scenario("invariants/a-sentence-and-a-witness")
@pytest.mark.parametrize("name", [each.id for each in INVARIANTS if "violations" in each.queries])
def test_a_violation_is_said_and_shown(name):
    """A violation has a sentence in plain words and a witness of at most four events, in order."""
    for line in invariant(name).broken:
        found = violations(h(*items(line), terms=invariant(name).terms), name)[0]

        assert " s" in found.sentence
        assert " w" in f" {found.sentence}" or "job j1" in found.sentence
        assert 1 <= len(found.witness) <= 4
        assert [event.index for event in found.witness] == sorted(event.index for event in found.witness)


@pytest.mark.parametrize("each", INVARIANTS, ids=lambda each: each.id)
def test_every_file_says_what_it_must(each):
    """Requirement, soundness, usual bug, and both examples stand in the header of every file."""
    assert each.requirement
    assert each.sound_because
    assert each.usual_bug
    assert each.holds
    assert each.vacuous
    assert each.broken
    assert each.accepted
    assert each.not_offered or each.offered_if == "true"


def test_an_unknown_invariant_is_refused_by_name():
    """The message says which there are."""
    with pytest.raises(KeyError, match="name one of single-claimer, "):
        violations(h(), "no-such")


def test_a_limit_keeps_the_first():
    """Of many violations as many are returned as were asked for."""
    line = [item for n in range(9) for item in (f"w1 claim j{n}#1", f"w1 ack j{n}#1")]

    assert len(violations(h(*line), "integrity", limit=4)) == 4
