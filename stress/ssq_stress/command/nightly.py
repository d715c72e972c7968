"""What does a night of `ssq stress` show? A summary after each watch, and in the end what all came to."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.text import Text

from ssq_stress.command.console import BadInput, complain, note, say, say_json, stress_shown, width
from ssq_stress.command.door import room_for
from ssq_stress.command.stress_lines import counted, lines
from ssq_stress.faults import Fault
from ssq_stress.serving import served
from ssq_verify.report.document import verdict_documents
from ssq_verify.report.junit import junit as as_junit
from ssq_verify.report.layout import paragraph, printable
from ssq_verify.subject import Subject
from ssq_verify.verdict import Finding, exit_code
from ssq_verify.whole import whole

if TYPE_CHECKING:
    from ssq_stress.nights.standing import Standing
    from ssq_stress.plan import Plan
    from ssq_stress.report import Report

FAILURES_SHOWN = 5


def night(
    reference: str,
    subject: Subject,
    plan: "Plan",
    *,
    out: Path,
    junit: Path | None,
    as_json: bool,
    unsearched: str | None,
) -> int:
    """Stress a subject all night, and show what that came to. Raises `BadInput`."""
    page = _Page(subject, plan, out, junit or out / "junit.xml")
    with room_for(out):
        ended = _stood(reference, page, is_quiet=as_json, unsearched=unsearched)
        if ended.interrupted is not None or not page.path.exists():
            page.written(ended)
    report = page.report(ended)
    if as_json:
        say_json(_document(report, ended))
    else:
        say(lines(report, [], columns=width()))
        say(failure_lines(ended, out, seed=report.seed, columns=width()))
        say([Text(f"summary, JUnit XML and histories: {printable(str(out))}", style="dim"), str(page.path)])
    if ended.interrupted is not None:
        complain(f"interrupted in {ended.interrupted}; the same command with --out {out} goes on")
    return exit_code(report.verdicts)


def _stood(reference: str, page: "_Page", *, is_quiet: bool, unsearched: str | None) -> "Standing":
    from ssq_stress.nights.ledger import NotThisNight  # noqa: PLC0415 - it loads DuckDB
    from ssq_stress.nights.night import Night, stand  # noqa: PLC0415 - as above

    has_relay = Fault.CONNECTION_CUT in page.plan.faults
    with stress_shown() as tell:
        asked = Night(
            subject=page.subject,
            plan=page.plan,
            out=page.out,
            serve=partial(served, reference, page.subject, in_turns=False, has_relay=has_relay),
            processes=os.cpu_count() or 1,
            unsearched=unsearched,
            tell=tell,
            resumed=(lambda _standing, _was_cut: None) if is_quiet else _say_resumed,
            ended=page.watched,
        )
        try:
            return stand(asked)
        except NotThisNight as error:
            raise BadInput(str(error)) from error


def _say_resumed(standing: "Standing", was_cut: bool) -> None:  # noqa: FBT001 - the interface's
    cut = "; the next was cut while it was written down, and is done again" if was_cut else ""
    say([Text(f"goes on after watch {standing.watches}{cut}", style="dim"), Text()])


def failure_lines(ended: "Standing", out: Path, *, seed: int, columns: int) -> list[Text]:
    """Return the failures of the first ranks, each with the command that shows it again."""
    from ssq_stress.nights.summary import commands, told  # noqa: PLC0415 - it loads DuckDB

    shown = []
    for place, failure in enumerate(ended.failures[:FAILURES_SHOWN], start=1):
        known = "; ".join([printable(failure.sentence), *told(failure, ended, seed=seed)])
        shown += paragraph(f"{place}. {failure.invariant}: {known}", width=columns)
        shown += [Text(f"  {each}") for each in commands(failure, ended, out)[:1]]
    if (more := len(ended.failures) - FAILURES_SHOWN) > 0:
        shown.append(Text(f"and {more} more in the summary", style="dim"))
    return [*shown, Text()] if shown else []


class _Page:
    """Writes what a night came to so far, after each watch."""

    def __init__(self, subject: Subject, plan: "Plan", out: Path, junit_file: Path) -> None:
        from ssq_stress.nights import summary  # noqa: PLC0415 - it loads DuckDB

        self.path = out / summary.NAME
        self._summary = summary
        self.subject, self.plan, self.out, self._junit_file = subject, plan, out, junit_file

    def report(self, standing: "Standing") -> "Report":
        """Return all that is to be said."""
        from ssq_stress.report import reported  # noqa: PLC0415 - it loads DuckDB

        report = reported(
            standing.record, self.subject, self.plan, self.out, interrupted=standing.interrupted
        )
        return msgspec.structs.replace(report, verdicts=standing.verdicts(needed=self.plan.needed))

    def watched(self, standing: "Standing") -> None:
        """Write it, and a line for whoever reads the log of a night."""
        self.written(standing)
        broken = sum(verdict.verdict is Finding.VIOLATED for verdict in self.report(standing).verdicts)
        done = self._summary.watches(standing.watches)
        note(f"{done}, {standing.seconds:.0f} s; violated: {broken}; {self.path}")

    def written(self, standing: "Standing") -> None:
        """Write the summary, the verdicts and the JUnit XML, each whole or not at all."""
        from ssq_stress.report import write  # noqa: PLC0415 - it loads DuckDB

        report = self.report(standing)
        page = self._summary.summary(
            report, standing, seconds_asked=self.plan.seconds, counts=counted(report)
        )
        _replaced(self.path, page.encode())
        _replaced(self._junit_file, self._junit(report, standing))
        write(report)

    def _junit(self, report: "Report", standing: "Standing") -> bytes:
        told = {
            failure.invariant: "\n".join(
                [*failure.shape, "", *self._summary.commands(failure, standing, self.out)]
            )
            for failure in reversed(standing.failures)
        }
        properties = {"seed": str(report.seed), "summary": str(self.path)}
        suite = f"ssq stress {report.subject}"
        return as_junit(report.verdicts, suite=suite, properties=properties, told=told)


def _replaced(path: Path, content: bytes) -> None:
    """Write a file that is whole whenever somebody looks."""
    with whole(path) as draft:
        draft.write_bytes(content)


def _document(report: "Report", ended: "Standing") -> dict[str, object]:
    document: dict[str, object] = msgspec.to_builtins(report)
    document |= {"verdicts": verdict_documents(report.verdicts)}
    return document | {"watches": ended.watches, "failures": msgspec.to_builtins(ended.failures)}
