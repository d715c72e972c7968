"""What does any server of our own do when it is told to, whatever it serves?"""

from abc import ABC, abstractmethod
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from ssq_stress.servers.process import ServerProcess


class Server(ABC):
    """A server that runs until it is closed; as a context manager, until the end of the block."""

    _process: ServerProcess

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    socket_name: str
    """Of the socket in its folder."""

    @property
    def url(self) -> str:
        """Where it is."""
        return self.url_in(self.folder)

    @abstractmethod
    def url_in(self, folder: Path) -> str:
        """Return where it would be if its socket were in that folder."""

    @abstractmethod
    def start(self) -> None:
        """Start it on the data that it has. Raises `ServerFailed`."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it in an orderly way."""

    @property
    def name(self) -> str:
        """What it is called: postgres, or redis."""
        return self._process.name

    @property
    def folder(self) -> Path:
        """Where its data, its socket and its log are."""
        return self._process.folder

    @property
    def clock_file(self) -> Path:
        """What its clock shows, if it has one that can be set."""
        return self._process.clock_file

    @property
    def is_running(self) -> bool:
        """Whether it was started, and neither stopped nor killed since."""
        return self._process.is_running

    def restart(self) -> None:
        """Stop it, unless it was killed, and start it again."""
        if self._process.is_running:
            self.stop()
        self.start()

    def mend(self) -> bool:
        """Do what lets it start on damaged data that it refuses; returns whether there is such a thing."""
        return False

    def kill(self) -> None:
        """Kill all its processes; what it wrote is on the disk, or in the kernel's hands."""
        self._process.kill()

    def pause(self) -> None:
        """Let all its processes stand still."""
        self._process.pause()

    def resume(self) -> None:
        """Let them go on."""
        self._process.resume()

    def set_time(self, now: datetime) -> None:
        """Let it see an instant that stands still until it is set anew."""
        self._process.set_time(now)

    def release_time(self) -> None:
        """Let it see the real time."""
        self._process.release_time()

    def close(self) -> None:
        """End it and remove its folder."""
        self._process.close()
