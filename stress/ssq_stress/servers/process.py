"""How does a server live? In a folder of its own, started, killed, frozen and started again from here.

Whatever becomes of the process that started it, nothing of it remains: a watchdog sees to that. Its clock may
be moved from outside while it runs, through libfaketime.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path

from ssq_stress.servers import faketime, watchdog
from ssq_verify import server_time

READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 60.0
ERROR = re.compile(r"\b(error|fatal|panic)\b", re.IGNORECASE)
NOBODY = 65534
"""The user of servers that refuse to run as root, where no user namespace can be had."""
AS_A_USER = ("unshare", "-U", "--map-user=1000", "--map-group=1000")
"""Root's own rights on files, under another number: servers look at the number."""


class ServerFailed(Exception):  # noqa: N818 - it names what failed
    """A server did not start, or not stop; the message has the last line that it logged."""


class ServerNotInstalled(Exception):  # noqa: N818 - it names what is not installed
    """There is no such server, or nothing to move its clock with; the message says what to install."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not installed; pip install 'ssq[servers]'")


class ServerProcess:
    """One server's folder, processes and clock."""

    def __init__(
        self, name: str, *, at_once: signal.Signals, parent: Path | None = None, has_clock: bool = False
    ) -> None:
        self._faketime = faketime.library() if has_clock else None
        if has_clock and self._faketime is None:
            raise ServerNotInstalled(faketime.NAME)
        self.folder = Path(tempfile.mkdtemp(prefix=f"ssq-{name}-", dir=parent)).resolve()
        self.log = self.folder / "log"
        self.clock_file = self.folder / "clock"
        self.name = name
        self._main: subprocess.Popen[bytes] | None = None
        # In a session of its own: a Ctrl-C at the terminal is not for it.
        self._watchdog = subprocess.Popen(  # noqa: S603 - this interpreter, our own script
            [sys.executable, "-I", "-S", watchdog.__file__, str(self.folder), str(int(at_once))],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        server_time.release(self.clock_file)

    @property
    def is_running(self) -> bool:
        """Whether the server's first process is there."""
        return self._main is not None and self._main.poll() is None

    @property
    def pid(self) -> int:
        """The number of the server's first process."""
        assert self._main is not None, f"start {self.name} first"
        return self._main.pid

    def run(self, command: Sequence[str], *, answer: bytes = b"") -> None:
        """Run one of the server's programs to its end, and answer what it asks. Raises `ServerFailed`."""
        with self.log.open("ab") as log:
            program = self._popen(command, {}, log.fileno(), stdin=subprocess.PIPE)
            program.communicate(answer)
        if program.returncode:
            raise self._failed(f"{Path(command[0]).name} ended with code {program.returncode}")

    def start(
        self, command: Sequence[str], *, is_ready: Callable[[], bool], environment: Mapping[str, str] = {}
    ) -> None:
        """Start the server and wait until it is ready. Raises `ServerFailed`."""
        assert not self.is_running, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._main = self._popen(command, {**environment, **self._clock_environment()}, log.fileno())
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not is_ready():
            if not self.is_running:
                raise self._failed(f"it ended with code {self._main.returncode}")
            if time.monotonic() > deadline:
                raise self._failed(f"it was not ready after {READY_SECONDS_MAX:.0f} s")
            time.sleep(watchdog.POLL_SECONDS)

    def stop(self, politely: signal.Signals) -> None:
        """Let the server end in an orderly way. Raises `ServerFailed` if it does not."""
        if self._main is None:
            return
        self._main.send_signal(politely)
        self.resume()
        try:
            self._main.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise self._failed(f"it did not stop within {STOP_SECONDS_MAX:.0f} s") from None
        watchdog.forget_fake_time(self._main.pid)
        watchdog.kill_all(self.folder)

    def kill(self) -> None:
        """Kill all of the server's processes (SIGKILL)."""
        watchdog.kill_all(self.folder)
        if self._main is not None:
            self._main.wait()

    def pause(self) -> None:
        """Let all of the server's processes stand still (SIGSTOP), also those that are forked meanwhile."""
        watchdog.stop_all(self.folder)

    def resume(self) -> None:
        """Let them go on."""
        watchdog.signal_all(self.folder, signal.SIGCONT)

    def close(self) -> None:
        """End the server and remove its folder."""
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.close()
        self._watchdog.wait()
        if self._main is not None:
            self._main.wait()

    def set_time(self, now: datetime) -> None:
        """Let the server see an instant that stands still until it is set anew."""
        assert self._faketime is not None, f"start {self.name} with has_clock=True"
        server_time.show(self.clock_file, now)

    def release_time(self) -> None:
        """Let the server see the real time."""
        server_time.release(self.clock_file)

    def _popen(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: int,
        stdin: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        wrapper, user = _as_a_user()
        if user is not None:
            _give(self.folder, user)
        # `env` comes after the wrapper: only the server itself is to see another time.
        settings = [f"{name}={value}" for name, value in environment.items()]
        return subprocess.Popen(  # noqa: S603 - the server's own programs
            [*wrapper, "env", *settings, *command],
            cwd=self.folder,
            env=_plain_environment(),
            stdin=stdin,
            stdout=log,
            stderr=log,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )

    def _clock_environment(self) -> Mapping[str, str]:
        if self._faketime is None:
            return {}
        return faketime.environment(self._faketime, self.clock_file)

    def _failed(self, what: str) -> ServerFailed:
        lines = self.log.read_text(errors="backslashreplace").split("\n") if self.log.exists() else []
        return ServerFailed(f"{self.name}: {what}: {_reason(lines)}")


def _reason(lines: Sequence[str]) -> str:
    """Return the last line of a log that speaks of an error, or else the last: some tidy up after it."""
    said = [line.strip() for line in lines if line.strip()] or ["it logged nothing"]
    return next((line for line in reversed(said) if ERROR.search(line)), said[-1])


def in_memory() -> Path | None:
    """Return where files are in memory, if the host has such a place."""
    return watchdog.SHARED_MEMORY if watchdog.SHARED_MEMORY.is_dir() else None


def _plain_environment() -> dict[str, str]:
    """Return this process's environment as no language, time zone or libfaketime of ours changes it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FAKETIME", "LC_"))}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


@cache
def _as_a_user() -> tuple[tuple[str, ...], int | None]:
    """Return how a program is started that refuses to be root: a command before it, or another user."""
    if os.geteuid() != 0:
        return (), None
    # Asked, not known: containers often forbid it.
    try:
        tried = subprocess.run([*AS_A_USER, "true"], check=False, capture_output=True)  # noqa: S603 - constants
        has_namespaces = tried.returncode == 0
    except FileNotFoundError:
        has_namespaces = False
    return (AS_A_USER, None) if has_namespaces else ((), NOBODY)


def _give(folder: Path, user: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user, user, follow_symlinks=False)
