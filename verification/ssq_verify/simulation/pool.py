"""Who carries the searches out? Other processes, in which nothing but simulation goes on.

Each starts with the same hash seed, and replaces functions before it loads the subject; this process stays as
it is. Results come back in the order of the tasks, whoever was first: a seed means the same on any machine.
"""

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from ssq_verify import children
from ssq_verify import subject as subject_module
from ssq_verify.children import ended_at_once, killed, uninterrupted
from ssq_verify.simulation import interposition
from ssq_verify.subject import Subject, SubjectFailed

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
Task = Callable[Concatenate[Subject, P], R_co]
HASH_SEED = "0"
OUTPUTS = (1, 2)
"""By number: who started us may have closed them, and then there are no objects for them."""


class Pending(Protocol[R_co]):
    """A result that is still being made."""

    def result(self, seconds_max: float | None = None) -> R_co:
        """Wait for it. Raises what the task raised; `SubjectFailed` if its process dies or hangs."""
        ...


class Pool:
    """Carries out tasks on one subject, in other processes or, with none, here and at once."""

    def __init__(self, subject: Subject, executor: ProcessPoolExecutor | None) -> None:
        self._subject = subject
        self._executor = executor

    def begin(self, task: Task[P, R_co], *args: P.args, **kwargs: P.kwargs) -> Pending[R_co]:
        """Begin a task, a function of a module that takes the subject first."""
        if self._executor is None:
            return _Done(task(self._subject, *args, **kwargs))
        reference = self._subject.reference
        with uninterrupted():
            future = self._executor.submit(_carried_out, reference, task, args, kwargs)
        return _Elsewhere(self._executor, reference, future)


@contextmanager
def pool(subject: Subject, *, processes: int) -> Iterator[Pool]:
    """Give a pool of so many processes; 0 for none, which is for a subject that has no reference."""
    if processes == 0:
        yield Pool(subject, None)
        return
    executor = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_fall_silent)
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = HASH_SEED
    try:
        with ended_at_once(executor):
            yield Pool(subject, executor)
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before


class _Done:
    def __init__(self, result: Any) -> None:
        self._result = result

    def result(self, seconds_max: float | None = None) -> Any:  # noqa: ARG002 - the interface's
        return self._result


class _Elsewhere:
    def __init__(self, executor: ProcessPoolExecutor, reference: str, future: Future[Any]) -> None:
        self._executor = executor
        self._future = future
        self._reference = reference

    def result(self, seconds_max: float | None = None) -> Any:
        try:
            return self._future.result(seconds_max)
        except BrokenProcessPool:
            died = "its process died while it was simulated"
            raise SubjectFailed(f"{self._reference}: {died}; does it end the process?") from None
        except TimeoutError:
            killed(self._executor)
            late = f"a simulated run did not come back within {seconds_max:.0f} s"
            raise SubjectFailed(f"{self._reference}: {late}; does it loop without a system call?") from None


def _fall_silent() -> None:
    """Let nothing that a subject prints or logs get between the results, and nobody outlive them."""
    children.settle()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for standard in OUTPUTS:
        os.dup2(nowhere, standard)
    logging.disable()


def _carried_out(reference: str, task: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    return task(_loaded(reference), *args, **kwargs)


@cache
def _loaded(reference: str) -> Subject:
    interposition.install()
    return subject_module.load(reference)
