"""Which queue is under test, and what does it promise? Names, modules and files become a `Subject` here."""

import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeVar

from ssq_core.queue import Clock, MissingDriver, RetryPolicy, WorkerQueue, utc_now
from ssq_verify import subjects, versions
from ssq_verify.history import Terms

SAFE_NAME_LENGTH_MAX = 40
BATCH_OPERATIONS = ("enqueue_many", "claim_many", "ack_many")
"""What a `BatchQueue` has; a queue has all of them, or counts as having none."""
SERVERS = {
    "postgresql": "postgres",
    "postgres": "postgres",
    "redis": "redis",
    "rediss": "redis",
    "unix": "redis",
}
"""Which subject lives in the server that a URL of this scheme names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What the harness asks of a queue that it opens for one worker."""

    lease_ttl_seconds: float
    retry: RetryPolicy
    max_clock_skew_seconds: float
    clock: Clock
    """That worker's own clock, right or wrong."""
    server_time: Clock = utc_now
    """What the clock of a server that keeps the time is to show, whatever the worker's own says."""
    has_sweeper: bool = False
    """Whether a process of its own does what a queue leaves to a scheduler, `sweep()`; else a claim does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Promises:
    """What a queue promises, declared beside its factory; the default is the whole contract.

    `"policy"` stands for "as the policy asked". Operations that the object lacks are found by looking.
    """

    lease: bool = True
    fencing: bool = True
    extend: bool = True
    back_off: bool | Literal["constant"] = True
    """Whether a released job rests; `"constant"`: for as long after each attempt as after the first."""
    max_attempts: int | Literal["policy"] | None = "policy"
    idempotent_enqueue: bool = True
    repeat_ack: Literal["refused", "accepted"] = "refused"
    late_ack: Literal["accepted", "rejected", "either"] = "accepted"
    durability: Literal["power-loss", "process-crash", "none"] = "power-loss"
    max_clock_skew_seconds: float | Literal["policy"] | None = "policy"
    time_resolution_seconds: float = 0.001
    """How coarse its own times are: so late may it see that a lease, or a rest, has ended; never early."""
    order: Literal["fifo", "fifo-relaxed"] | None = "fifo"
    spurious_empty: bool = True
    processes: Literal["many", "one"] = "many"
    """How many may have the queue open at once; of one, all workers are that process."""
    forks: bool = False
    """Whether a handle that was opened before a fork may be used on either side of it."""


Factory = Callable[[Path, Policy], WorkerQueue]
F = TypeVar("F", bound=Factory)


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A queue under test: how to open it for one worker, and what to hold it to."""

    reference: str
    """As it was named: `file`, `package.module:factory`, `path/to/file.py:factory`."""
    factory: Factory
    promises: Promises = Promises()
    clock: Literal["policy", "system", "libc"] = "policy"
    """Where its time comes from: the policy's clock, Python's functions, or what C code asks libc for.

    What asks the system takes its turns in simulated processes, where of C code SQLite's is told the time.
    """
    server: str | None = None
    """Which server it lives in, by its name in `SERVERS`; whoever runs it starts one, or names one."""
    server_settings: Mapping[str, str] = field(default_factory=dict)
    """What the server that is started for it is set to, beside what keeps all that was answered."""
    embedded: Literal["file", "sqlite"] = "file"
    """Without a server: what it keeps its jobs in."""

    @property
    def backend(self) -> str:
        """What its speed is held against."""
        return self.server or self.embedded

    @property
    def asks_system(self) -> bool:
        """Whether it reads the system's clock, in Python or in C."""
        return self.clock != "policy"


class UnknownSubject(Exception):  # noqa: N818 - it names what is unknown
    """A reference that leads to no factory; the message says what to write instead."""


class NotInstalled(UnknownSubject):
    """A subject that comes with an adapter here, and the package itself does not."""

    def __init__(self, name: str, extra: str = "third-party") -> None:
        super().__init__(f"{name} is not installed; pip install 'ssq[{extra}]'")
        self.extra = extra


class NotThatVersion(UnknownSubject):
    """A subject that was named with a version which nobody installed."""

    def __init__(self, name: str, package: str, version: str) -> None:
        super().__init__(f"{package} {version} is not installed beside; ssq install {name}@{version}")


class SubjectFailed(Exception):  # noqa: N818 - it names what failed
    """The subject can not be used at all: its factory raised, or it answers in a form that is no queue's."""


def subject(
    *,
    promises: Promises,
    clock: Literal["policy", "system", "libc"] = "policy",
    server: str | None = None,
    server_settings: Mapping[str, str] = MappingProxyType({}),
    embedded: Literal["file", "sqlite"] = "file",
) -> Callable[[F], F]:
    """Declare what the queue that a factory opens promises, which clock it reads, where it keeps its jobs."""

    def declare(factory: F) -> F:
        factory.ssq_promises = promises  # type: ignore[attr-defined]
        factory.ssq_clock = clock  # type: ignore[attr-defined]
        factory.ssq_server = server  # type: ignore[attr-defined]
        factory.ssq_server_settings = server_settings  # type: ignore[attr-defined]
        factory.ssq_embedded = embedded  # type: ignore[attr-defined]
        return factory

    return declare


def names() -> tuple[str, ...]:
    """Return the subjects that come with the package."""
    return tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(subjects.__path__)))


