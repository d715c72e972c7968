"""Where does certainty about jobs that wait or are gone end? Histories just inside and outside of it."""

import pytest

from edges import HELD, is_broken
from ssq_verify.history import Terms
from ssq_verify.invariants import undecided, violations
from ssq_verify.notation import h


@pytest.mark.parametrize(
    ("line", "terms", "broken"),
    [
        pytest.param("w1 enqueue j1; heal; drained", {}, True, id="never given out"),
        pytest.param("w1 enqueue j1 ?; heal; drained", {}, False, id="perhaps never enqueued"),
        pytest.param("w1 enqueue j1 !away; heal; drained", {}, False, id="certainly never enqueued"),
        pytest.param(
            "w1 enqueue j1; heal; w1 claim j1#1; w1 ack j1#1 !away; drained",
            {},
            True,
            id="certainly not acked",
        ),
        pytest.param("w1 enqueue j1; drained", {}, False, id="not after the faults"),
        pytest.param(
            "w1 enqueue j1; heal; w1 claim j1#1; w1 ack j1#1 ?; drained", {}, False, id="perhaps acked"
        ),
        pytest.param("w1 enqueue j1; heal; drained; dead j1", {}, False, id="dead"),
        pytest.param("w1 enqueue j1; heal; drained; next run; dead j1", {}, True, id="dead in another run"),
        pytest.param(
            "w1 enqueue j1; w1 claim j1#1; heal; drained",
            {"max_attempts": 1, "dead_letters": False},
            False,
            id="spent",
        ),
        pytest.param(
            "w1 enqueue j1; w1 claim j1#1; heal; drained", {"max_attempts": 1}, True, id="not listed as dead"
        ),
        pytest.param(
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w1 enqueue j1; heal; drained",
            {},
            True,
            id="second life lost",
        ),
        pytest.param(
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 <; w2 enqueue j1; w1 >; heal; drained",
            {},
            False,
            id="enqueued beside the ack",
        ),
        pytest.param(
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 ack j1#1; heal; drained",
            {},
            True,
            id="a stale ack accounts for nothing",
        ),
        pytest.param(
            "w1 enqueue j1; w1 claim j1#1; w1 dies; heal; drained",
            {"lease": False},
            False,
            id="held without leases",
        ),
        pytest.param(
            "w1 enqueue j1; w1 claim dies; heal; drained", {"lease": False}, False, id="killed in a claim"
        ),
        pytest.param(
            "w1 enqueue j1; w1 claim dies; heal; drained",
            {"lease": False, "lists_jobs": True},
            True,
            id="killed in a claim, and in no list",
        ),
        pytest.param(
            "w1 enqueue j1; w1 claim dies; heal; drained; present j1",
            {"lease": False, "lists_jobs": True},
            False,
            id="killed in a claim, and still there",
        ),
        pytest.param(
            "w1 enqueue j1; heal; drained; present j1",
            {"lists_jobs": True},
            True,
            id="there and not given out",
        ),
        pytest.param("w1 enqueue j1; power-loss; heal; drained", {}, False, id="for durable to judge"),
        pytest.param(
            "w2 claim -; power-loss; w1 enqueue j1; heal; drained", {}, True, id="enqueued after the loss"
        ),
    ],
)
def test_no_lost_job(line, terms, broken):
    """A job is lost only if nothing can account for it."""
    assert is_broken("no-lost-job", line, **terms) is broken


@pytest.mark.scenario("invariants/a-limit-of-the-drain-is-named")
def test_a_drain_that_was_cut_decides_nothing():
    """A job that may still be there is not lost; the limit is named."""
    history = h("w1 enqueue j1", "heal", "drain-cut 40 polls")

    assert violations(history, "no-lost-job") == ()
    assert undecided(history, "no-lost-job") == "run 0: the drain was cut after 40 polls"
    killed = h("w1 enqueue j1", "w1 claim dies", "heal", "drained", terms=Terms(lease=False))
    assert "has no leases" in undecided(killed, "no-lost-job")


def test_of_two_claims_the_one_that_was_called_first_may_hold_the_job():
    """It got the job when the other had given it back, and keeps it: without leases nothing is lost."""
    held = h(
        "w1 claim <",
        "w2 enqueue j1",
        "w2 claim j1",
        "w2 release j1",
        "w1 > j1",
        "heal",
        "drained",
        terms=Terms(lease=False),
    )
    assert violations(held, "no-lost-job") == ()


DEAD_HOLDER = HELD + "w1 dies; "


