"""Is the house in order? Each failure says what to write instead."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = (ROOT / "ssq_core", ROOT / "verification/ssq_verify", ROOT / "stress/ssq_stress")
MODULES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
SCRIPTS = sorted((ROOT / "benchmarks").rglob("*.py"))
LINES_MAX, FUNCTION_LINES_MAX = 400, 59
EMPTY_NAMES = re.compile(r"utils?|common|helpers?|managers?|misc|tools?")
PRINTERS = {"__main__.py", "cli.py", "console.py"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
CHANGE_KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def shown(path: Path) -> str:
    """Return a path as it is written in a failure."""
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def calls(path: Path) -> list[str]:
    """Return what a module calls, by its dotted names."""
    return [ast.unparse(node.func) for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS, *TESTS], ids=shown)
def test_module_says_what_it_is_for(path):
    """A module has a name from the field, opens with a sentence, and is not too long."""
    text = path.read_text(encoding="utf-8")

    assert not EMPTY_NAMES.fullmatch(path.stem), f"{shown(path)}: name the module after what it answers"
    assert ast.get_docstring(ast.parse(text)), (
        f"{shown(path)}: open with the question that the module answers"
    )
    assert len(text.splitlines()) <= LINES_MAX, f"{shown(path)}: split it by question into two modules"


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS, *TESTS], ids=shown)
def test_functions_are_short(path):
    """No function is as long as sixty lines."""
    long = [
        f"{shown(path)}:{node.lineno} {node.name}: let it call functions named after its steps"
        for node in ast.walk(tree(path))
        if isinstance(node, FUNCTIONS) and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES_MAX
    ]

    assert long == []


@pytest.mark.parametrize("path", TESTS, ids=shown)
def test_every_test_states_its_fact(path):
    """Each test has a docstring that ends as a sentence does."""
    silent = [
        f"{shown(path)}:{node.lineno} {node.name}: state the fact in a sentence"
        for node in ast.walk(tree(path))
        if isinstance(node, FUNCTIONS)
        and node.name.startswith("test_")
        and not (ast.get_docstring(node) or "").rstrip().endswith((".", "?"))
    ]

    assert silent == []


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_only_the_command_line_prints_or_exits(path):
    """Outside the command line, nothing prints or ends the process."""
    forbidden = {"print", "exit", "quit", "sys.exit", "os._exit", "sys.stdout.write", "sys.stderr.write"}
    found = [] if path.name in PRINTERS else sorted(forbidden & set(calls(path)))

    assert found == [], f"{shown(path)}: return the value, or raise; let ssq_stress print"


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_chance_has_a_seed(path):
    """Nothing draws from the module-level generator of `random`, which anybody may have reseeded."""
    drawn = [name for name in calls(path) if re.fullmatch(r"random\.[a-z]\w*", name)]

    assert drawn == [], f"{shown(path)}: take a random.Random(seed) as an argument"


@pytest.mark.parametrize("path", TESTS, ids=shown)
def test_tests_never_sleep(path):
    """No test waits for time to pass: it moves a clock."""
    slept = [name for name in calls(path) if name in {"time.sleep", "sleep", "asyncio.sleep"}]

    assert slept == [], f"{shown(path)}: give the queue a clock and move it"


def test_tests_folder_is_no_package():
    """No folder under tests has an `__init__.py`; importlib mode needs none."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("package", PACKAGES, ids=shown)
def test_packages_are_typed(package):
    """Each package tells type checkers that it has types."""
    assert (package / "py.typed").is_file(), f"{shown(package)}: add an empty py.typed"


def test_changelog_is_kept():
    """The changelog is in the format of Keep a Changelog, with an Unreleased section on top."""
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    releases = [line for line in lines if line.startswith("## ")]
    kinds = {line.removeprefix("### ") for line in lines if line.startswith("### ")}

    assert lines[0] == "# Changelog"
    assert releases[0] == "## [Unreleased]"
    for release in releases[1:]:
        assert re.fullmatch(r"## \[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", release), release
    assert kinds <= CHANGE_KINDS, f"name the section one of {', '.join(sorted(CHANGE_KINDS))}"


def test_lint_exceptions_have_reasons():
    """Each `noqa` says which rule it breaks and why."""
    bare = [
        f"{shown(path)}:{number}: write `noqa: RULE - reason`"
        for path in [*MODULES, *TESTS, *SCRIPTS]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search("# " r"noqa(?!: [A-Z]+\d+(, ?[A-Z]+\d+)* - \S)", line)
    ]

    assert bare == []


def test_continuous_integration_runs_what_the_readme_says():
    """The README's two commands stand in `.ci/run` as they stand in the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    script = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    commands = re.findall(r"^python3 -m venv .+$", readme, flags=re.MULTILINE)

    assert len(commands) == 2
    assert set(commands) <= set(script)
    assert any(line.startswith("./check") for line in script)
