"""How is a step with many jobs done to a queue that takes many in one call? In turns and in a race alike."""

from collections.abc import Callable, Sequence
from typing import Any

from ssq_verify.history import Event, EventType, Terms
from ssq_verify.live import LiveJobs
from ssq_verify.scenario import Step, StepKind, jobs_of, parts

Ask = Callable[..., Any]
"""Calls an operation by its name; what it raised is in the history, and the answer then is None."""


def call_with_many(
    step: Step,
    ask: Ask,
    *,
    claims: dict[str, Any],
    live: LiveJobs,
    terms: Terms,
    events: Sequence[Event],
) -> None:
    """Do an enqueue, claim or ack of many; one that can not apply does nothing.

    `claims` are those made so far, by their names; `events` is where the call will be recorded.
    """
    if step.do is StepKind.ENQUEUE:
        _enqueue(step, ask, live, terms)
    elif step.do is StepKind.CLAIM:
        given = ask("claim_many", step.many, worker_id=step.worker) or []
        for name, claim in zip(parts(step.claim, step.many), given, strict=False):
            claims[name] = claim
            live.claimed(name, claim.job_id)
    else:
        held = {name: claims[name] for name in parts(step.claim, step.many) if name in claims}
        if held:
            ask("ack_many", claims=list(held.values()))
            _note_acks(held, live, events)


def _enqueue(step: Step, ask: Ask, live: LiveJobs, terms: Terms) -> None:
    jobs = [(job, text) for job, text in jobs_of(step) if terms.idempotent_enqueue or job not in live]
    for job, _ in jobs:
        live.enqueued(job)
    if jobs:
        ask("enqueue_many", jobs)


def _note_acks(held: dict[str, Any], live: LiveJobs, events: Sequence[Event]) -> None:
    # They came back in the lanes in which they were called, and nobody writes between.
    for (name, claim), event in zip(held.items(), events[-len(held) :], strict=True):
        if event.type is EventType.OK:
            live.acked(name, claim.job_id)