@pytest.mark.parametrize(
    ("line", "terms", "broken"),
    [
        pytest.param("+63s; w2 claim -", {"max_clock_skew_seconds": 2.0}, False, id="within the bound"),
        pytest.param("+64s; +2ms; w2 claim -", {"max_clock_skew_seconds": 2.0}, True, id="beyond the bound"),
        pytest.param("+60s; w2 claim -", {}, False, id="within the millisecond of coarse times"),
        pytest.param("+60s; +2ms; w2 claim -", {}, True, id="beyond that millisecond"),
        pytest.param("+60s; w2 claim -", {"time_resolution_seconds": 0.0}, True, id="times that are exact"),
        pytest.param("+61s; w2 claim -", {"time_resolution_seconds": 1.5}, False, id="times in seconds"),
        pytest.param("+61s; w2 claim -", {"max_attempts": 1}, False, id="a dead letter by now"),
        pytest.param("+61s; w3 claim <; w2 claim -; w3 > j1#2", {}, False, id="not quiet"),
        pytest.param(
            "+61s; w3 enqueue j9 <; w2 claim -; w3 >", {"spurious_empty": False}, True, id="never spurious"
        ),
        pytest.param("+61s; w3 enqueue j9 <; w2 claim -; w3 >", {}, False, id="perhaps spurious"),
        pytest.param("w2 claim ?; +61s; w2 claim -", {}, False, id="an unknown claim may have taken it"),
        pytest.param("+61s; w2 enqueue j2; w2 claim j2#1", {"order": None}, False, id="no order is promised"),
        pytest.param(
            "+61s; w2 enqueue j2; w2 claim j2#1", {"order": "fifo-relaxed"}, False, id="within the crew"
        ),
        pytest.param(
            "+61s; w2 enqueue j2; w2 enqueue j3; w2 enqueue j4; w2 claim j2#1; w2 claim j3#1; w2 claim j4#1",
            {"order": "fifo-relaxed"},
            True,
            id="more young ones than workers",
        ),
        pytest.param(
            "w2 enqueue j2; +61s; w2 claim j2#1", {}, False, id="the other was there before it expired"
        ),
        pytest.param("w2 clock +9s; +70s; w2 claim -", {}, False, id="clocks beyond the bound"),
        pytest.param("io-error; +61s; w2 claim -", {}, False, id="storage failed"),
    ],
)
def test_reclaim_on_expiry(line, terms, broken):
    """Only a poll that must have found the expired job is accused."""
    assert is_broken("reclaim-on-expiry", DEAD_HOLDER + line, **terms) is broken


def test_an_extend_puts_the_bound_off():
    """Heartbeats move the latest legal reclaim, even those of unknown outcome."""
    line = HELD + "+50s; w1 extend j1#1{}; +11s; w2 claim -"

    assert is_broken("reclaim-on-expiry", line.format(" !lost"))
    assert not is_broken("reclaim-on-expiry", line.format(""))
    assert not is_broken("reclaim-on-expiry", line.format(" ?"))


@pytest.mark.parametrize(
    ("line", "terms", "broken"),
    [
        pytest.param(HELD + "w1 release j1#1; +2ms; w2 claim -", {}, True, id="released"),
        pytest.param(HELD + "w1 release j1#1; w2 claim -", {}, False, id="released, by coarse times"),
        pytest.param(
            HELD + "w1 release j1#1; w2 claim -", {"time_resolution_seconds": 0.0}, True, id="exact times"
        ),
        pytest.param(
            HELD + "w1 release j1#1; w2 claim -", {"max_attempts": 1}, False, id="released and dead"
        ),
        pytest.param(
            HELD + "w1 release j1#1; w2 claim -", {"backoff_base_seconds": 5.0}, False, id="resting"
        ),
        pytest.param(
            HELD + "w1 release j1#1; +5s; +2ms; w2 claim -", {"backoff_base_seconds": 5.0}, True, id="rested"
        ),
        pytest.param(
            HELD + "w1 release j1#1; +5s; w2 claim -", {"backoff_base_seconds": 5.0}, False, id="just rested"
        ),
        pytest.param(HELD + "w2 claim -", {}, False, id="held"),
        pytest.param(HELD + "w1 ack j1#1; w1 enqueue j1; w2 claim -", {}, True, id="enqueued again"),
        pytest.param(HELD + "w1 ack j1#1 ?; w1 enqueue j1; w2 claim -", {}, False, id="perhaps never ended"),
        pytest.param(
            "w2 claim ?; w1 enqueue j1; w2 claim -", {}, False, id="an unknown claim may have taken it"
        ),
        pytest.param("w1 enqueue j1; w3 enqueue j2 <; w2 claim -; w3 >", {}, False, id="not quiet"),
        pytest.param("w1 enqueue j1; w3 enqueue j2 dies; w2 claim -", {}, True, id="the dead make no noise"),
        pytest.param("w1 claim !KeyError: 'state'", {}, True, id="an error of the queue's own"),
        pytest.param("w1 claim !QueueIOError: disk", {}, False, id="an error of the environment"),
        pytest.param("w1 claim !TimeoutError: too long", {}, False, id="a time-out"),
        pytest.param("io-error; w1 claim !KeyError: 'state'", {}, False, id="storage failed"),
        pytest.param("w1 ack j1#1 !KeyError: 'j1'", {}, False, id="an untyped refusal"),
        pytest.param("w2 claim <; w1 claim !KeyError: 'state'; w2 > -", {}, False, id="an error in a race"),
    ],
)
def test_progress(line, terms, broken):
    """Only an answer or an error that nothing else explains is accused."""
    assert is_broken("progress", line, **terms) is broken


