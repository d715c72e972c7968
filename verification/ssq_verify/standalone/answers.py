"""What did each operation answer, and when? The script prints it, and compares all of it in the end."""

import os
import random
import tempfile
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

WORKDIR = Path(os.path.realpath(tempfile.mkdtemp(prefix="queue-")))

run = SimpleNamespace(
    now_ns=0,  # the one true clock
    worker="",  # who is at work
    process="",  # in which of its lives
    clocks={},  # worker -> (seconds ahead, rate, since when)
    seeds={},  # process -> what its random numbers come from
    chance={},  # process -> its random numbers
    names={},  # claim id -> c1, c2, ...
    errors={},  # calls that fail: (worker, call, for which time) -> how
    reversed=(),  # listings that come in reverse order, named so, too
    point=lambda _call: None,
    answers=[],  # what was printed of operations
    handles=[],  # nothing of a dead process is closed or collected
)
claims: defaultdict[str, Any] = defaultdict(lambda: None)
"""What each claim returned."""


def opened(name: str) -> Any:
    """Open the queue for a worker."""
    run.worker = name
    retry = SimpleNamespace(**run.retry, backoff_seconds=rest_seconds)
    policy = SimpleNamespace(**run.policy, retry=retry, clock=lambda: clock(name))
    run.handles.append(run.open_queue(WORKDIR, policy))
    tick()
    return run.handles[-1]


def rest_seconds(attempt: int) -> float:
    """Return how long a job rests after a release."""
    base, longest = run.retry["backoff_base_seconds"], run.retry["backoff_max_seconds"]
    return float(min(base * 2.0 ** min(attempt - 1, 64), longest))


def done(name: str, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Do one operation, and print what it answers."""
    run.worker = name
    run.point("call")
    tick()
    claim = kwargs.get("claim")
    asked = operation.__name__.removesuffix("_dead")
    asked += "".join(f" {arg}" for arg in args) + (f" {named(claim)}" if claim is not None else "")
    if "claim" in kwargs and claim is None:
        return told(name, f"{asked} → not called: there is no claim", None)
    try:
        answer = operation(*args, **kwargs)
        run.point("return")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return told(name, f"{asked} → {type(error).__name__}", None)
    if asked == "claim":
        return told(name, f"{asked} → {'nothing' if answer is None else claimed(answer)}", answer)
    if hasattr(answer, "claim_id"):
        run.names.setdefault(answer.claim_id, named(claim))
    return told(name, f"{asked} → {'not dead' if answer is False else 'ok'}", answer)


def extended(name: str, queue: Any, claim: Any) -> Any:
    """Extend a claim, and return the one that is to be used from now on."""
    renewed = done(name, queue.extend, claim=claim)
    return renewed if hasattr(renewed, "claim_id") else claim


def told(name: str, text: str, answer: Any) -> Any:
    """Print one answer, and return what was answered."""
    tick()
    run.answers.append(f"{name} {text}")
    run.tell(f"{run.now_ns / 1e9:8.1f} s  {name}  {text}")
    return answer


def died(name: str) -> None:
    """Let a worker end without a word."""
    tick()
    run.tell(f"{run.now_ns / 1e9:8.1f} s  {name}  dies")


def claimed(claim: Any) -> str:
    """Return what a claim got."""
    attempt = f" #{claim.attempt}" if isinstance(getattr(claim, "attempt", None), int) else ""
    payload = f", {getattr(claim, 'payload', b'')!r}" if run.shows_payloads else ""
    return f"{claim.job_id}{attempt} as {named(claim)}{payload}"


def named(claim: Any) -> str:
    """Return a claim's name in this run: c1, c2, ..."""
    return str(run.names.setdefault(claim.claim_id, f"c{len(run.names) + 1}"))


def tick() -> None:
    """Let a microsecond pass, so that times tell the order."""
    run.now_ns += 1_000


def sleep(seconds: float) -> None:
    """Let time pass, which costs none."""
    run.now_ns += round(seconds * 1e9)


def clock(name: str) -> datetime:
    """Return what a worker's own clock shows."""
    seconds, rate, since_ns = run.clocks.get(name, (0.0, 1.0, 0))
    ahead_ns = seconds * 1e9 + (run.now_ns - since_ns) * (rate - 1.0)
    shown: datetime = run.epoch + timedelta(microseconds=(run.now_ns + round(ahead_ns) + 500) // 1_000)
    return shown


def set_clock(name: str, seconds: float, rate: float = 1.0) -> None:
    """Let a worker's clock be ahead of the true one."""
    run.clocks[name] = (seconds, rate, run.now_ns)
    tick()


def urandom(size: int) -> bytes:
    """Return random bytes that are the same each time the script runs."""
    if run.process not in run.chance:
        run.chance[run.process] = random.Random(run.seeds.get(run.process, run.process))  # noqa: S311 - see above
    return bytes(run.chance[run.process].randbytes(size))


def drained(name: str, queue: Any, patience_seconds: float, polls_max: int) -> None:
    """Let a fresh worker handle all there is, until three polls find nothing."""
    empty = 0
    for _ in range(polls_max):
        claim = done(name, queue.claim, worker_id=name)
        empty = empty + 1 if run.answers[-1].endswith("nothing") else 0
        if claim is not None:
            done(name, queue.ack, claim=claim)
        elif empty == 3:  # noqa: PLR2004 - as the harness does
            return
        else:
            sleep(patience_seconds)