def safe_name(reference: str) -> str:
    """Return a subject's reference as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", reference).strip("-.")[-SAFE_NAME_LENGTH_MAX:] or "subject"


def load(reference: str) -> Subject:
    """Return the subject that a reference names. Raises `UnknownSubject`."""
    factory = _factory(reference)
    return Subject(
        reference=without_password(reference),
        factory=factory,
        promises=getattr(factory, "ssq_promises", Promises()),
        clock=getattr(factory, "ssq_clock", "policy"),
        server=getattr(factory, "ssq_server", None),
        server_settings=getattr(factory, "ssq_server_settings", {}),
        embedded=getattr(factory, "ssq_embedded", "file"),
    )


def terms(promises: Promises, policy: Policy, queue: WorkerQueue) -> Terms:
    """Return what this queue is held to: what it promises, less the operations that the object lacks."""
    return Terms(
        lease_ttl_seconds=policy.lease_ttl_seconds,
        max_attempts=policy.retry.max_attempts
        if promises.max_attempts == "policy"
        else promises.max_attempts,
        backoff_base_seconds=policy.retry.backoff_base_seconds,
        backoff_max_seconds=policy.retry.backoff_seconds(1)
        if promises.back_off == "constant"
        else policy.retry.backoff_max_seconds,
        max_clock_skew_seconds=(
            policy.max_clock_skew_seconds
            if promises.max_clock_skew_seconds == "policy"
            else promises.max_clock_skew_seconds
        ),
        time_resolution_seconds=promises.time_resolution_seconds,
        lease=promises.lease,
        fencing=promises.fencing,
        release=callable(getattr(queue, "release", None)),
        extend=promises.extend and callable(getattr(queue, "extend", None)),
        back_off=bool(promises.back_off),
        payload=takes_payload(queue),
        dead_letters=callable(getattr(queue, "dead", None)),
        batches=offers_batches(queue),
        lists_jobs=callable(getattr(queue, "job_ids", None)),
        sweeps=callable(getattr(queue, "sweep", None)),
        idempotent_enqueue=promises.idempotent_enqueue,
        repeat_ack=promises.repeat_ack,
        late_ack=promises.late_ack,
        durability=promises.durability,
        order=promises.order,
        spurious_empty=promises.spurious_empty,
        forks=promises.forks and promises.processes == "many",
    )


def offers_batches(queue: object) -> bool:
    """Whether a queue takes many jobs in one call."""
    return all(callable(getattr(queue, name, None)) for name in BATCH_OPERATIONS)


def takes_payload(queue: WorkerQueue) -> bool:
    """Whether `enqueue` accepts a payload; a plain queue takes the job id alone."""
    enqueue = queue.enqueue
    return _accepts_payload(getattr(enqueue, "__func__", enqueue))


@lru_cache(maxsize=256)
def _accepts_payload(enqueue: Callable[..., object]) -> bool:
    # Looking takes longer than most operations, and a simulation opens a queue thousands of times.
    parameters = inspect.signature(enqueue).parameters
    return "payload" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def without_password(reference: str) -> str:
    """Return a reference as it may be shown and kept: of a URL, all but its password."""
    if "://" not in reference:
        return reference
    shown = re.sub(r"(?<=://)([^/?#@]*?):.*@", r"\1@", reference)
    return re.sub(r"(?<=[?&])((?:ssl)?password)=[^&]*", r"\1=...", shown)


def _factory(reference: str) -> Factory:
    scheme, is_url, _ = reference.partition("://")
    if is_url and scheme in SERVERS:
        return _named(SERVERS[scheme])
    if is_url:
        shown = without_password(reference)
        raise UnknownSubject(f"{shown}: no subject lives there; name a postgresql:// or redis:// URL")
    module_name, separator, attribute = reference.rpartition(":")
    if not separator:
        return _named(reference)
    module = (
        _from_file(Path(module_name)) if module_name.endswith(".py") else _from_module(module_name, reference)
    )
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise UnknownSubject(
            f"{reference}: {module_name} has no function {attribute!r}; write FILE.py:FUNCTION"
        )
    return factory  # type: ignore[no-any-return]


def _named(name: str) -> Factory:
    name, version = versions.parted(name)
    if name not in names():
        raise UnknownSubject(
            f"{name}: no such subject; name one of {', '.join(names())}, or FILE.py:FUNCTION"
        )
    _choose(name, version)
    try:
        module = importlib.import_module(f"{subjects.__name__}.{name.replace('-', '_')}")
    except MissingDriver as error:
        # With its driver comes the server that it is tried on.
        raise NotInstalled(name, "servers") from error
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("ssq_"):
            raise
        raise NotInstalled(name) from error
    if version is not None and not versions.is_loaded(versions.package_of(name), version):
        raise UnknownSubject(str(versions.VersionClash(versions.package_of(name), version, None)))
    return module.open_queue  # type: ignore[no-any-return]


def _choose(name: str, version: str | None) -> None:
    """Let the package that a subject adapts be imported in this version."""
    package = versions.package_of(name)
    if version is not None and not versions.is_installed(package, version):
        raise NotThatVersion(name, package, version)
    try:
        versions.choose(package, version)
    except versions.VersionClash as error:
        raise UnknownSubject(str(error)) from error


def _from_module(name: str, reference: str) -> object:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnknownSubject(
            f"{reference}: can not import {name} ({error}); check the name and PYTHONPATH"
        ) from error


def _from_file(path: Path) -> object:
    if not path.is_file():
        raise UnknownSubject(f"{path}: no such file; write FILE.py:FUNCTION with a path from here")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its neighbours import as they would in a script run from there.
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UnknownSubject(f"{path}: importing it raised {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    return module
