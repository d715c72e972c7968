"""Which histories keep each rule of the contract, and which break it? The smallest of both, by rule."""

from dataclasses import dataclass, field
from functools import cache

from ssq_verify.history import History, Terms
from ssq_verify.notation import h, items

RESTING = Terms(backoff_base_seconds=10.0)
LOOSE_CLOCKS = Terms(backoff_base_seconds=10.0, max_clock_skew_seconds=2.0)
STRICT_LATE_ACK = Terms(late_ack="rejected", max_clock_skew_seconds=2.0)
LAST = "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 claim j1#2; w1 release j1#2; w1 claim j1#3"
"""j1 at its last attempt, held by w1."""
OVERTAKEN = "w1 enqueue j1; w1 claim j1#1; w2 extend j1#1 <; +40s; w1 extend j1#1; w2 >"
"""j1 extended at 40 s, and by a slow call that began at 0 s and may have taken effect later."""
RESTED = "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; +10s; w1 claim j1#2; w1 release j1#2"
"""j1 released twice, after a back-off of 10 s; the next one is 20 s."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Histories that only differ in whether they keep the rule."""

    accepted: tuple[str, ...]
    rejected: tuple[str, ...]
    terms: Terms = field(default_factory=Terms)


RULES = {
    "only what was enqueued is claimed": Rule(
        accepted=("w1 enqueue j1; w1 claim j1#1", "w1 enqueue j1 ?; w1 claim j1#1"),
        rejected=("w1 claim j1#1", "w1 claim j1#1; w1 enqueue j1"),
    ),
    "an acked job is gone until it is enqueued again": Rule(
        accepted=("w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w1 enqueue j1; w2 claim j1#1",),
        rejected=("w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; +99s; w2 claim j1#2",),
    ),
    "an enqueue of a live job changes nothing": Rule(
        accepted=("w1 enqueue j1; w1 claim j1#1; w1 enqueue j1; +61s; w2 claim j1#2",),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; w1 enqueue j1; w2 claim j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 enqueue j1; w2 claim j1#2",
            "w1 enqueue j1 =a; w1 enqueue j1 =b; w2 claim j1#1 =b",
            f"{LAST}; w1 release j1#3; w1 enqueue j1; w1 claim j1#1",
        ),
    ),
    "a queue that keeps no dead letters may take a dead job anew": Rule(
        accepted=(f"{LAST}; w1 release j1#3; w1 enqueue j1 =b; w1 claim j1#1 =b",),
        rejected=(f"{LAST}; w1 enqueue j1; w1 claim j1#1", f"{LAST}; w1 release j1#3; w1 claim j1#1"),
        terms=Terms(dead_letters=False),
    ),
    "a lease lasts until ttl after the call of the claim": Rule(
        # The claim is called at 3 us; the last call of the first history returns 1 us after the lease's end.
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; +59999998us; w2 claim j1#2",
            "w1 enqueue j1; w1 claim j1#1; w2 claim <; +61s; w2 > j1#2",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; w2 claim j1#2",
            "w1 enqueue j1; w1 claim j1#1; +59999997us; w2 claim j1#2",
            "w1 enqueue j1; w1 claim <; w2 claim <; w1 > j1#1; w2 > j1#2",
            "w1 enqueue j1; w1 claim j1#1; w1 dies; w2 claim j1#2",
        ),
    ),
    "an extend moves the end to ttl after its call": Rule(
        accepted=("w1 enqueue j1; w1 claim j1#1; +40s; w1 extend j1#1; +61s; w2 claim j1#2",),
        rejected=("w1 enqueue j1; w1 claim j1#1; +40s; w1 extend j1#1; +40s; w2 claim j1#2",),
    ),
    "no extend moves the end back": Rule(
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; w2 extend j1#1 <; +40s; w1 extend j1#1; w2 >; +61s; w2 claim j1#2",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; w2 extend j1#1 <; +40s; w1 extend j1#1; w2 >; +40s; w2 claim j1#2",
        ),
    ),
    "an attempt is counted when it is claimed": Rule(
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 claim j1#2",
            "w1 enqueue j1; w1 claim j1",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#2",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 claim j1#1",
            "w1 enqueue j1; w1 claim j1#1; +61s; w1 claim j1#1",
            "w1 enqueue j1; w1 claim j1; w1 release j1; w1 claim j1#1",
        ),
    ),
    "no incarnation is claimed more often than the bound": Rule(
        accepted=(LAST,),
        rejected=(
            f"{LAST}; w1 release j1#3; w1 claim j1#4",
            f"{LAST}; +61s; w1 claim j1#4",
            f"{LAST}; +61s; w1 claim j1",
        ),
    ),
    "without a bound, attempts are neither bounded nor counted": Rule(
        terms=Terms(max_attempts=None, backoff_base_seconds=1.0),
        accepted=(
            "w1 enqueue j1; w1 claim j1#7; +61s; w1 claim j1#7; w1 release j1#7; +31s; w1 claim j1#1",
            "w1 enqueue j1; w1 claim j1; +61s; w1 claim j1; +61s; dead j1; w1 requeue j1; w1 claim j1",
            "w1 enqueue j1; w1 claim j1; w1 release j1; dead j1",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#7; w1 claim j1#8",
            "w1 enqueue j1; w1 claim j1#5; w1 release j1#5; +15s; w1 claim j1#6",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; dead j1",
            "w1 enqueue j1; dead j1",
            "w1 enqueue j1; w1 claim j1; dead j1",
            "w1 enqueue j1; w1 claim j1#1; +61s; w1 ack j1#1 !lost",
        ),
    ),
    "a claim brings the payload that was enqueued": Rule(
        accepted=("w1 enqueue j1 =a; w1 claim j1#1 =a; w1 release j1#1; w1 claim j1#2 =a",),
        rejected=(
            "w1 enqueue j1 =a; w1 claim j1#1 =b",
            "w1 enqueue j1 =a; w1 claim j1#1 =",
            "w1 enqueue j1; w1 claim j1#1 =a",
            "w1 enqueue j1 =a; w1 claim j1#1; w1 ack j1#1; w1 enqueue j1 =b; w1 claim j1#1 =a",
        ),
    ),
    "a queue without payloads is not held to them": Rule(
        terms=Terms(payload=False),
        accepted=("w1 enqueue j1 =a; w1 claim j1#1 =b",),
        rejected=("w1 claim j1#1 =b",),
    ),
    "only the current claim acks": Rule(
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; +61s; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 ack j1#1 !lost; w2 ack j1#2",
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim <; w1 ack j1#1 !lost; w2 > j1#2",
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim <; w1 ack j1#1; w2 > -",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 <; w2 ack j1#1; w1 > !lost",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 <; w2 ack j1#1 <; w1 >; w2 >",
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim <; w1 ack j1#1; w2 > j1#2",
        ),
    ),
    "only the current claim releases": Rule(
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 release j1#1 !lost; w2 release j1#2",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 release j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 release j1#1",
        ),
    ),
    "only the current claim extends": Rule(
        accepted=("w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 extend j1#1 !lost; w2 extend j1#2",),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 extend j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 extend j1#1",
        ),
    ),
    "a current claim is not refused": Rule(
        accepted=("w1 enqueue j1; w1 claim j1#1; +61s; w1 release j1#1; w1 claim j1#2",),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 !lost",
            "w1 enqueue j1; w1 claim j1#1; +61s; w1 ack j1#1 !lost",
            "w1 enqueue j1; w1 claim j1#1; +61s; w1 release j1#1 !lost",
            "w1 enqueue j1; w1 claim j1#1; +61s; w1 extend j1#1 !lost",
        ),
    ),
    "a late ack is refused where that is promised": Rule(
        # Clocks may be apart by 2 s, so that a holder may see its lease end 2 s early, and a queue 4 s late.
        terms=STRICT_LATE_ACK,
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; +63s; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; +63s; w1 extend j1#1; +63s; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; +59s; w1 ack j1#1 !lost",
            f"{LAST}; +59s; w1 ack j1#3 !lost",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; +65s; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; +63s; w1 extend j1#1; +65s; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; +57s; w1 ack j1#1 !lost",
        ),
    ),
    "a late ack may be either where either is promised": Rule(
        terms=Terms(late_ack="either"),
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; +99s; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; +99s; w1 ack j1#1 !lost; w1 claim j1#2",
        ),
        rejected=("w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 !lost",),
    ),
    "a repeated ack returns ok only where that is promised": Rule(
        terms=Terms(repeat_ack="accepted"),
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w1 enqueue j1; w1 ack j1#1; w2 claim j1#1",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w1 release j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 ack j1#1",
        ),
    ),
    "a released job rests": Rule(
        terms=RESTING,
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; +10s; w1 claim j1#2",
            f"{RESTED}; +20s; w1 claim j1#3",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; +9s; w1 claim j1#2",
            f"{RESTED}; +19s; w1 claim j1#3",
        ),
    ),
    "a rest is by clocks that may be apart": Rule(
        terms=LOOSE_CLOCKS,
        accepted=("w1 enqueue j1; w1 claim j1#1; w1 release j1#1; +8s; w1 claim j1#2",),
        rejected=("w1 enqueue j1; w1 claim j1#1; w1 release j1#1; +7s; w1 claim j1#2",),
    ),
    "a queue without back-off is not held to it": Rule(
        terms=Terms(backoff_base_seconds=10.0, back_off=False),
        accepted=("w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 claim j1#2",),
        rejected=("w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 claim j1#1",),
    ),
    "a job dies at its last attempt, not before": Rule(
        accepted=(
            f"{LAST}; w1 release j1#3; dead j1; w1 requeue j1; w1 claim j1#1",
            f"{LAST}; +61s; dead j1; w1 requeue j1; w1 claim j1#1",
            f"{LAST}; +61s; w1 ack j1#3 !lost; dead j1",
            f"{LAST}; +61s; w1 ack j1#3",
        ),
        rejected=(
            "w1 enqueue j1; dead j1",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; dead j1",
            "w1 enqueue j1; w1 claim j1#1; +61s; dead j1",
            f"{LAST}; dead j1",
            f"{LAST}; w1 requeue j1",
            f"{LAST}; w1 ack j1#3 !lost",
            f"{LAST}; +61s; w1 ack j1#3 !lost; w1 ack j1#3",
            f"{LAST}; +61s; dead j1; w1 ack j1#3",
            "w1 enqueue j1; w1 requeue j1",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; dead j1",
        ),
    ),
    "a dead job can be given a new incarnation": Rule(
        accepted=("w1 enqueue j1; w1 requeue j1 !lost", f"{LAST}; +61s; w1 requeue j1 !lost"),
        rejected=(
            f"{LAST}; w1 release j1#3; w1 requeue j1 !lost",
            f"{LAST}; w1 release j1#3; w1 requeue j1; w1 claim j1#4",
        ),
    ),
    "what may have happened excuses, once": Rule(
        accepted=(
            "w1 enqueue j1; w1 claim dies; +61s; w2 claim j1#2",
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim ?; w1 ack j1#1 !lost",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 ?; w2 enqueue j1; w2 claim j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 ?; +61s; w2 claim j1#2",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1 dies; w2 claim j1#2",
            "w1 enqueue j1; w1 claim dies; w2 claim j1#1",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim dies; w2 claim j1#2",
            "w1 enqueue j1; w1 claim dies; +61s; w2 claim j1#3",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 !lost; w2 claim ?",
            "w1 enqueue j1; w1 claim j1#1; w1 extend j1#1 ?; w2 claim j1#2",
        ),
    ),
    "without fencing, stale calls are not judged, current ones are": Rule(
        terms=Terms(fencing=False),
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 ack j1#1; w2 ack j1#2",
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 ack j1#1; w1 enqueue j1; w2 claim j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w1 ack j1#1; w1 release j1#1",
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 release j1#1; w2 claim j1#3",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 extend j1#1; w2 claim j1#2",
            f"{LAST}; +61s; w1 extend j1#3; dead j1",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; w2 claim <; +40s; w1 extend j1#1; +30s; w2 > j1#2",
            f"{LAST}; w1 extend j1#3; dead j1",
            f"{LAST}; +40s; w1 extend j1#3; +30s; dead j1",
            f"{LAST}; w1 extend j1#3; +61s; dead j1; w1 ack j1#3 !lost; w1 claim j1#4",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 !lost",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w2 claim j1#2",
        ),
    ),
    "without leases nothing is taken over from the living": Rule(
        terms=Terms(lease=False),
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; w1 dies; w2 claim j1#2",
            "w1 enqueue j1; w1 claim dies; w2 claim j1#2",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; +999s; w2 claim j1#2",
            "w1 enqueue j1; w1 claim j1#1; w2 dies; w2 claim j1#2",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w2 claim j1#2; w1 dies; w3 claim j1#3",
        ),
    ),
    "beyond the skew bound time drops out, and the rest stays": Rule(
        terms=STRICT_LATE_ACK,
        accepted=(
            "w1 clock +3s; w1 enqueue j1; w1 claim j1#1; w2 claim j1#2; w1 ack j1#1 !lost",
            "w1 clock -1s; w2 clock +2s; w1 enqueue j1; w1 claim j1#1; w2 claim j1#2",
            "w1 clock +3s; w1 enqueue j1; w1 claim j1#1; +999s; w1 ack j1#1",
            "w1 clock +3s; w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 !lost",
        ),
        rejected=(
            "w1 clock +2s; w1 enqueue j1; w1 claim j1#1; w2 claim j1#2",
            "w1 clock +3s; w1 enqueue j1; w1 claim j1#1; w2 claim j1#2; w1 ack j1#1",
            "w1 clock +3s; w1 enqueue j1; w1 claim j1#1; w2 claim j1#1",
        ),
    ),
    "a queue whose server keeps the time has no skew bound": Rule(
        terms=Terms(max_clock_skew_seconds=None),
        accepted=("w1 clock +3s; w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2",),
        rejected=("w1 clock +3s; w1 enqueue j1; w1 claim j1#1; w2 claim j1#2",),
    ),
    "what a server was away for was not done, and says nothing of the claim": Rule(
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 !away; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w1 ack j1#1 !away",
            "w1 enqueue j1; w1 claim j1#1; +50s; w1 extend j1#1 !away; +11s; w2 claim j1#2",
        ),
        rejected=(
            "w1 enqueue j1 !away; w1 claim j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1 !away; w2 claim j1#2",
            "w1 enqueue j1; w1 claim j1#1; +50s; w1 extend j1#1 !away; w2 claim j1#2",
        ),
    ),
    "what a loss of power undoes is left to durable": Rule(
        accepted=("w1 enqueue j1; w1 claim j1#1; power-loss; w2 claim j1#1; w2 claim j1#9",),
        rejected=("w1 enqueue j1; w1 claim j1#1; w2 claim j1#2; power-loss",),
    ),
    "runs and jobs are judged by themselves": Rule(
        accepted=(
            "w1 enqueue j1; w1 enqueue j2; w1 claim j1#1; w1 claim j2#1",
            "w1 enqueue j1; w1 claim j1#1; next run; w1 enqueue j1; w1 claim j1#1",
        ),
        rejected=("w1 enqueue j1; w1 claim j1#1; next run; w1 claim j1#2", "w1 enqueue j1; w1 claim j2#1"),
    ),
}

ACCEPTED = [(name, line) for name, rule in RULES.items() for line in rule.accepted]
REJECTED = [(name, line) for name, rule in RULES.items() for line in rule.rejected]


@cache
def history(name: str, line: str) -> History:
    """Return the history of a line of the table, under its rule's terms."""
    return h(*items(line), terms=RULES[name].terms)
