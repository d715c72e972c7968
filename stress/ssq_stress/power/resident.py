"""How does a server live on a disk that loses its power? It dies with it, and starts on what is left."""

from collections.abc import Mapping
from pathlib import Path

from ssq_stress.power.losses import Nobody, Resident
from ssq_stress.servers import OWN, Postgres, Redis, ServerFailed
from ssq_verify.servers import Place, environment
from ssq_verify.subject import Subject


def resident(subject: Subject) -> Resident:
    """Return what of a subject must live on the disk: its server, if it has one."""
    return Nobody() if subject.server is None else OnDisk(subject.server, subject.server_settings)


class OnDisk:
    """A server of our own whose data are on the disk, set as a subject wants it."""

    def __init__(self, name: str, settings: Mapping[str, str]) -> None:
        self.mended = 0
        """How often it refused to start on what was left, until its data were mended."""
        self._name, self._settings = name, settings
        self._server: Postgres | Redis | None = None

    def start(self, folder: Path) -> Mapping[str, str]:
        """Make it, or start it anew on what is left; returns where it is. Raises `ServerFailed`."""
        if self._server is None:
            self._server = OWN[self._name](parent=folder, settings=self._settings)
        else:
            self._restart(self._server)
        return environment(self._name, Place(url=self._server.url))

    def stop(self) -> None:
        """Kill it."""
        if self._server is not None:
            self._server.kill()

    def close(self) -> None:
        """Remove what it left."""
        if self._server is not None:
            self._server.close()

    def _restart(self, server: Postgres | Redis) -> None:
        try:
            server.start()
        except ServerFailed:
            if not server.mend():
                raise
            self.mended += 1
            server.start()
