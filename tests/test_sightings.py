"""Is each situation counted when it is there, and not when it is not?"""

import msgspec
import pytest

from ssq_verify.history import INHERITED, History, Terms, joined
from ssq_verify.notation import h, items
from ssq_verify.sightings import Sighting, executions_max, sightings

TERMS = Terms(lease_ttl_seconds=60, max_clock_skew_seconds=2, max_attempts=2, backoff_base_seconds=5)
TAKEN_OVER = "w1 enqueue j1; w1 claim j1#1; +63s; w2 claim j1#2"
OVER = f"{TAKEN_OVER}; w2 ack j1#2"

THERE_AND_NOT = [
    (Sighting.AGED, "w1 enqueue j1; +61s; w1 claim j1#1", "w1 enqueue j1; +59s; w1 claim j1#1"),
    (
        Sighting.ACK_LATE,
        "w1 enqueue j1; w1 claim j1#1; +61s; w1 ack j1#1",
        "w1 claim j1#1; +59s; w1 ack j1#1",
    ),
    (Sighting.RELEASE_LATE, "w1 claim j1#1; +61s; w1 release j1#1", "w1 claim j1#1; w1 release j1#1"),
    (
        Sighting.EXTEND_LATE,
        "w1 claim j1#1; +61s; w1 extend j1#1",
        "w1 claim j1#1; +59s; w1 extend j1#1; +59s; w1 extend j1#1",
    ),
    (Sighting.ACK_SUPERSEDED, f"{TAKEN_OVER}; w1 ack j1#1 !lost", f"{OVER}; w1 ack j1#1 !lost"),
    (Sighting.RELEASE_SUPERSEDED, f"{TAKEN_OVER}; w1 release j1#1", f"{TAKEN_OVER}; w2 release j1#2"),
    (Sighting.EXTEND_SUPERSEDED, f"{TAKEN_OVER}; w1 extend j1#1 ?", f"{OVER}; w1 extend j1#1 ?"),
    (Sighting.ACK_AFTER_ACK, f"{OVER}; w1 ack j1#1 !lost", f"{TAKEN_OVER}; w1 ack j1#1 !lost"),
    (Sighting.RELEASE_AFTER_ACK, f"{OVER}; w1 release j1#1", f"{OVER}; w2 release j1#2 !lost"),
    (Sighting.EXTEND_AFTER_ACK, f"{OVER}; w1 extend j1#1", f"{TAKEN_OVER}; w1 extend j1#1"),
    (Sighting.RECLAIM, TAKEN_OVER, "w1 claim j1#1; w1 release j1#1; +63s; w2 claim j1#2"),
    (Sighting.RECLAIM_SOON, "w1 claim j1#1; +63s; w2 claim j1#2", "w1 claim j1#1; +65s; w2 claim j1#2"),
    (Sighting.RECLAIM_AT_ONCE, "w1 claim j1#1; +62s; w2 claim j1#2", "w1 claim j1#1; +63s; w2 claim j1#2"),
    (
        Sighting.RECLAIM_OF_HEARTBEAT,
        "w1 claim j1#1; w1 extend j1#1; w1 extend j1#1; +63s; w2 claim j1#2",
        "w1 claim j1#1; w1 extend j1#1; w1 extend j1#1 ?; +63s; w2 claim j1#2",
    ),
    (
        Sighting.RECLAIM_IN_CLAIM,
        "w1 claim j1#1; +63s; w3 claim <; w2 claim j1#2; w3 > -",
        "w1 claim j1#1; +63s; w3 claim -; w2 claim j1#2",
    ),
    (
        Sighting.RECLAIM_IN_ACK,
        "w1 claim j1#1; +63s; w1 ack j1#1 <; w2 claim j1#2; w1 > !lost",
        "w1 claim j1#1; +63s; w2 claim j1#2; w1 ack j1#1 !lost",
    ),
    (
        Sighting.RECLAIM_IN_RELEASE,
        "w1 claim j1#1; +63s; w2 claim <; w1 release j1#1 <; w2 > j1#2; w1 > !lost",
        "w1 claim j1#1; +63s; w1 release j1#1 <; w2 claim -; w1 >",
    ),
    (
        Sighting.RECLAIM_IN_EXTEND,
        "w1 claim j1#1; +63s; w1 extend j1#1 <; w2 claim j1#2; w1 > !lost",
        "w1 claim j1#1; +63s; w1 extend j1#1 <; w2 claim j2#1; w1 >",
    ),
    (
        Sighting.RECLAIM_IN_ENQUEUE,
        "w1 claim j1#1; +63s; w1 enqueue j2 <; w2 claim j1#2; w1 >",
        "w1 claim j1#1; +63s; w1 enqueue j2; w2 claim j1#2",
    ),
    (
        Sighting.TWO_RECLAIMS,
        "w1 claim j1#1; w1 claim j2#1; +63s; w2 claim <; w3 claim <; w2 > j1#2; w3 > j2#2",
        "w1 claim j1#1; w1 claim j2#1; +63s; w2 claim <; w3 claim <; w2 > j1#2; w3 > j3#1",
    ),
    (Sighting.TWO_CLAIMS, "w1 claim <; w2 claim -; w1 > -", "w1 claim -; w2 claim -"),
    (
        Sighting.OVERTAKEN,
        "w1 claim <; w2 claim j1#1; w2 release j1#1; w1 > j1#2",
        "w2 claim j1#1; w1 claim <; w2 release j1#1; w1 > j1#2",
    ),
    (Sighting.ENQUEUE_BESIDE_CLAIM, "w1 enqueue j1 <; w2 claim -; w1 >", "w1 enqueue j1; w2 claim j1#1"),
    (Sighting.TWO_ENQUEUES, "w1 enqueue j1 <; w2 enqueue j2; w1 >", "w1 enqueue j1; w2 enqueue j2"),
    (
        Sighting.TWO_OF_ONE_JOB,
        "w1 enqueue j1 <; w2 enqueue j1; w1 >",
        "w1 enqueue j1 <; w2 enqueue j2; w1 >",
    ),
    (Sighting.ENQUEUE_OF_HELD, "w1 claim j1#1; w2 enqueue j1", "w1 claim j1#1; w1 ack j1#1; w2 enqueue j1"),
    (
        Sighting.ENQUEUE_BESIDE_ACK,
        "w1 claim j1#1; w1 ack j1#1 <; w2 enqueue j1; w1 >",
        "w1 claim j1#1; w1 ack j1#1 <; w2 enqueue j2; w1 >",
    ),
    (
        Sighting.OTHERS_IN_ACK,
        "w1 claim j1#1; w1 ack j1#1 <; w2 enqueue j2; w1 >",
        "w1 claim j1#1; w1 ack j1#1 <; w2 enqueue j1; w1 >",
    ),
    (
        Sighting.OPEN_OVER_LEASES,
        "w1 enqueue j1; w1 claim j1#1; w2 opens",
        "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w2 opens",
    ),
    (Sighting.OPEN_OVER_BACKLOG, "w1 enqueue j1; +61s; w2 opens", "w1 enqueue j1; w2 opens"),
    (Sighting.HOLDER_DIED, "w1 claim j1#1; w1 ack j1#1 dies", "w1 claim j1#1; w1 ack j1#1; w1 dies"),
    (Sighting.SECOND_HOLDER_DIED, f"{TAKEN_OVER}; w2 dies", "w1 enqueue j1; w1 claim j1#1; w1 dies"),
    (
        Sighting.EVERY_HOLDER_DIED,
        "w1 claim j1#1; w1 dies; +63s; w2 claim j1#2; w2 dies",
        "w1 claim j1#1; w1 dies; +63s; w2 claim j1#2; w2 ack j1#2",
    ),
    (
        Sighting.DEAD_BY_RELEASE,
        "w1 claim j1#2; w1 release j1#2; dead j1",
        "w1 claim j1#2; w1 dies; dead j1",
    ),
    (Sighting.DEAD_BY_EXPIRY, "w1 claim j1#2; w1 dies; dead j1", "w1 claim j1#2; w1 release j1#2; dead j1"),
    (Sighting.REQUEUED, "w1 requeue j1", "w1 requeue j1 !lost"),
    (
        Sighting.POLL_IN_REST,
        "w1 claim j1#1; w1 release j1#1; +4s; w2 claim -",
        "w1 claim j1#1; w1 release j1#1; +6s; w2 claim -",
    ),
    (
        Sighting.RESTED,
        "w1 claim j1#1; w1 release j1#1; +6s; w2 claim j1#2",
        "w1 claim j1#1; w1 release j1#1; +4s; w2 claim j1#2",
    ),
    (Sighting.CLOCK_WITHIN, "w1 clock +1s", "w1 clock +2s"),
    (Sighting.CLOCK_AT, "w1 clock -2s", "w1 clock +0s"),
    (Sighting.CLOCK_BEYOND, "w1 clock +2.000001s", "w1 clock +2s"),
    (Sighting.CLOCK_OF_HOLDER, "w1 claim j1#1; w1 clock +1s", "w1 claim j1#1; w2 clock +1s"),
]


