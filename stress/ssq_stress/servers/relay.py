"""How does a program come to stand between workers and a server of our own, and how does it go again?

What it does is in `between.py`. Its sockets are in the server's own folder, where nobody else gets at them.
"""

import subprocess
import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from ssq_stress.servers import between
from ssq_stress.servers.process import ServerFailed
from ssq_stress.servers.server import Server

END_SECONDS_MAX = 10.0


class Relay(AbstractContextManager["Relay"]):
    """Another way to a server, until the end of the block. Raises `ServerFailed` if it breaks off."""

    def __init__(self, server: Server) -> None:
        folder = server.folder / "relay"
        folder.mkdir()
        self.url = server.url_in(folder)
        self.control = folder / "control"
        """Where orders are given."""
        sockets = (server.folder / server.socket_name, folder / server.socket_name, self.control)
        # In a session of its own: a Ctrl-C at the terminal is not for it. A blow at the server is not,
        # either: that strikes whoever works in its folder.
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own script
            [sys.executable, "-I", "-S", between.__file__, *map(str, sockets)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        if self._process.stdout.readline() != between.READY:
            self._end()
            raise ServerFailed(f"the relay to {self.url} did not start; is there room in its folder?")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        code = self._process.poll()
        self._end()
        if code is not None:
            # Whatever else went wrong came of that.
            raise ServerFailed(f"the relay to {self.url} ended with code {code} before the run") from error

    def _end(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        try:
            self._process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
