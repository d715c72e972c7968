"""How does a worker process come by its subject? By the reference that names it, or else whole, by dill."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

from ssq_stress.supervisor import preload
from ssq_verify import subject as subject_module
from ssq_verify.subject import Promises, Subject, UnknownSubject


def loader(subject: Subject) -> Callable[[], Subject]:
    """Return what gives a worker process its subject: by its reference, or whole if that leads nowhere."""
    try:
        known = subject_module.load(subject.reference)
    except UnknownSubject:
        preload()
        return lambda: subject
    if _opens(known) != _opens(subject) or known.clock != subject.clock:
        preload()
        return lambda: subject
    preload(known.factory.__module__)
    return partial(loaded, subject.reference, subject.promises)


@cache
def loaded(reference: str, promises: Promises) -> Subject:
    """Return the subject that a reference names, held to this, loaded once in a process."""
    return replace(subject_module.load(reference), promises=promises)


def _opens(subject: Subject) -> tuple[str | None, str | None]:
    """Return where the function is that opens it; a file may have been loaded twice."""
    factory = subject.factory
    return getattr(factory, "__module__", None), getattr(factory, "__qualname__", None)
