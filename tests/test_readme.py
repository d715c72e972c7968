"""Does the README's text do what it says, when it is run as it stands?"""

import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ssq_stress import cli
from ssq_verify.profiles import PROFILES
from ssq_verify.subject import Promises

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def example(name):
    """Return the code block that follows the comment `<!-- example: NAME -->`."""
    found = re.search(
        rf"^<!-- example: {re.escape(name)} -->\n```\w+\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL
    )
    assert found, f"README.md has no example {name!r}"
    return found[1]


def test_own_queue(tmp_path, monkeypatch, capsys):
    """The example of an own queue is verified by the command that stands below it, with fewer races."""
    monkeypatch.chdir(tmp_path)
    quick = PROFILES["quick"]
    fewer = replace(quick.simulation, crash_scenarios=20, random=50)
    monkeypatch.setitem(PROFILES, "quick", replace(quick, simulation=fewer))
    (tmp_path / "my_queue.py").write_text(example("my_queue.py"))

    program, *arguments = shlex.split(example("verify my_queue.py"))
    code = cli.run(arguments)

    assert program == "ssq"
    told, error = capsys.readouterr()
    assert (code, error) == (0, ""), told


def test_shown_output(capsys):
    """What the README shows of a command is what the command prints."""
    for command, shown in re.findall(
        r"^<!-- output: ssq (.+) -->\n```\n(.*?)^```$", README, re.MULTILINE | re.DOTALL
    ):
        assert cli.run(shlex.split(command)) == 0
        assert capsys.readouterr().out.startswith(shown), f"README.md: paste the output of ssq {command} anew"


def test_promises():
    """The example of promises declares what it says."""
    names = {}
    exec(example("promises"), names)  # noqa: S102 - it is our own README

    assert names["open_queue"].ssq_promises == Promises(max_attempts=None, order=None)


def test_tables_are_up_to_date():
    """Each table in the README is the one that its script makes from the measured results."""
    script = [sys.executable, ROOT / "benchmarks/readme.py", "--check"]
    result = subprocess.run(script, cwd=ROOT, check=False, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(path):
    """Each relative link in a page leads to a file that is there."""
    text = (ROOT / path).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)

    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("path", ["ARCHITECTURE.md", "CONTRIBUTING.md", "openspec/project.md"])
def test_named_files_are_there(path):
    """Each path in this repository that a page names exists."""
    text = (ROOT / path).read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests|verification|stress|ssq_core|openspec|benchmarks)/[\w./-]+)`", text)

    assert [each for each in named if "NAME" not in each and not (ROOT / each).exists()] == []
