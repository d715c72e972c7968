"""Which version of somebody else's package is judged? The installed one, or one in a folder of its own.

`pgqueuer@0.25.0` names a subject with a version. That version is put into a folder of this environment by
`ssq install`, never silently, and stands before the installed one in a process that judges it. A process
judges one version of a package: what was imported once stays.
"""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ssq_verify import subjects

SEPARATOR = "@"
_chosen: dict[str, str | None] = {}
"""For each package which version this process judges; None: the installed one."""


class VersionClash(Exception):  # noqa: N818 - it names what clashes
    """A process was asked for two versions of one package."""

    def __init__(self, package: str, version: str | None, other: str | None) -> None:
        told = " and ".join(each or "the installed one" for each in (other, version))
        super().__init__(f"{package}: {told} can not be judged in one process; run `ssq` once for each")


class VersionFailed(Exception):  # noqa: N818 - it names what failed
    """A version could not be installed."""


def parted(reference: str) -> tuple[str, str | None]:
    """Return a subject's name, and the version that the reference names."""
    name, separator, version = reference.partition(SEPARATOR)
    return name, version if separator else None


def package_of(name: str) -> str:
    """Return the package that a subject adapts: the first word of its module's docstring."""
    path = Path(subjects.__path__[0]) / f"{name.replace('-', '_')}.py"
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split()[0]


def folder(package: str, version: str) -> Path:
    """Return where a version of a package is, or would be."""
    return Path(sys.prefix) / "share" / "ssq" / "versions" / f"{package}-{version}"


def is_installed(package: str, version: str) -> bool:
    """Whether that version has a folder."""
    return folder(package, version).is_dir()


def choose(package: str, version: str | None) -> None:
    """Let this process judge a version of a package. Raises `VersionClash`."""
    if _chosen.setdefault(package, version) != version:
        raise VersionClash(package, version, _chosen[package])
    if version is not None and str(folder(package, version)) not in sys.path:
        sys.path.insert(0, str(folder(package, version)))
        # The processes that are started from here, fork servers too, are to find the same.
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[0], *([before] if before else [])])


def is_loaded(package: str, version: str) -> bool:
    """Whether what this process imported is that version."""
    beside = str(folder(package, version))
    return any(
        (getattr(module, "__file__", None) or "").startswith(beside) for module in list(sys.modules.values())
    )


def install(package: str, version: str) -> Path:
    """Put a version into its folder, without what it depends on: that comes with the extra.

    Raises `VersionFailed`.
    """
    target = folder(package, version)
    # Two processes may want it at once: each has a draft of its own, and the first that is done names it.
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run(  # noqa: S603 - pip of this environment, for a package that the caller named
        [*command, "--target", str(draft), f"{package}=={version}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        shutil.rmtree(draft, ignore_errors=True)
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise VersionFailed(f"{package} {version} can not be installed into {target}: {last}")
    try:
        draft.rename(target)
    except OSError:
        shutil.rmtree(draft)
    return target
