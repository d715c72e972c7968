"""What may happen in the schedules of a search, in words? What a scope does not name does not happen."""

from collections.abc import Iterator

from ssq_verify.scenario import SETUP_WORKER, Faults, Scenario, StepKind
from ssq_verify.simulation.covered import counted
from ssq_verify.simulation.exhaustive import Bounds


def scope_of(scenario: Scenario, bounds: Bounds) -> str:
    """Return a scope: `2 workers x 1 job, up to 2 preemptions, one crash`."""
    workers = {step.worker for step in scenario.steps} - {SETUP_WORKER}
    jobs = {step.job for step in scenario.steps if step.do is StepKind.ENQUEUE}
    size = f"{counted(len(workers), 'worker')} x {counted(len(jobs), 'job')}"
    return ", ".join((size, *_bounds(bounds), *_faults(scenario.faults)))


def clocks_of(scenario: Scenario) -> int:
    """Return how many clocks are set, each in its own way."""
    clocks = (step for step in scenario.steps if step.do is StepKind.CLOCK)
    return len({(step.worker, step.seconds, step.rate, step.strobe) for step in clocks})


def _bounds(bounds: Bounds) -> Iterator[str]:
    yield _up_to(bounds.preemptions, "preemption")
    if bounds.waits != 0:
        yield _up_to(bounds.waits, "wait")
    if bounds.orders != 0:
        yield _up_to(bounds.orders, "listing") + " in reverse"
    if bounds.deviations is not None:
        yield _up_to(bounds.deviations, "deviation") + " in all"


def _up_to(limit: int | None, noun: str) -> str:
    if limit is None:
        return f"any {noun}s"
    return f"up to {counted(limit, noun)}" if limit else f"no {noun}"


def _faults(faults: Faults) -> Iterator[str]:
    kinds = (
        (faults.kills, "crash", "crashes"),
        (faults.errors, "I/O error", "I/O errors"),
        (faults.pauses, "pause", "pauses"),
        (faults.power_losses, f"power loss ({faults.disk})", f"power losses ({faults.disk})"),
    )
    for count, one, many in kinds:
        if count:
            yield f"one {one}" if count == 1 else f"up to {count} {many}"
