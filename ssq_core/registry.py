"""Which queue does a URL name? `open_queue` opens it."""

import importlib
import re
from typing import Any, cast
from urllib.parse import unquote

from ssq_core.queue import LeaseQueue

# A backend is imported when its URL is opened: nobody pays for another's driver.
_FILES = {
    "file": ("ssq_core.file", "FileWorkerQueue"),
    "sqlite": ("ssq_core.sqlite", "SqliteWorkerQueue"),
}
_SERVERS = {
    "postgresql": ("ssq_core.postgres", "PostgresWorkerQueue"),
    "postgres": ("ssq_core.postgres", "PostgresWorkerQueue"),
    "redis": ("ssq_core.redis", "RedisWorkerQueue"),
    "rediss": ("ssq_core.redis", "RedisWorkerQueue"),
    "unix": ("ssq_core.redis", "RedisWorkerQueue"),
}


def open_queue(url: str, **settings: Any) -> LeaseQueue:
    """Open `file:///folder`, `sqlite:///path/to/file.db`, `postgresql://user@host/database`, `redis://host`.

    `settings` are the backend's own arguments. A path is absolute and percent-encoded (`%20` is a space,
    `%3F` a question mark); a server's URL is as its driver takes it. Raises `ValueError` for any other URL.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme in _SERVERS:
        return _opened(_SERVERS[scheme], url, settings)
    if not separator or scheme not in _FILES:
        known = [f"{name}:///path" for name in _FILES] + [f"{name}://host" for name in _SERVERS]
        # Not shown whole: what comes after the scheme may hold a password.
        raise ValueError(f"{_start(url)!r} names no queue; write one of {', '.join(known)}")
    if not rest.startswith("/") or not rest.strip("/"):
        raise ValueError(f"{url!r} has no absolute path; write {scheme}:///path, with three slashes")
    if unsafe := re.search(r"[?#]", rest):
        raise ValueError(
            f"{url!r} has a {unsafe[0]!r}; settings are arguments; in a path write %{ord(unsafe[0]):X}"
        )
    return _opened(_FILES[scheme], unquote(rest, errors="surrogateescape"), settings)


def _opened(backend: tuple[str, str], place: str, settings: dict[str, Any]) -> LeaseQueue:
    module, name = backend
    return cast("LeaseQueue", getattr(importlib.import_module(module), name)(place, **settings))


def _start(url: str) -> str:
    scheme, separator, _ = url.partition("://")
    return f"{scheme}://..." if separator else url
