"""How quickly is a long history judged? Writes one of a correct queue, reads it, asks every SQL invariant.

    python benchmarks/judge.py --operations 1000000 --json

In one run, twelve workers call at random moments, their calls overlapping: reclaims, stale acks, releases
with back-off, extends, dead letters, ids used again, empty claims, deaths. The queue is correct, so any
accusation is a defect of the judge, and ends the program with 1.
"""
# ruff: noqa: PLR2004, S311 - the numbers are the shares of what happens, drawn from a seed, not for a secret

import argparse
import base64
import heapq
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from ssq_verify import history as histories
from ssq_verify import invariants, linearize
from ssq_verify.history import Event, EventType, Header, Terms

TERMS = Terms(lease_ttl_seconds=60.0, max_attempts=3, backoff_base_seconds=1.0, order="fifo")
MS = 1_000_000
SECOND = 1_000 * MS
PRODUCERS, CONSUMERS = 4, 8


@dataclass(slots=True)
class Job:
    """A job in the queue that is being imitated."""

    name: str
    payload: str
    place: int
    is_poison: bool
    attempt: int = 0
    claim_id: str = ""
    lease_end_ns: int = 0
    state: str = "queued"


@dataclass(slots=True)
class Queue:
    """The contract, imitated: each method is one instant."""

    jobs: dict[str, Job] = field(default_factory=dict)
    available: list[tuple[int, str]] = field(default_factory=list)
    resting: list[tuple[int, int, str]] = field(default_factory=list)
    leased: list[tuple[int, str, str]] = field(default_factory=list)
    places: int = 0
    claims: int = 0

    def enqueue(self, name: str, payload: str, *, is_poison: bool) -> None:
        """Add a job, unless its id is in the queue."""
        if name not in self.jobs:
            self.places += 1
            self.jobs[name] = Job(name, payload, self.places, is_poison)
            heapq.heappush(self.available, (self.places, name))

    def claim(self, now_ns: int) -> Job | None:
        """Give out the oldest available job."""
        while self.resting and self.resting[0][0] <= now_ns:
            _, place, name = heapq.heappop(self.resting)
            if self._is(name, place, "resting"):
                self.jobs[name].state = "queued"
                heapq.heappush(self.available, (place, name))
        while self.leased and self.leased[0][0] < now_ns:
            self._expire(*heapq.heappop(self.leased))
        job = self._oldest()
        if job is None:
            return None
        self.claims += 1
        job.attempt, job.claim_id, job.state = job.attempt + 1, f"c{self.claims}", "claimed"
        self._lease(job, now_ns)
        return job

    def ack(self, name: str, claim_id: str) -> bool:
        """Finish a job; False if the claim is not current."""
        if not self._is_current(name, claim_id):
            return False
        del self.jobs[name]
        return True

    def release(self, name: str, claim_id: str, now_ns: int) -> bool:
        """Give a job back; False if the claim is not current."""
        if not self._is_current(name, claim_id):
            return False
        job = self.jobs[name]
        job.claim_id = ""
        if job.attempt == TERMS.max_attempts:
            job.state = "dead"
        else:
            job.state = "resting"
            rest_ns = round(TERMS.backoff_seconds(job.attempt) * SECOND)
            heapq.heappush(self.resting, (now_ns + rest_ns, job.place, name))
        return True

    def extend(self, name: str, claim_id: str, now_ns: int) -> bool:
        """Start the lease anew; False if the claim is not current."""
        if not self._is_current(name, claim_id):
            return False
        self.jobs[name].state = "claimed"
        self._lease(self.jobs[name], now_ns)
        return True

    def _oldest(self) -> Job | None:
        # An entry is out of date when its job was acked, released or extended after its lease had ended.
        while self.available:
            place, name = heapq.heappop(self.available)
            if self._is(name, place, "queued") or self._is(name, place, "expired"):
                return self.jobs[name]
        return None

    def _is(self, name: str, place: int, state: str) -> bool:
        job = self.jobs.get(name)
        return job is not None and job.place == place and job.state == state

    def _is_current(self, name: str, claim_id: str) -> bool:
        return name in self.jobs and self.jobs[name].claim_id == claim_id

    def _lease(self, job: Job, now_ns: int) -> None:
        job.lease_end_ns = now_ns + round(TERMS.lease_ttl_seconds * SECOND)
        heapq.heappush(self.leased, (job.lease_end_ns, job.name, job.claim_id))

    def _expire(self, end_ns: int, name: str, claim_id: str) -> None:
        job = self.jobs.get(name)
        if job is None or job.claim_id != claim_id or job.lease_end_ns != end_ns:
            return
        if job.attempt == TERMS.max_attempts:
            job.state, job.claim_id = "dead", ""
        elif job.state == "claimed":
            job.state = "expired"
            heapq.heappush(self.available, (job.place, name))


