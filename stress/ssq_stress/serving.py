"""Which server does a subject live in while it is tried? One that was named, or one started for it alone."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import TypeVar

from ssq_stress.command.console import BadInput
from ssq_stress.nemesis import connection_cut
from ssq_stress.processes import host
from ssq_stress.servers import OWN, Server, ServerFailed, ServerNotInstalled
from ssq_stress.servers.given import given_postgres, given_redis
from ssq_stress.servers.relay import Relay
from ssq_verify import servers
from ssq_verify.servers import NoServer, Place
from ssq_verify.subject import Subject

T = TypeVar("T")


@contextmanager
def served(
    reference: str, subject: Subject, *, in_turns: bool, has_relay: bool = False
) -> Iterator[Server | None]:
    """Say in the environment where the subject's server is, for the time of the block.

    In turns its clock stands still and is moved by hand, and nothing is synced: nobody loses power there.
    Gives the server, if it is one of our own; with a relay, connections to that can be cut.
    Raises `BadInput` if the server can't be had, `ServerFailed` if something of ours failed since.
    """
    if subject.server is None:
        yield None
        return
    with ExitStack() as stack:
        try:
            server, place = stack.enter_context(_there(reference, subject, in_turns=in_turns))
        except (ServerFailed, ServerNotInstalled) as error:
            raise BadInput(str(error)) from error
        # One that fails later is ours, and was no bad input: the harness itself has failed.
        variables = servers.environment(subject.server, place)
        if has_relay and server is not None:
            relay = stack.enter_context(Relay(server))
            variables = servers.environment(subject.server, replace(place, url=relay.url))
            variables[connection_cut.CONTROL] = str(relay.control)
        stack.enter_context(_environment(variables))
        yield server


@contextmanager
def _there(reference: str, subject: Subject, *, in_turns: bool) -> Iterator[tuple[Server | None, Place]]:
    """Find the subject's server, or start one. Raises `BadInput`, `ServerFailed`, `ServerNotInstalled`."""
    assert subject.server is not None, f"{subject.reference} lives in no server"
    url = _named(reference, subject.server)
    if url is None:
        with _started(subject.server, subject.server_settings, in_turns=in_turns) as own:
            yield own
    else:
        with _given(subject.server, url, in_turns=in_turns) as place:
            yield None, place


def _named(reference: str, server: str) -> str | None:
    """Return the URL of a server that is there already: the reference, or what the environment says."""
    if "://" in reference:
        return reference
    try:
        return servers.place(server).url
    except NoServer:
        return None


@contextmanager
def _started(server: str, settings: Mapping[str, str], *, in_turns: bool) -> Iterator[tuple[Server, Place]]:
    kind = _known(OWN, server)
    with kind(is_durable=not in_turns, has_clock=in_turns, settings={} if in_turns else settings) as own:
        yield own, Place(url=own.url, clock=str(own.clock_file) if in_turns else None)


def _given(server: str, url: str, *, in_turns: bool) -> AbstractContextManager[Place]:
    return _known(_GIVEN, server)(url, has_clock=in_turns)


def _known(kinds: Mapping[str, T], server: str) -> T:
    if server not in kinds:
        raise BadInput(f"{server}: no such server; name {' or '.join(kinds)} in @subject(server=...)")
    return kinds[server]


_GIVEN: dict[str, Callable[..., AbstractContextManager[Place]]] = {
    "postgres": given_postgres,
    "redis": given_redis,
}


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    host.renew_fork_server()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
