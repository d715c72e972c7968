"""Where does a real server come from? Each class starts one in a temporary folder, and ends it."""

from ssq_stress.servers.postgres import Postgres
from ssq_stress.servers.process import ServerFailed, ServerNotInstalled
from ssq_stress.servers.redis import Redis
from ssq_stress.servers.server import Server

__all__ = ["Postgres", "Redis", "Server", "ServerFailed", "ServerNotInstalled"]
