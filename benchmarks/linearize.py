"""How many operations a second does the exact check judge? Writes nothing; prints a line, or JSON.

The history is a correct queue's: jobs of up to ten operations, a third of which overlap the next one of the
same job; with reclaims, releases, refused acks and dead letters.
"""

import argparse
import json
import platform
import time
from random import Random

from ssq_verify.history import NEVER_NS, Event, EventType, Header, History, Terms
from ssq_verify.linearize import check
from ssq_verify.verdict import Finding

TERMS = Terms(lease_ttl_seconds=0.05, max_attempts=3)
TTL_NS = 50_000_000
TICK_NS = 1_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=3, help="the best of so many measurements counts")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measured(options.operations, options.repeat)
    if options.json:
        print(json.dumps(result))
        return
    print(
        f"{result['operations']:,} operations on {result['jobs']:,} jobs: "
        f"checked in {result['check_seconds']:.2f} s, {result['operations_per_second']:,.0f} a second; "
        f"pairing their events before took {result['pairing_seconds']:.2f} s"
    )


def measured(operations_min: int, repeat: int) -> dict[str, float | int | str]:
    """Return rate and times, the best of `repeat`."""
    history = correct_history(operations_min, Random(1))  # noqa: S311 - a seed, not a secret
    began = time.perf_counter()
    operations = len(history.operations)
    pairing_seconds = time.perf_counter() - began
    check_seconds = float("inf")
    for _ in range(repeat):
        began = time.perf_counter()
        verdict = check(history)
        check_seconds = min(check_seconds, time.perf_counter() - began)
        assert verdict.verdict is Finding.HOLDS, verdict.sentence
    return {
        "operations": operations,
        "jobs": len({operation.job_id for operation in history.operations}),
        "pairing_seconds": pairing_seconds,
        "check_seconds": check_seconds,
        "operations_per_second": operations / check_seconds,
        "operations_per_second_with_pairing": operations / (check_seconds + pairing_seconds),
        "python": platform.python_version(),
    }


class Life:
    """One job's operations, each by a worker of its own, so that overlapping ones need no care."""

    def __init__(self, random: Random, job_id: str, start_ns: int) -> None:
        self.calls: list[tuple[int, int, EventType, str, dict[str, str | int | None]]] = []
        self._random = random
        self._job_id = job_id
        self._now_ns = start_ns

    def call(self, outcome: EventType, f: str, **fields: str | int | None) -> None:
        """Add an operation; a third of them return only after the next one was called."""
        inv_ns = self._now_ns
        ret_ns = inv_ns + (3 if self._random.random() < 1 / 3 else 1) * TICK_NS
        self._now_ns += 2 * TICK_NS
        self.calls.append((inv_ns, ret_ns, outcome, f, {"job_id": self._job_id, **fields}))

    def live(self) -> None:
        """Add a whole life: claims that are released, expire or are acked."""
        self.call(EventType.OK, "enqueue", value="")
        for attempt in range(1, 4):
            # Whoever uses a claim has it: only then may its operations overlap what comes after.
            self._now_ns += 4 * TICK_NS
            claim = {"claim_id": f"{self._job_id}#{attempt}", "attempt": attempt}
            self.call(EventType.OK, "claim", value="", **claim)
            self._now_ns += 4 * TICK_NS
            match self._random.randrange(4):
                case 0:
                    self.call(EventType.OK, "release", **claim)
                    self.call(EventType.FAIL, "ack", **claim)
                case 1:
                    self._now_ns += TTL_NS + 4 * TICK_NS
                case _:
                    self.call(EventType.OK, "extend", **claim)
                    self.call(EventType.OK, "ack", **claim)
                    self.call(EventType.FAIL, "release", **claim)
                    return


def correct_history(operations_min: int, random: Random) -> History:
    """Return a history with at least so many operations that a correct queue can have produced."""
    lives: list[Life] = []
    count = 0
    while count < operations_min:
        life = Life(random, f"j{len(lives)}", len(lives) * 7 * TICK_NS)
        life.live()
        lives.append(life)
        count += len(life.calls)
    return History(header=Header(terms=TERMS), events=_events(lives))


def _events(lives: list[Life]) -> tuple[Event, ...]:
    marks = []
    for life in lives:
        for inv_ns, ret_ns, outcome, f, fields in life.calls:
            worker = f"w{len(marks) // 2}"
            asked = {key: None if f == "claim" else value for key, value in fields.items()}
            assert ret_ns < NEVER_NS
            marks.append((inv_ns, worker, EventType.INVOKE, f, asked))
            marks.append((ret_ns, worker, outcome, f, fields))
    marks.sort(key=lambda mark: mark[0])
    return tuple(
        Event(index=index, time_ns=time_ns, worker=worker, type=kind, f=f, **fields)  # type: ignore[arg-type]
        for index, (time_ns, worker, kind, f, fields) in enumerate(marks)
    )


if __name__ == "__main__":
    main()
