"""Which server does a subject live in while it is tried? One that was named, or one started for it alone."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from ssq_stress.console import BadInput
from ssq_stress.servers import Postgres, Server, ServerFailed, ServerNotInstalled
from ssq_stress.servers.given import given_postgres
from ssq_verify import servers
from ssq_verify.servers import NoServer, Place
from ssq_verify.subject import Subject


@contextmanager
def served(reference: str, subject: Subject, *, in_turns: bool) -> Iterator[Server | None]:
    """Say in the environment where the subject's server is, for the time of the block. Raises `BadInput`.

    In turns its clock stands still and is moved by hand, and nothing is synced: nobody loses power there.
    Gives the server, if it is one of our own.
    """
    if subject.server is None:
        yield None
        return
    url = _named(reference, subject.server)
    try:
        with ExitStack() as stack:
            if url is None:
                server, place = stack.enter_context(_started(subject.server, in_turns=in_turns))
            else:
                server, place = None, stack.enter_context(_given(subject.server, url, in_turns=in_turns))
            stack.enter_context(_environment(servers.environment(subject.server, place)))
            yield server
    except (ServerFailed, ServerNotInstalled) as error:
        raise BadInput(str(error)) from error


def _named(reference: str, server: str) -> str | None:
    """Return the URL of a server that is there already: the reference, or what the environment says."""
    if "://" in reference:
        return reference
    try:
        return servers.place(server).url
    except NoServer:
        return None


def _started(server: str, *, in_turns: bool) -> AbstractContextManager[tuple[Server, Place]]:
    if server == "postgres":
        return _started_postgres(in_turns=in_turns)
    raise _unknown(server)


def _given(server: str, url: str, *, in_turns: bool) -> AbstractContextManager[Place]:
    if server == "postgres":
        return given_postgres(url, has_clock=in_turns)
    raise _unknown(server)


def _unknown(server: str) -> BadInput:
    return BadInput(f"{server}: no such server; name postgres in @subject(server=...)")


@contextmanager
def _started_postgres(*, in_turns: bool) -> Iterator[tuple[Server, Place]]:
    with Postgres(is_durable=not in_turns, has_clock=in_turns) as server:
        yield server, Place(url=server.url, clock=str(server.clock_file) if in_turns else None)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
