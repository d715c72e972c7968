"""Where does a real server come from? Each class starts one in a temporary folder, and ends it."""

from collections.abc import Mapping
from types import MappingProxyType

from ssq_stress.servers.postgres import Postgres
from ssq_stress.servers.process import ServerFailed, ServerNotInstalled
from ssq_stress.servers.redis import Redis
from ssq_stress.servers.server import Server

OWN: Mapping[str, type[Postgres | Redis]] = MappingProxyType({"postgres": Postgres, "redis": Redis})
"""By the names that subjects know them by."""

__all__ = ["OWN", "Postgres", "Redis", "Server", "ServerFailed", "ServerNotInstalled"]
