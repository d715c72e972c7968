"""What is a server for continuous integration told? The verdicts as JUnit XML, a test case for each.

It is red where the exit code is not 0: a violation is a failure; what is undecided is an error, because a
skipped test looks like a passed one. What was never promised, or takes another way of testing, is skipped.
"""

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

from ssq_verify.report.layout import printable
from ssq_verify.report.table import is_for_another_way
from ssq_verify.verdict import Finding, Verdict

FAILURE, ERROR, SKIPPED = "failure", "error", "skipped"
OUTCOMES = {
    Finding.HOLDS: None,
    Finding.VIOLATED: FAILURE,
    Finding.NOT_OFFERED: SKIPPED,
    Finding.VACUOUS: ERROR,
    Finding.UNKNOWN: ERROR,
}


def junit(
    verdicts: Sequence[Verdict],
    *,
    suite: str,
    properties: Mapping[str, str],
    told: Mapping[str, str],
    by_name: bool = False,
) -> bytes:
    """Return a document with one suite; `told` is the text of each failure, by its invariant.

    Where the invariants were asked for `by_name`, one that takes another way of testing is an error, as it is
    to the exit code.
    """
    outcomes = [outcome(verdict, by_name=by_name) for verdict in verdicts]
    counts = {f"{kind}s": str(outcomes.count(kind)) for kind in (FAILURE, ERROR)}
    counts |= {"tests": str(len(verdicts)), "skipped": str(outcomes.count(SKIPPED))}
    root = ET.Element("testsuites", counts)
    cases = ET.SubElement(root, "testsuite", {"name": printable(suite), **counts})
    described = ET.SubElement(cases, "properties")
    for name, value in properties.items():
        ET.SubElement(described, "property", {"name": name, "value": printable(value)})
    for verdict, kind in zip(verdicts, outcomes, strict=True):
        case = ET.SubElement(cases, "testcase", {"classname": printable(suite), "name": verdict.invariant})
        if kind is not None:
            _explain(case, kind, verdict, told.get(verdict.invariant, ""))
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def outcome(verdict: Verdict, *, by_name: bool) -> str | None:
    """Return what a verdict is among test results: `failure`, `error`, `skipped`, or None for passed."""
    if is_for_another_way(verdict) and not by_name:
        return SKIPPED
    return OUTCOMES[verdict.verdict]


def _explain(case: ET.Element, kind: str, verdict: Verdict, text: str) -> None:
    what = f"needs {verdict.needs}" if is_for_another_way(verdict) else verdict.verdict.value
    message = f"{what}: {printable(verdict.sentence)}"
    told = ET.SubElement(case, kind, {"message": message, "type": verdict.verdict.value})
    # XML has no way to write most control characters, and what a queue names may hold any.
    told.text = "\n".join(printable(line) for line in text.splitlines()) or None
