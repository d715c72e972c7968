"""Which queue does a URL name? `open_queue` opens it."""

from typing import Any

from ssq_core.queue import LeaseQueue


def open_queue(url: str, **settings: Any) -> LeaseQueue:
    """Open `file:///folder` or `sqlite:///file.db`; `settings` are the backend's own keyword arguments."""
    raise NotImplementedError
