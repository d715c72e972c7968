"""Does the one-line language write the histories that it says?"""

import pytest

from ssq_verify.history import NEVER_NS, EventType
from ssq_verify.notation import InvalidNotation, h, items


def outcomes(*line):
    """Return what each operation was and how it ended."""
    return [(each.f, each.job_id, each.attempt, each.outcome.value) for each in h(*line).operations]


def test_each_item_is_an_operation_a_microsecond_after_the_last():
    """An invocation and its completion, each event one microsecond later."""
    history = h("w1 enqueue j1", "w1 claim j1#1")

    assert [event.time_ns for event in history.events] == [1_000, 2_000, 3_000, 4_000]


def test_time_passes():
    """`+61s`, `+3ms` and `+10us` move the clock for everybody."""
    history = h("w1 claim -", "+1s", "+3ms", "+10us", "w1 claim -")

    assert history.operations[1].inv_ns - history.operations[0].ret_ns == 1_003_011_000


def test_outcomes():
    """`!lost` certainly failed; another error, `?` and a death leave the outcome open."""
    line = ("w1 enqueue j1 !KeyError: no", "w1 claim ?", "w1 ack j1#2 !lost", "w1 release j1#2 dies")

    assert outcomes(*line) == [
        ("enqueue", "j1", None, "info"),
        ("claim", None, None, "info"),
        ("ack", "j1", 2, "fail"),
        ("release", "j1", 2, "info"),
    ]


def test_an_open_operation_overlaps_what_stands_between():
    """`<` calls, `>` returns."""
    first, second = h("w1 claim <", "w2 claim -", "w1 > j1#1").operations

    assert first.inv_ns < second.inv_ns < second.ret_ns < first.ret_ns
    assert first.job_id == "j1"


def test_a_death_leaves_an_open_operation_without_end():
    """A worker that dies in a call never returns."""
    (claim,) = h("w1 claim <", "w1 dies").operations

    assert claim.outcome is EventType.INFO
    assert claim.ret_ns == NEVER_NS


def test_a_claim_is_meant_by_what_is_written():
    """`j1#1` is the worker's own latest claim written so, else anybody's."""
    history = h("w1 claim j1#1", "w2 claim j1#1", "w1 ack j1#1", "w3 ack j1#1")

    assert [each.claim_id for each in history.operations] == ["c1", "c2", "c1", "c2"]


def test_a_payload_is_as_enqueued_unless_written():
    """A claim returns what the last enqueue sent, or what stands after `=`."""
    history = h("w1 enqueue j1 =a", "w1 claim j1#1", "w1 claim j1#2 =b")

    assert [each.value for each in history.operations] == ["YQ==", "YQ==", "Yg=="]


def test_faults_and_observations():
    """Faults and observations are single events; a new run starts afresh."""
    line = ("w1 dies", "w1 clock +2.5s", "power-loss", "next run", "heal", "drain-cut 9 polls", "dead j1")
    events = h(*line).events

    assert [(e.f, e.value or e.job_id, e.run) for e in events] == [
        ("crash", None, 0),
        ("clock", "+2.5", 0),
        ("power-loss", None, 0),
        ("heal", None, 1),
        ("drain-cut", "9 polls", 1),
        ("dead", "j1", 1),
    ]


@pytest.mark.parametrize("item", ["w1 fetch j1", "w1 claim", "w1 enqueue", "w1 > j1#1", "+5 minutes"])
def test_an_unknown_item_is_refused(item):
    """The message names the item."""
    with pytest.raises(InvalidNotation, match="for the language") as refused:
        h(item)

    assert refused.value.item == item


def test_items_are_parted_by_semicolons():
    """A line in a SQL header is items between semicolons."""
    assert items("w1 enqueue j1; +1s;w1 claim -") == ("w1 enqueue j1", "+1s", "w1 claim -")
