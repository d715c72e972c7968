"""What did a call with many jobs answer? A line for each of them, as for a call with one."""

from collections.abc import Callable
from typing import Any

from ssq_verify.standalone.answers import claimed, claims, named, run, tick, told


def enqueued_many(name: str, queue: Any, jobs: list[tuple[str, bytes]]) -> None:
    """Enqueue many jobs in one call."""
    asked = [f"enqueue {job}" for job, _ in jobs]
    with_many(name, asked, lambda: queue.enqueue_many(jobs), lambda _: ["ok"] * len(jobs))


def claimed_many(name: str, queue: Any, names: list[str]) -> None:
    """Claim as many jobs as there are names for what comes back."""

    def got(given: list[Any]) -> list[str]:
        claims.update(zip(names, given, strict=False))
        return [claimed(claim) for claim in given] + ["nothing"] * (len(names) - len(given))

    with_many(name, ["claim"] * len(names), lambda: list(queue.claim_many(len(names), worker_id=name)), got)


def acked_many(name: str, queue: Any, names: list[str]) -> None:
    """Ack those of the claims that there are."""
    held = [claims[each] for each in names if claims[each] is not None]

    def lost() -> set[str]:
        try:
            queue.ack_many(claims=held)
        except Exception as error:
            if type(error).__name__ != "LeasesLost":
                raise
            return {claim.claim_id for claim in error.claims}  # type: ignore[attr-defined]
        return set()

    def came_of(ids: set[str]) -> list[str]:
        return ["LeaseLost" if claim.claim_id in ids else "ok" for claim in held]

    with_many(name, [f"ack {named(claim)}" for claim in held], lost, came_of)


def with_many(
    name: str, asked: list[str], operation: Callable[[], Any], came_of: Callable[[Any], list[str]]
) -> None:
    """Do one call, and print what it answers to each job."""
    run.worker = name
    run.point("call")
    for _ in asked:
        tick()
    try:
        answer = operation()
        run.point("return")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer to all
        answers = [type(error).__name__] * len(asked)
    else:
        answers = came_of(answer)
    for each, text in zip(asked, answers, strict=True):
        told(name, f"{each} → {text}", None)
