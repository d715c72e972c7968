"""How does a script reach the server, and what is known when no answer comes back?

redis-py's own retries play no part here: a connection is taken from the pool, which looks whether it still
stands and else connects anew; then one request goes out on it. What fails before that certainly did nothing,
and is `QueueUnavailable`. What fails after it is `OutcomeUnknown`, unless the server said itself that it did
not begin. Messages name the server without its password.
"""

import math
import re
from collections.abc import Callable
from typing import Any

from ssq_core.queue import (
    MissingDriver,
    OutcomeUnknown,
    QueueDataCorruptedError,
    QueueError,
    QueueUnavailable,
    UnsupportedSchema,
)
from ssq_core.redis_scripts import CHECK, FORMAT, PARTS, Script, keys

try:
    import redis
    from redis import exceptions
    from redis.backoff import NoBackoff
    from redis.connection import ConnectionPool
    from redis.retry import Retry
except ModuleNotFoundError as error:
    if error.name != "redis":
        raise
    raise MissingDriver("redis", "redis") from error

_REFUSED = {
    "BUSY": "it runs somebody's endless script; try again, or end that with SCRIPT KILL",
    "CLUSTERDOWN": "its cluster is down; try again when it is up",
    "LOADING": "it still loads its data; try again",
    "MASTERDOWN": "it is a replica that lost its primary; give the primary's address",
    "MISCONF": "it takes no writes because it can not save to its disk; see its log",
    "MOVED": "another node of the cluster keeps this queue; give that node's address",
    "NOAUTH": "it asks for a password; give one in the URL",
    "NOPERM": "its user may not do this; allow it EVALSHA, EVAL and the keys of the queue",
    "NOREPLICAS": "it takes no writes because it has too few replicas; see min-replicas-to-write",
    "OOM": "its memory is full; let jobs be worked off, or raise maxmemory",
    "READONLY": "it is a replica, which takes no writes; give the primary's address",
    "TRYAGAIN": "its cluster is moving this queue to another node; try again",
    "UNKILLABLE": "it runs somebody's endless script; it must be restarted",
    "WRONGPASS": "it does not take this user and password; correct them in the URL",
}
"""Answers of a server that did not begin, or stopped before the first write, and what to do then."""

_CODES = {
    exceptions.AuthenticationError: "WRONGPASS",
    exceptions.BusyLoadingError: "LOADING",
    exceptions.MasterDownError: "MASTERDOWN",  # before its own base
    exceptions.ClusterDownError: "CLUSTERDOWN",
    exceptions.MovedError: "MOVED",
    exceptions.NoPermissionError: "NOPERM",
    exceptions.OutOfMemoryError: "OOM",
    exceptions.ReadOnlyError: "READONLY",
    exceptions.TryAgainError: "TRYAGAIN",
}
"""What redis-py makes of an answer, whose code it then leaves out of the text."""

_WRONG_TYPE = "WRONGTYPE"
_CODE = re.compile(rf"\b({'|'.join([*_REFUSED, _WRONG_TYPE])})\b")
_URL = "redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss://..., or unix:///PATH"


