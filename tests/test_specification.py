"""Does each scenario of the specification have a test, and each marker a scenario?"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssq_verify.invariants import INVARIANTS

ROOT = Path(__file__).parents[1]
SPECS = sorted((ROOT / "openspec/specs").glob("*/spec.md"))
MARKED = [
    path
    for folder in (ROOT / "tests", ROOT / "verification/ssq_verify/contract")
    for path in sorted(folder.rglob("*.py"))
]


def slug(title: str) -> str:
    """Return a title in lower case, every run of other characters than letters and digits one hyphen."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def scenarios(spec: Path) -> list[str]:
    """Return the ids of a specification's scenarios, as a marker names them."""
    titles = re.findall(r"^#### Scenario: (.+)$", spec.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [f"{spec.parent.name}/{slug(title)}" for title in titles]


def markers(source: str) -> Iterator[str]:
    """Yield the id of each `pytest.mark.scenario(…)` in a module, wherever it stands."""
    for node in ast.walk(ast.parse(source)):
        is_marker = (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "scenario"
            and isinstance(node.func.value, ast.Attribute)
            and node.func.value.attr == "mark"
        )
        if is_marker:
            yield from (str(each.value) for each in node.args if isinstance(each, ast.Constant))


def marked() -> set[str]:
    """Return the ids that some test is marked with."""
    return {name for path in MARKED for name in markers(path.read_text(encoding="utf-8"))}


def test_every_scenario_has_a_test():
    """No scenario of the specification is without a test that names it."""
    said = {name for spec in SPECS for name in scenarios(spec)}

    assert sorted(said - marked()) == []


def test_every_marker_has_a_scenario():
    """No test names a scenario that the specification lacks."""
    said = {name for spec in SPECS for name in scenarios(spec)}

    assert sorted(marked() - said) == []


def test_the_scan_sees_stacked_and_parametrized_markers():
    """A marker counts on a function, on a class, and inside `pytest.param`."""
    source = (
        "@pytest.mark.scenario('a/one')\n@pytest.mark.scenario('a/two')\ndef test(): ...\n"
        "@pytest.mark.scenario('a/three')\nclass Test: ...\n"
        "case = pytest.param(1, marks=pytest.mark.scenario('a/four'))\n"
    )

    assert set(markers(source)) == {"a/one", "a/two", "a/three", "a/four"}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.parent.name)
def test_scenario_titles_are_unique(spec):
    """No two scenarios of one capability have the same name."""
    names = scenarios(spec)

    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.parent.name)
def test_requirements_oblige(spec):
    """Each requirement says MUST or SHALL, and has a scenario with WHEN and THEN."""
    _, *requirements = re.split(r"^### Requirement: ", spec.read_text(encoding="utf-8"), flags=re.MULTILINE)

    for requirement in requirements:
        title = requirement.splitlines()[0]
        body, *found = re.split(r"^#### Scenario: ", requirement, flags=re.MULTILINE)
        assert re.search(r"\b(MUST|SHALL)\b", body), title
        assert found, title
        for scenario in found:
            assert "- **WHEN**" in scenario, scenario.splitlines()[0]
            assert "- **THEN**" in scenario, scenario.splitlines()[0]


@pytest.mark.parametrize(
    "capability",
    [
        "command-line",
        "file-backend",
        "history",
        "invariants",
        "lease-queue",
        "postgres-backend",
        "redis-backend",
        "servers",
        "sqlite-backend",
        "stress",
        "verdicts",
    ],
)
def test_capability_is_specified(capability):
    """Each capability has a specification with a purpose."""
    text = (ROOT / "openspec/specs" / capability / "spec.md").read_text(encoding="utf-8")

    assert text.startswith(f"# {capability} Specification\n")
    assert "\n## Purpose\n" in text
    assert "\n## Requirements\n" in text


@pytest.mark.parametrize("name", [*(invariant.id for invariant in INVARIANTS), "linearizable"])
def test_each_invariant_is_required(name):
    """Each invariant that is judged is a requirement of the specification."""
    text = (ROOT / "openspec/specs/invariants/spec.md").read_text(encoding="utf-8")
    titles = re.findall(r"^### Requirement: (.+)$", text, flags=re.MULTILINE)

    assert any(slug(title) == name or f"`{name}`" in title for title in titles) or f"`{name}`" in text
