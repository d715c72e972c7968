"""Where was it measured? What figures mean nothing without: the machine, its load, the disk, the versions."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from ssq_core.filesystem import filesystem_type

DRIVERS = ("ssq", "psycopg", "redis")


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """The machine as it was when a run began."""

    measured_at: str
    cpu: str
    cores: int
    load_average: float
    """Over the minute before: what else the machine did."""
    kernel: str
    python: str
    file_system: str
    """Of the folder in which queues were measured."""
    versions: dict[str, str]

    @property
    def sentence(self) -> str:
        """All of it in a line."""
        packages = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"{self.cpu}, {self.cores} cores, load average {self.load_average:.1f} at the start · "
            f"Linux {self.kernel} · Python {self.python} · {packages} · {self.file_system}"
        )


def environment(where: Path) -> Environment:
    """Return what can be said of this machine, and of the disk under a folder."""
    return Environment(
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        load_average=round(os.getloadavg()[0], 1),
        kernel=platform.release(),
        python=platform.python_version(),
        file_system=_file_system(where),
        versions={name: number for name in DRIVERS if (number := _version(name)) is not None},
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(where: Path) -> str:
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists():
        return "unknown file system"
    return filesystem_type(os.fsdecode(mounts.read_bytes()), os.path.realpath(where)) or "unknown file system"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
