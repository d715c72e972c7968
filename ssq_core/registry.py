"""Which queue does a URL name? `open_queue` opens it."""

import importlib
import re
from typing import Any, cast
from urllib.parse import unquote

from ssq_core.queue import LeaseQueue

# A backend is imported when its URL is opened: nobody pays for another's driver.
_BACKENDS = {
    "file": ("ssq_core.file", "FileWorkerQueue"),
    "sqlite": ("ssq_core.sqlite", "SqliteWorkerQueue"),
}


def open_queue(url: str, **settings: Any) -> LeaseQueue:
    """Open `file:///folder` or `sqlite:///path/to/file.db`; `settings` are the backend's own arguments.

    The path is absolute and percent-encoded (`%20` is a space, `%3F` a question mark). Raises `ValueError`
    for any other URL.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _BACKENDS:
        known = ", ".join(f"{name}:///path" for name in _BACKENDS)
        raise ValueError(f"{url!r} names no queue; write one of {known}")
    if not rest.startswith("/") or not rest.strip("/"):
        raise ValueError(f"{url!r} has no absolute path; write {scheme}:///path, with three slashes")
    if unsafe := re.search(r"[?#]", rest):
        raise ValueError(
            f"{url!r} has a {unsafe[0]!r}; settings are arguments; in a path write %{ord(unsafe[0]):X}"
        )
    module, name = _BACKENDS[scheme]
    backend = getattr(importlib.import_module(module), name)
    return cast("LeaseQueue", backend(unquote(rest, errors="surrogateescape"), **settings))
