"""What is a queue held to? A process of its own opens it once to see that, before anybody works on it."""

from collections.abc import Callable

import msgspec

from ssq_stress.processes import host
from ssq_stress.processes.assignment import Folders, reporting
from ssq_stress.supervisor import ended, raise_if_reported, started
from ssq_verify.history import Terms
from ssq_verify.opening import opened, policy
from ssq_verify.scenario import Settings
from ssq_verify.subject import Subject, SubjectFailed, terms

SECONDS_MAX = 30.0


def held_to(load: Callable[[], Subject], folders: Folders, settings: Settings) -> Terms:
    """Return what the queue is held to. Raises `SubjectFailed` if it can't be opened, or never is."""
    process = started(look, load, folders, settings)
    is_in_time = ended(process, seconds_max=SECONDS_MAX)
    raise_if_reported(folders.round / "terms.failed")
    found = folders.round / "terms.json"
    if is_in_time and found.exists():
        return msgspec.json.decode(found.read_bytes(), type=Terms)
    late = f"did not come back within {SECONDS_MAX:.0f} s; what does it wait for?"
    died = f"ended its process with code {process.exitcode}; let it raise instead"
    raise SubjectFailed(f"{load().reference}: opening it for a first look {died if is_in_time else late}")


def look(load: Callable[[], Subject], folders: Folders, settings: Settings) -> None:
    """Open the queue, and write down what it is held to, or why it can't be."""
    host.settle()
    with reporting(folders.round / "terms.failed"):
        subject = load()
        asked = policy(settings)
        queue = opened(subject, folders.queue, asked, name="a first look")
        promised = terms(subject.promises, asked, queue)
        (folders.round / "terms.json").write_bytes(msgspec.json.encode(promised))
        close = getattr(queue, "close", None)
        if callable(close):
            close()