def seen(line):
    """Return what a history in a line shows."""
    return sightings(h(*items(line), terms=TERMS))


@pytest.mark.scenario("simulation/counts-of-situations")
@pytest.mark.parametrize(("sighting", "there", "not_there"), THERE_AND_NOT)
def test_a_situation_is_counted_only_where_it_is(sighting, there, not_there):
    """The first history has the situation once, the second, much like it, not at all."""
    assert seen(there)[sighting] == 1
    assert sighting not in seen(not_there)


def test_a_move_to_another_time_zone_is_counted():
    """The language of these histories has no word for it; the event is one that stands for itself."""
    (opened,) = h("w1 opens").events
    moved = msgspec.structs.replace(opened, f="zone", value="Etc/GMT+12")

    assert sightings(History(events=(moved,))) == {Sighting.OTHER_ZONE: 1}


def test_a_clock_that_jumps_to_and_fro_is_counted():
    """So is this event: the errors between which the clock jumps stand in others."""
    (opened,) = h("w1 opens").events
    strobing = msgspec.structs.replace(opened, f="strobe", value="1.0")

    assert sightings(History(events=(strobing,))) == {Sighting.CLOCK_STROBES: 1}


def test_a_handle_that_crosses_a_fork_is_counted():
    """An `open` that says so is one, another is not."""
    (opened,) = h("w1 opens").events
    forked = msgspec.structs.replace(opened, value=INHERITED)

    assert sightings(History(events=(forked,))) == {Sighting.FORKED: 1}
    assert sightings(History(events=(opened,))) == {}