@pytest.mark.parametrize(
    ("line", "terms", "broken"),
    [
        pytest.param("+7s; w2 claim j1#2", {}, False, id="within the clocks' difference"),
        pytest.param("+4s; w2 claim j1#2", {}, True, id="before it"),
        pytest.param("+4s; w2 claim j1#2", {"max_attempts": 1}, False, id="it was dead"),
        pytest.param("w1 requeue j1; w2 claim j1#1", {}, False, id="requeued"),
        pytest.param("power-loss; w2 claim j1#2", {}, False, id="a release undone by power loss"),
    ],
)
def test_back_off(line, terms, broken):
    """A rest is counted from the release's call, less the difference of two clocks."""
    terms = {"backoff_base_seconds": 8.0, "max_clock_skew_seconds": 2.0} | terms

    assert is_broken("back-off", HELD + "w1 release j1#1; " + line, **terms) is broken


def test_back_off_doubles():
    """The second rest is twice the first, up to the longest."""
    line = HELD + "w1 release j1#1; +8s; w1 claim j1#2; w1 release j1#2; +{}s; w1 claim j1#3"

    assert is_broken("back-off", line.format(15), backoff_base_seconds=8.0)
    assert not is_broken("back-off", line.format(16), backoff_base_seconds=8.0)
    assert not is_broken("back-off", line.format(10), backoff_base_seconds=8.0, backoff_max_seconds=10.0)


THREE = "w1 enqueue j1; w1 enqueue j2; w1 enqueue j3; "


@pytest.mark.parametrize(
    ("line", "order", "broken"),
    [
        pytest.param("w1 claim j3#1", "fifo", True, id="two passed over"),
        pytest.param("w1 claim j3#1", "fifo-relaxed", True, id="more than a crew of one"),
        pytest.param(
            "w2 claim -; w3 claim -; w1 claim j3#1", "fifo-relaxed", False, id="fewer than a crew of three"
        ),
        pytest.param("w2 claim <; w1 claim j2#1; w2 > j1#1", "fifo", False, id="taken at the same time"),
        pytest.param("w2 claim ?; w1 claim j2#1", "fifo", False, id="an unknown claim may have taken it"),
        pytest.param("w2 clock +1s; w1 claim j2#1", "fifo", False, id="clocks differ"),
        pytest.param(
            "w1 claim j1#1; w1 release j1#1; w1 claim j2#1", "fifo", False, id="released jobs are not judged"
        ),
    ],
)
def test_order(line, order, broken):
    """Only jobs that certainly waited all the while count as passed over."""
    assert is_broken("order", THREE + line, order=order, max_clock_skew_seconds=5.0) is broken


@pytest.mark.parametrize(
    ("line", "terms", "broken"),
    [
        pytest.param(
            "w1 enqueue j1 ?; power-loss; heal; drained", {}, False, id="an enqueue that had not returned"
        ),
        pytest.param("w1 enqueue j1; power-loss; drain-cut 3", {}, False, id="not drained"),
        pytest.param(
            HELD + "w1 ack j1#1 ?; power-loss; heal; w2 claim j1#2", {}, False, id="an ack not returned"
        ),
        pytest.param(
            HELD + "w1 ack j1#1; power-loss; w1 enqueue j1; w2 claim j1#1",
            {},
            False,
            id="enqueued again since",
        ),
        pytest.param("power-loss; w1 enqueue j1; heal; drained", {}, False, id="enqueued after the loss"),
        pytest.param(
            "w1 enqueue j1; power-loss; heal; drained; dead j1", {}, False, id="dead is accounted for"
        ),
    ],
)
def test_durable(line, terms, broken):
    """Only what had returned ok before the loss, and certainly does not hold after it, is accused."""
    assert is_broken("durable", line, **terms) is broken
