"""Where is the server that a subject lives in? Whoever runs the subject says so, in the environment.

The environment, because it reaches the processes that are started meanwhile, and shows a password to nobody.
"""

import os
from dataclasses import dataclass

BY_SQL = "sql"
"""As a place's clock: there is no file; the adapter replaces the functions that tell the time."""


class NoServer(Exception):  # noqa: N818 - it names what is missing
    """Nobody said where the server is."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{_variable(name, 'URL')} is not set; `ssq verify {name}` starts a server, or set it to a URL"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A server, what part of it may be used, and how its clock is set."""

    url: str
    area: str | None = None
    """Such as a schema, that will be removed with all that is in it; None for a server that is all ours."""
    clock: str | None = None
    """The file that libfaketime reads there, or `BY_SQL`; None if its time is the real one."""


def place(name: str) -> Place:
    """Return where a server is. Raises `NoServer`."""
    url = os.environ.get(_variable(name, "URL"))
    if not url:
        raise NoServer(name)
    area, clock = (os.environ.get(_variable(name, what)) or None for what in ("AREA", "CLOCK"))
    return Place(url=url, area=area, clock=clock)


def environment(name: str, where: Place) -> dict[str, str]:
    """Return the variables that say where a server is; an empty one says nothing."""
    told = {"URL": where.url, "AREA": where.area or "", "CLOCK": where.clock or ""}
    return {_variable(name, what): value for what, value in told.items()}


def _variable(name: str, what: str) -> str:
    return f"SSQ_{name.upper()}_{what}"