def test_every_situation_is_tested():
    """None of the counts is left out above."""
    assert {sighting for sighting, _, _ in THERE_AND_NOT} == set(Sighting) - {
        Sighting.OTHER_ZONE,
        Sighting.CLOCK_STROBES,
        Sighting.FORKED,
    }


def test_executions_are_counted_by_incarnation():
    """A job that was acked and came back is another; one that nobody got is not counted."""
    counted = seen(f"{OVER}; w1 enqueue j1; w1 claim j1#1; w1 enqueue j2")

    assert {name: count for name, count in counted.items() if name.startswith("jobs handed out")} == {
        "jobs handed out once": 1,
        "jobs handed out twice": 1,
    }
    assert executions_max(counted) == 2
    assert executions_max(seen("w1 enqueue j1")) == 0


@pytest.mark.parametrize(
    "line",
    [
        "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 <; w2 enqueue j1; w1 >; w2 claim j1#1",
        "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w2 enqueue j1 dies; w1 claim j1#1",
        "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 dies; w2 enqueue j1; w2 claim j1#1",
        "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 ?; w2 enqueue j1; w2 claim j1#1",
        "w1 enqueue j1; w1 claim j1#2; w1 release j1#2; w2 requeue j1 dies; w1 claim j1#1",
    ],
)
def test_what_may_be_another_incarnation_is_not_counted_as_the_same(line):
    """An enqueue beside an ack, and what never returned, may have begun another."""
    assert executions_max(seen(line)) == 1


def test_each_run_is_seen_by_itself():
    """A job of one run and a holder of another have nothing to do with each other."""
    runs = [h(*items(line), terms=TERMS) for line in (TAKEN_OVER, "w1 ack j1#1", TAKEN_OVER)]

    assert sightings(joined(runs)) == sightings(runs[0]) + sightings(runs[0])


def test_a_queue_without_leases_has_no_reclaims():
    """Its claims do not end by time."""
    history = h(*items(TAKEN_OVER), terms=Terms(lease=False))

    assert Sighting.RECLAIM not in sightings(history)


def test_anybodys_log_is_read():
    """A clock that is no number, and an answer to a call that nobody recorded, do no harm."""
    clock, answer = h("w1 clock +1s").events, h("w1 claim -").events[1:]
    odd = msgspec.structs.replace(clock[0], value="fast")

    assert sightings(History(events=(odd, *answer))) == {}
