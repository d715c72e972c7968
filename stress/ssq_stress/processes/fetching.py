"""How does a worker process come by its subject? By the reference that names it, or else whole, by dill."""

from collections.abc import Callable
from functools import cache, partial

from ssq_stress.supervisor import preload
from ssq_verify import subject as subject_module
from ssq_verify.subject import Subject, UnknownSubject


def loader(subject: Subject) -> Callable[[], Subject]:
    """Return what gives a worker process its subject: by its reference, or whole if that leads nowhere."""
    try:
        known = subject_module.load(subject.reference)
    except UnknownSubject:
        return lambda: subject
    if known.promises != subject.promises or known.clock != subject.clock:
        return lambda: subject
    preload(known.factory.__module__)
    return partial(loaded, subject.reference)


@cache
def loaded(reference: str) -> Subject:
    """Return the subject that a reference names, loaded once in a process."""
    return subject_module.load(reference)