class Server:
    """The server that keeps one queue, for any number of threads."""

    def __init__(
        self, *, url: str | None, client: "redis.Redis | None", name: str, seconds_max: float
    ) -> None:
        self._pool: Any = _pool(url, seconds_max) if client is None else client.connection_pool
        self._keys = keys(name)
        self._bell = self._keys[PARTS.index("bell")]
        self.silent_seconds_max = self._pool.connection_kwargs.get("socket_timeout") or seconds_max
        """How long a connection waits for an answer."""
        self.where = f"{_address(self._pool.connection_kwargs)} (queue {name!r})"
        self.run("open", CHECK)
        self._refuse_eviction()

    def run(self, operation: str, script: Script, *args: str | bytes | int) -> list[Any]:
        """Run a script and return its answer, which begins with a word.

        Raises `QueueUnavailable`, `OutcomeUnknown`, `QueueDataCorruptedError` and `UnsupportedSchema`.
        """
        request = (len(self._keys), *self._keys, FORMAT, *args)
        answer: list[Any] = self._asked(operation, lambda connection: _answer(connection, script, request))
        if answer[0] == b"format":
            raise UnsupportedSchema(self.where, int(answer[1]), FORMAT)
        return answer

    def hears(self, operation: str, rings: int, seconds: float) -> bool:
        """Wait on the server for a ring after so many; False if there is none. Raises as `run`."""
        milliseconds = max(1, math.ceil(seconds * 1000))  # 0 would be for ever
        request = ("XREAD", "BLOCK", milliseconds, "STREAMS", self._bell, f"{rings}-0")
        return bool(self._asked(operation, lambda connection: _reply(connection, *request)))

    def _asked(self, operation: str, ask: Callable[[Any], Any]) -> Any:
        connection = self._connected(operation)
        try:
            return ask(connection)
        except BaseException as error:
            # An answer that is still to come must not be taken for that of the next request.
            connection.disconnect()
            if isinstance(error, exceptions.RedisError | OSError):
                raise self._typed(operation, error) from error
            raise
        finally:
            self._pool.release(connection)

    def close(self) -> None:
        """Close the idle connections; the next operation opens one."""
        self._pool.disconnect(inuse_connections=False)

    def _connected(self, operation: str) -> Any:
        try:
            return self._pool.get_connection()
        except (exceptions.RedisError, OSError) as error:
            raise QueueUnavailable(operation, self.where, _why_not_connected(error)) from error

    def _typed(self, operation: str, error: Exception) -> QueueError:
        code = _code(error)
        if code == _WRONG_TYPE:
            return QueueDataCorruptedError(self.where, "its keys hold another program's data")
        if code is not None:
            return QueueUnavailable(operation, self.where, _REFUSED[code])
        return OutcomeUnknown(operation, self.where, " ".join(str(error).split()) or type(error).__name__)

    def _refuse_eviction(self) -> None:
        """Refuse a server that drops keys when its memory is full; one that may not be asked is trusted."""
        client = redis.Redis(connection_pool=self._pool)
        try:
            memory = client.info("memory")
        except exceptions.ResponseError:
            return
        except (exceptions.RedisError, OSError) as error:
            raise QueueUnavailable("open", self.where, _why_not_connected(error)) from error
        policy = str(memory.get("maxmemory_policy", ""))
        if memory.get("maxmemory") and policy.startswith("allkeys"):
            reason = f"it may throw jobs away (maxmemory-policy {policy}); set it to noeviction"
            raise QueueUnavailable("open", self.where, reason)


def _pool(url: str | None, seconds_max: float) -> Any:
    # Any: redis-py's types for connections are incomplete, and differ between its versions.
    if url is None:
        raise ValueError("neither url nor client is given; give one of them")
    try:
        return ConnectionPool.from_url(
            url,
            socket_timeout=seconds_max,
            socket_connect_timeout=seconds_max,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
        )
    except (ValueError, TypeError):
        # The message may quote a part of the password.
        raise ValueError(f"the URL can not be read; write {_URL}, odd characters as %XX") from None


def _address(settings: dict[str, Any]) -> str:
    database = settings.get("db") or 0
    if "path" in settings:
        return f"unix://{settings['path']}?db={database}"
    return f"redis://{settings.get('host', 'localhost')}:{settings.get('port', 6379)}/{database}"


def _answer(connection: Any, script: Script, request: tuple[Any, ...]) -> list[Any]:
    try:
        return _reply(connection, "EVALSHA", script.digest, *request)  # type: ignore[no-any-return]
    except exceptions.NoScriptError:
        # A server that was restarted, or never saw it; it did nothing, and keeps the script from now on.
        return _reply(connection, "EVAL", script.text, *request)  # type: ignore[no-any-return]


def _reply(connection: Any, *request: Any) -> Any:
    connection.send_command(*request)
    return connection.read_response(disable_decoding=True)


def _why_not_connected(error: Exception) -> str:
    code = _code(error)
    if code is not None:
        return _REFUSED.get(code, str(error))
    return f"can not connect ({' '.join(str(error).split())}); is the server up, and the address right?"


def _code(error: Exception) -> str | None:
    """Return the code of a server's answer, None for an error on the way to it or back."""
    by_type = next((code for kind, code in _CODES.items() if isinstance(error, kind)), None)
    if by_type is not None:
        return by_type
    found = _CODE.search(str(error)) if isinstance(error, exceptions.ResponseError) else None
    return found[1] if found else None
