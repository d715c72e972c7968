"""Does SIMULATION.md list what is replaced, watched and refused, and nothing else?"""

import importlib
import re
from pathlib import Path

import pytest

from ssq_verify.simulation import contents, entries, entropy, interposition, travel, unmodelled
from ssq_verify.simulation.replacement import REAL

PAGE = (Path(__file__).parents[1] / "SIMULATION.md").read_text(encoding="utf-8")
BY_TIME_MACHINE = {
    "time.time", "time.time_ns", "time.gmtime", "time.localtime", "time.strftime",
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
}  # fmt: skip


def section(begin, end):
    """Return a part of the page."""
    return PAGE.partition(begin)[2].partition(end)[0]


def first_column(text):
    """Return the names in the first column of a text's tables."""
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}


def exists(name):
    """Whether this Python has such a function."""
    module, _, attribute = name.rpartition(".")
    return hasattr(importlib.import_module(module or "builtins"), attribute)


@pytest.mark.scenario("simulation/the-page-of-what-is-modelled")
def test_the_page_names_what_is_replaced():
    """Each replaced function is named, and what else is named this Python does not have."""
    interposition.install()
    named = first_column(section("## Calls", "## Faults")) | first_column(
        section("## Refused", "| audit event")
    )
    replaced = {name.removeprefix("builtins.") for name in REAL}

    assert replaced - named == set()
    assert {name for name in named - replaced - BY_TIME_MACHINE if exists(name)} == set()


def test_the_page_names_what_is_refused_and_watched():
    """Each audit event that is refused, and each that is a point, is named."""
    refused = first_column(section("| audit event", "By their audit events"))
    watched = set(re.findall(r"`([\w.]+)`", section("not found: ", "\n\n")))

    assert refused == set(unmodelled.FORBIDDEN) | set(unmodelled.CONDITIONAL)
    assert watched == set(interposition.AUDITED)


def test_every_table_of_calls_is_installed():
    """What the modules list is what was replaced."""
    interposition.install()
    listed = (
        {f"os.{name}" for name in (*entries.PATHS, *entries.LISTS, *contents.DESCRIPTORS, *contents.BETWEEN)}
        | {f"random.{name}" for name in entropy.functions()}
        | {f"time.{name}" for name in travel.SECONDS}
    )

    assert {name for name in listed if name not in REAL and exists(name)} == set()
