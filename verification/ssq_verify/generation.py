"""Which runs does a seed stand for? Hypothesis drives the machine, here without judging what comes out.

The same seed gives the same scenarios in any process, at any time, for the same version of Hypothesis.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis.internal.conjecture import providers
from hypothesis.stateful import run_state_machine_as_test

from ssq_verify.machine import Example, QueueMachine, machine_for
from ssq_verify.subject import Subject

Tick = Callable[[int], None]
"""Told after each example how many there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How much to generate."""

    examples: int
    steps: int
    """In each example, at most."""
    seconds_max: float
    """No example is begun after this."""


def generate(subject: Subject, effort: Effort, *, seed: int, tick: Tick = lambda _: None) -> list[Example]:
    """Return the examples that a seed stands for, fewer if the time ran out, numbered as runs from 0."""
    collected: list[Example] = []
    deadline = time.monotonic() + effort.seconds_max

    def finish(example: Example) -> None:
        if time.monotonic() > deadline:
            raise _OutOfTimeError
        if len(collected) < effort.examples:
            collected.append(example)
        tick(len(collected))

    machine = hypothesis.seed(seed)(machine_for(subject, finish=finish))
    with suppress(_OutOfTimeError):
        _run(machine, effort)
    return collected


class _OutOfTimeError(Exception):
    """No more examples are wanted."""


def _run(machine: type[QueueMachine], effort: Effort) -> None:
    settings = hypothesis.settings(
        max_examples=effort.examples,
        stateful_step_count=effort.steps,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        print_blob=False,
    )
    with _plain_draws():
        run_state_machine_as_test(machine, settings=settings)


@contextmanager
def _plain_draws() -> Iterator[None]:
    """Let Hypothesis draw from the seed alone.

    It would otherwise, now and then, draw numbers that it read in the source of whatever modules are loaded:
    the same seed would differ between the command line and a test. Versions without that need nothing.
    """
    provider, name = providers.HypothesisProvider, "_maybe_draw_constant"
    original = getattr(provider, name, None)
    if original is None:
        yield
        return
    setattr(provider, name, lambda *_, **__: None)
    try:
        yield
    finally:
        setattr(provider, name, original)