class Run:
    """Workers that call the queue at random moments, on one clock; writes down every event as it comes."""

    def __init__(self, operations: int, seed: int) -> None:
        self._queue = Queue()
        self._random = Random(seed)
        self._left = operations
        self._events: list[Event] = []
        self._agenda: list[tuple[int, int, Iterator[int]]] = []
        self._now_ns = 0
        self._entries = 0
        self._written = 0

    def events(self) -> Iterator[Event]:
        """Yield the whole run, the drain included."""
        for number in range(PRODUCERS):
            self._start(self._produce(f"p{number + 1}"))
        for number in range(CONSUMERS):
            self._start(self._consume(f"w{number + 1}", 0))
        while self._agenda:
            self._now_ns, _, worker = heapq.heappop(self._agenda)
            if (pause_ns := next(worker, None)) is not None:
                self._enter(pause_ns, worker)
            yield from self._events
            self._events.clear()

    def _start(self, worker: Iterator[int]) -> None:
        self._enter(self._random.randrange(MS), worker)

    def _enter(self, pause_ns: int, worker: Iterator[int]) -> None:
        self._entries += 1
        heapq.heappush(self._agenda, (self._now_ns + pause_ns, self._entries, worker))

    def _write(self, worker: str, kind: EventType, f: str, **fields: Any) -> None:
        place = {"index": self._written, "time_ns": self._now_ns}
        self._events.append(Event(**place, worker=worker, type=kind, f=f, **fields))
        self._written += 1

    def _produce(self, worker: str) -> Iterator[int]:
        made = 0
        while self._left > 0:
            # Now and then there is more work than workers, and now and then none.
            yield round(
                self._random.expovariate(1 / (400 * MS if (self._now_ns // (60 * SECOND)) % 3 else 1600 * MS))
            )
            made += 1
            name = f"{worker}-{max(1, made - self._random.choice((0, 0, 0, 0, 0, 0, 0, 0, 0, 40)))}"
            payload = base64.b64encode(f"payload of {name}".encode()).decode()
            is_poison = self._random.random() < 0.01
            self._left -= 1
            self._write(worker, EventType.INVOKE, "enqueue", job_id=name, value=payload)
            yield self._some_ms()
            self._queue.enqueue(name, payload, is_poison=is_poison)
            yield self._some_ms()
            self._write(worker, EventType.OK, "enqueue", job_id=name)
        if worker == "p1":
            yield from self._drain()

    def _consume(self, worker: str, life: int) -> Iterator[int]:
        name = f"{worker}.{life}" if life else worker
        while self._left > 0:
            self._left -= 1
            self._write(name, EventType.INVOKE, "claim")
            yield self._some_ms()
            job = self._queue.claim(self._now_ns)
            answer = (
                {}
                if job is None
                else {
                    "job_id": job.name,
                    "claim_id": job.claim_id,
                    "attempt": job.attempt,
                    "value": job.payload,
                }
            )
            is_poison = job is not None and job.is_poison
            yield self._some_ms()
            self._write(name, EventType.OK, "claim", **answer)
            if not answer:
                yield 50 * MS
                continue
            yield from self._work(name, answer, is_poison=is_poison)
            if self._random.random() < 0.002:
                self._write(name, EventType.INFO, "crash")
                self._start(self._consume(worker, life + 1))
                return

    def _work(self, worker: str, answer: dict[str, Any], *, is_poison: bool) -> Iterator[int]:
        about = {key: answer[key] for key in ("job_id", "claim_id", "attempt")}
        chance = self._random.random()
        if 0.10 < chance < 0.101:
            yield 61 * SECOND
            yield from self._call(worker, "extend", about)
        if chance < 0.01:
            return  # it forgets the job, or has died with it
        yield 61 * SECOND if chance < 0.015 else round(self._random.expovariate(1 / (800 * MS)))
        if chance > 0.95:
            yield from self._call(worker, "extend", about)
            yield 500 * MS
        release = is_poison or 0.8 < chance < 0.84
        yield from self._call(worker, "release" if release else "ack", about)
        if 0.5 < chance < 0.51:
            yield from self._call(worker, "ack", about)

    def _call(self, worker: str, f: str, about: dict[str, Any]) -> Iterator[int]:
        self._left -= 1
        self._write(worker, EventType.INVOKE, f, **about)
        yield self._some_ms()
        name, claim_id = about["job_id"], about["claim_id"]
        if f == "ack":
            done = self._queue.ack(name, claim_id)
        elif f == "release":
            done = self._queue.release(name, claim_id, self._now_ns)
        else:
            done = self._queue.extend(name, claim_id, self._now_ns)
        yield self._some_ms()
        self._write(worker, EventType.OK if done else EventType.FAIL, f, **about)

    def _drain(self) -> Iterator[int]:
        yield 200 * SECOND
        self._write("harness", EventType.INFO, "heal")
        empty = 0
        while empty < 4:
            self._write("drain", EventType.INVOKE, "claim")
            yield 2 * MS
            job = self._queue.claim(self._now_ns)
            yield 2 * MS
            if job is None:
                empty += 1
                self._write("drain", EventType.OK, "claim")
                yield 61 * SECOND
                continue
            about = {"job_id": job.name, "claim_id": job.claim_id, "attempt": job.attempt}
            self._write("drain", EventType.OK, "claim", value=job.payload, **about)
            yield from self._call("drain", "ack", about)
        self._write("harness", EventType.INFO, "drained")
        for name, job in self._queue.jobs.items():
            if job.state == "dead":
                self._write("harness", EventType.INFO, "dead", job_id=name)

    def _some_ms(self) -> int:
        return self._random.randrange(1, 5 * MS)


def write(operations: int, seed: int, path: str) -> None:
    """Write a history of about so many operations."""
    encoder = msgspec.json.Encoder()
    with Path(path).open("wb") as lines:
        lines.write(encoder.encode(Header(subject="imitation", terms=TERMS)) + b"\n")
        lines.writelines(encoder.encode(event) + b"\n" for event in Run(operations, seed).events())


def measure(path: Path) -> dict[str, Any]:
    """Read and judge a history; return seconds, sizes and what was found."""
    started = time.perf_counter()
    history = histories.read(path)
    read = time.perf_counter()
    invariants.load(history)
    loaded = time.perf_counter()
    found, seconds = {}, {}
    for judged in invariants.INVARIANTS:
        begun = time.perf_counter()
        found[judged.id] = (
            len(invariants.violations(history, judged.id, limit=3)) if "violations" in judged.queries else 0
        )
        if "exercised" in judged.queries:
            invariants.exercised(history, judged.id)
        else:
            invariants.counts(history)
        seconds[judged.id] = round(time.perf_counter() - begun, 3)
    done = time.perf_counter()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    exact = linearize.check(history)
    return {
        "operations": len(history.operations),
        "read_seconds": round(read - started, 2),
        "load_seconds": round(loaded - read, 2),
        "sql_seconds": round(done - loaded, 2),
        "operations_per_second": round(len(history.operations) / (done - read)),
        "peak_rss_mb": peak_mb,
        "sql_seconds_by_invariant": seconds,
        "accused": [name for name, count in found.items() if count],
        "exact_verdict": exact.verdict,
        "exact_sentence": exact.sentence,
        "exact_operations_per_second": round(len(history.operations) / (time.perf_counter() - done)),
    }


def main() -> int:
    """Run the benchmark; 1 if the judge accuses the correct queue."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        # In a process of its own, so that its memory is not counted.
        writer = multiprocessing.get_context("spawn").Process(
            target=write, args=(arguments.operations, arguments.seed, str(path))
        )
        writer.start()
        writer.join()
        assert writer.exitcode == 0, "the history was not written"
        result = measure(path)
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(result)).decode())
    else:
        for name, value in result.items():
            print(f"{name}: {value}")
    return 1 if result["accused"] or result["exact_verdict"] == "violated" else 0


if __name__ == "__main__":
    sys.exit(main())
