"""What may workers do to one small queue, and what does it answer? Runs by chance, of a correct queue."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import msgspec

from ssq_verify.history import EventType, Terms

TICK_NS = 1_000_000
TICK_SECONDS = 0.001
TTL, SKEW, REST = 10, 2, 4
"""In ticks. All times are whole ticks, so that equal times, which order nothing, are common."""
COMMON = Terms(
    lease_ttl_seconds=TTL * TICK_SECONDS,
    max_clock_skew_seconds=SKEW * TICK_SECONDS,
    backoff_base_seconds=REST * TICK_SECONDS,
    max_attempts=2,
)
TERMS = {
    "the whole contract": COMMON,
    "without a bound": msgspec.structs.replace(COMMON, max_attempts=None),
    "the server keeps the time": msgspec.structs.replace(COMMON, max_clock_skew_seconds=None, max_attempts=3),
    "acks may be repeated": msgspec.structs.replace(COMMON, repeat_ack="accepted"),
    "late acks are refused": msgspec.structs.replace(COMMON, late_ack="rejected"),
    "completion by job": msgspec.structs.replace(COMMON, fencing=False),
    "without leases": msgspec.structs.replace(COMMON, lease=False),
}

Mark = tuple[int, int, str, EventType, str, dict[str, Any]]
"""When, a number that keeps the order, who, and the fields of an event."""


@dataclass
class Job:
    """A job as the queue below keeps it; times as the clock showed that wrote them."""

    payload: str
    phase: str = "queued"
    attempt: int = 0
    claim_id: str = ""
    expires: int = 0
    available: int = 0


@dataclass
class Queue:
    """A correct queue by the workers' clocks: written from the contract's words, and not from the model."""

    terms: Terms
    jobs: dict[str, Job] = field(default_factory=dict)
    acked: set[str] = field(default_factory=set)
    claims: int = 0

    def enqueue(self, _clock: int, job_id: str, value: str) -> bool:
        """Add a job unless its id is live."""
        self.jobs.setdefault(job_id, Job(value))
        return True

    def claim(self, clock: int) -> dict[str, Any]:
        """Give the oldest available job, or nothing."""
        skew = 0 if self.terms.max_clock_skew_seconds is None else SKEW
        for job_id, job in self.jobs.items():
            expired = self.terms.lease and job.phase == "claimed" and clock > job.expires + skew
            if expired and job.attempt == self.terms.max_attempts:
                job.phase = "dead"
            elif expired or (job.phase == "queued" and clock >= job.available):
                self.claims += 1
                job.phase, job.attempt, job.claim_id = "claimed", job.attempt + 1, f"c{self.claims}"
                job.expires = clock + TTL
                return {
                    "job_id": job_id,
                    "claim_id": job.claim_id,
                    "attempt": job.attempt,
                    "value": job.payload,
                }
        return {}

    def ack(self, clock: int, job_id: str, claim_id: str) -> bool:
        """Finish the job; False if the claim is refused."""
        if claim_id in self.acked and self.terms.repeat_ack == "accepted":
            return True
        job = self._held(clock, job_id, claim_id)
        if job is None:
            return not self.terms.fencing
        self.acked.add(claim_id)
        del self.jobs[job_id]
        return True

    def release(self, clock: int, job_id: str, claim_id: str) -> bool:
        """Give the job back; False if the claim is refused."""
        job = self._held(clock, job_id, claim_id)
        if job is None:
            return not self.terms.fencing
        job.phase = "dead" if job.attempt == self.terms.max_attempts else "queued"
        job.available = clock + REST * 2 ** (job.attempt - 1)
        return True

    def extend(self, clock: int, job_id: str, claim_id: str) -> bool:
        """Start the lease anew; False if the claim is refused."""
        job = self._held(clock, job_id, claim_id)
        if job is not None:
            job.expires = max(job.expires, clock + TTL)
        return job is not None or not self.terms.fencing

    def requeue(self, _clock: int, job_id: str) -> bool:
        """Give a dead job a new incarnation; False if it is not dead."""
        job = self.jobs.get(job_id)
        if job is None or job.phase != "dead":
            return False
        self.jobs[job_id] = Job(job.payload)
        return True

    def _held(self, clock: int, job_id: str, claim_id: str) -> Job | None:
        job = self.jobs.get(job_id)
        if job is None or job.phase != "claimed" or (self.terms.fencing and job.claim_id != claim_id):
            return None
        late = self.terms.late_ack == "rejected" and clock > job.expires
        return None if late else job


class Run:
    """Workers that call the queue: each operation is called, takes effect and returns at ticks of its own."""

    def __init__(self, random: Random, terms: Terms) -> None:
        self.marks: list[Mark] = []
        self._random = random
        self._queue = Queue(terms)
        self._agenda: list[tuple[int, int, Callable[[int], None]]] = []
        self._count = 0
        self._jobs = [f"j{number}" for number in range(1, random.randint(1, 3) + 1)]
        self._claims: list[tuple[str, dict[str, Any]]] = []
        self._offsets = {f"w{number}": 0 for number in range(1, random.randint(1, 3) + 1)}
        self._calls_left = random.randint(4, 12)

    def marks_of_a_run(self) -> list[Mark]:
        """Let it run to its end."""
        self._set_clocks()
        self._at(0, partial(self._enqueue_first, "w1"))
        for worker in list(self._offsets)[1:]:
            self._at(self._random.randint(0, 4), partial(self._turn, worker))
        now = 0
        while self._agenda:
            now, _, action = heapq.heappop(self._agenda)
            action(now)
        for job_id, job in self._queue.jobs.items():
            if job.phase == "dead":
                self._mark(now, "harness", EventType.INFO, "dead", {"job_id": job_id})
        return self.marks

    def _set_clocks(self) -> None:
        choice = self._random.random()
        if choice < 0.5:
            return
        spread = SKEW if choice < 0.9 else 20
        for worker in self._offsets:
            # Between zero, where the true time is, and the spread: so no two are further apart.
            self._offsets[worker] = self._random.randint(0, spread)
            value = f"{self._offsets[worker] * TICK_SECONDS:.3f}"
            self._mark(0, worker, EventType.INFO, "clock", {"value": value})
        if self._queue.terms.max_clock_skew_seconds is None:
            self._offsets = dict.fromkeys(self._offsets, 0)

    def _at(self, time: int, action: Callable[[int], None]) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (time, self._count, action))

    def _mark(self, time: int, worker: str, kind: EventType, f: str, fields: dict[str, Any]) -> None:
        self.marks.append((time, len(self.marks), worker, kind, f, fields))

    def _enqueue_first(self, worker: str, now: int) -> None:
        self._call(worker, "enqueue", self._named(self._jobs[0]), now)

    def _turn(self, worker: str, now: int) -> None:
        if self._calls_left <= 0:
            return
        self._calls_left -= 1
        kinds = ("enqueue", "claim", "ack", "release", "extend", "requeue")
        f = self._random.choices(kinds, (3, 8, 5, 3, 1, 1))[0]
        if f == "claim" or (f in {"ack", "release", "extend"} and not self._claims):
            self._call(worker, "claim", {}, now)
        elif f in {"enqueue", "requeue"}:
            named = self._named(self._random.choice(self._jobs))
            self._call(worker, f, named if f == "enqueue" else {"job_id": named["job_id"]}, now)
        else:
            own = [claim for holder, claim in self._claims if holder == worker]
            claims = own if own and self._random.random() < 0.8 else [claim for _, claim in self._claims]
            claim = claims[-1] if self._random.random() < 0.6 else self._random.choice(claims)
            self._call(worker, f, {key: claim[key] for key in ("job_id", "claim_id", "attempt")}, now)

    def _named(self, job_id: str) -> dict[str, Any]:
        return {"job_id": job_id, "value": self._random.choice(("YQ==", "Yg=="))}

    def _call(self, worker: str, f: str, asked: dict[str, Any], now: int) -> None:
        self._mark(now, worker, EventType.INVOKE, f, asked)
        effect = now + self._random.randint(0, 3)
        # A worker may read its clock when it is called, and act on it later.
        clock = self._offsets[worker] + self._random.choice((now, effect))
        answer: list[Any] = []
        if self._random.random() < 0.9:
            self._at(effect, partial(self._act, f, asked, clock, answer))
            self._at(effect + self._random.randint(0, 2), partial(self._return, worker, f, asked, answer))
            return
        if self._random.random() < 0.6:
            effect += self._random.choice((0, 9))
            self._at(effect, partial(self._act, f, asked, self._offsets[worker] + effect, answer))
        self._at(now + self._random.randint(0, 4), partial(self._give_up, worker, f, asked))

    def _act(self, f: str, asked: dict[str, Any], clock: int, answer: list[Any], _now: int) -> None:
        arguments = [value for key, value in asked.items() if key != "attempt"]
        answer.append(getattr(self._queue, f)(clock, *arguments))

    def _return(self, worker: str, f: str, asked: dict[str, Any], answer: list[Any], now: int) -> None:
        if f == "claim":
            self._mark(now, worker, EventType.OK, f, answer[0])
            if answer[0]:
                self._claims.append((worker, answer[0]))
        else:
            about = {key: value for key, value in asked.items() if key != "value"}
            self._mark(now, worker, EventType.OK if answer[0] else EventType.FAIL, f, about)
        self._next(worker, now)

    def _give_up(self, worker: str, f: str, asked: dict[str, Any], now: int) -> None:
        if self._random.random() < 0.5:
            self._mark(now, worker, EventType.INFO, "crash", {})
        else:
            about = {key: value for key, value in asked.items() if key != "value"}
            self._mark(now, worker, EventType.INFO, f, about)
        self._next(worker, now)

    def _next(self, worker: str, now: int) -> None:
        gap = self._random.choice((0, 0, 1, 1, 2, 4, 8, TTL, TTL + 4))
        self._at(now + gap, partial(self._turn, worker))
