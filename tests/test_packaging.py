"""Does the wheel hold what it should, and work where only its dependencies are installed beside it?"""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"ssq_core", "ssq_verify", "ssq_stress"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel with the tools that are installed."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """Install the wheel in a new environment, where only the dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    purelib = folder / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    # A path in a .pth file is searched, but .pth files there are not read: the editable ssq stays unseen.
    (purelib / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        folder / "bin/python",
        "install",
        "--quiet",
        "--no-deps",
        wheel,
    ]
    subprocess.run([*install, "--no-index", "--disable-pip-version-check"], check=True, capture_output=True)
    return folder / "bin/python"


def test_top_level_names(wheel):
    """The wheel installs its three packages and nothing beside them."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == PACKAGES


def test_data_files(wheel):
    """The wheel holds every SQL invariant, every module and the three markers for type checkers."""
    sources = {
        str(path.relative_to(folder))
        for folder in (ROOT / "verification", ROOT / "stress", ROOT)
        for package in PACKAGES
        for path in (folder / package).rglob("*")
        if path.suffix in {".py", ".sql"} or path.name == "py.typed"
    }
    with zipfile.ZipFile(wheel) as archive:
        missing = sources - set(archive.namelist())

    assert missing == set()


def test_installed_packages_are_the_wheels(python, tmp_path):
    """The packages that the new environment imports are its own, not those of the checkout."""
    code = "import ssq_core as c, ssq_verify as v, ssq_stress as s; print(c.__file__, v.__file__, s.__file__)"
    found = subprocess.run([python, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)

    for path in found.stdout.split():
        assert Path(path).is_relative_to(python.parents[1])


def test_verify_from_an_empty_folder(python, tmp_path):
    """The installed command gives verdicts on the file queue from a folder with nothing in it."""
    command = [python.with_name("ssq"), "verify", "file", "--profile", "quick"]
    result = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("ssq verify file · profile quick · seed 0\n")
