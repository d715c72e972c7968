"""How is what came of a stress run laid out? Verdicts, what struck where, a story, and what to run next."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from ssq_stress.command.telling import replay_commands
from ssq_stress.faults import Fault, Phase
from ssq_verify.report.layout import GAP, command_line, paragraph, printable
from ssq_verify.report.table import summary, verdict_table

if TYPE_CHECKING:
    from ssq_stress.back_to_simulation import Sought
    from ssq_stress.following import Again
    from ssq_stress.latency import Latency
    from ssq_stress.report import Report

TOLD = {
    "operations": "operations",
    "claims": "claims",
    "attempts after the first": "attempts after the first",
    "dead": "dead letters",
    "pause": "pauses",
    "io-error": "I/O errors",
    "server-kill": "server kills",
    "server-pause": "server pauses",
    "connection-cut": "connection cuts",
}
COLUMNS = {Phase.BEFORE_EFFECT: "held", Phase.HOLDING: "at work"}
"""What a phase is called where there is little room."""


def lines(report: "Report", story: list[Text], *, columns: int) -> list[Text]:
    """Return a report as lines."""
    shown = [*verdict_table(report.verdicts, width=columns), Text(), summary(report.verdicts), Text()]
    shown += [*matrix_lines(report.matrix, report.faults, report.applicable), Text()]
    shown += paragraph(" · ".join(counted(report)), width=columns, style="dim")
    for fault, reason in report.not_available.items():
        shown += paragraph(f"{fault} is not available: {reason}", width=columns, style="yellow")
    shown += [Text(), *story, Text()] if story else []
    for clash in report.clashes[:1]:
        shown += paragraph(f"side effects: {clash.sentence}", width=columns)
    return shown


def simulated_lines(
    report: "Report", sought: "Sought", again: Sequence["Again"], *, columns: int
) -> list[Text]:
    """Say what simulated workers broke as the real ones did, and what there is of the rest."""
    among = f"among {sought.schedules:,} simulated schedules"
    shown = []
    if sought.repros:
        names = ", ".join(sorted(sought.repros))
        shown += paragraph(f"found again {among}, each time alike: {names}", width=columns)
    if sought.missing:
        reason = f"not simulated: {sought.reason}" if sought.reason else f"not found {among}"
        names = ", ".join(sought.missing)
        what = (
            f"no deterministic repro of {names}: {reason}; there is the timetable of seed {report.seed}, and"
        )
        shown += paragraph(what, width=columns, style="yellow")
        checks = [
            command_line("ssq", "check", report.history, "--invariants", name) for name in sought.missing
        ]
        shown += [Text(f"  {check}") for check in checks]
    for each in again:
        shown += paragraph(each.told, width=columns)
    shown += [
        Text(f"  {command_line('ssq', 'replay', path)}")
        for path in dict.fromkeys(each.path for each in again)
    ]
    return [*shown, Text()] if shown else []


def last_lines(report: "Report") -> list[Text]:
    """Say where everything is, and what to run next."""
    where = Text(f"history, verdicts and repros: {printable(report.out)}", style="dim")
    checks = [command_line("ssq", "check", path) for path in report.histories]
    commands = [*checks, *replay_commands(report.verdicts)[:1]]
    return [where, *map(Text, commands)]


def matrix_lines(matrix: dict[str, int], faults: Iterable[Fault], applicable: Iterable[str]) -> list[Text]:
    """Return how often each fault struck each phase: `0` where it should have, `-` where it can't."""
    able = set(applicable)
    # Only a queue that leaves something to a scheduler has a sweep to be struck in.
    phases = [
        phase for phase in Phase if phase is not Phase.SWEEP or any(str(phase) in cell for cell in able)
    ]
    names = [COLUMNS.get(phase, phase.value) for phase in phases]
    label = max(map(len, faults), default=0)
    lines = [Text(" " * (label + GAP) + "  ".join(names), style="dim")]
    for fault in faults:
        line = Text(f"{fault:<{label + GAP}}")
        for phase, name in zip(phases, names, strict=True):
            key = f"{fault} while {phase}"
            text = str(matrix.get(key, 0)) if key in able else "-"
            style = "bold yellow" if text == "0" else "dim" if text == "-" else ""
            line.append(text.rjust(len(name)) + "  ", style=style)
        line.rstrip()
        lines.append(line)
    return lines


def counted(report: "Report") -> list[str]:
    """Return how much was done."""
    counts = [f"{report.tally[key]:,} {name}" for key, name in TOLD.items() if report.tally.get(key)]
    if report.kills_per_second:
        counts.append(f"{report.kills:,} kills, {report.kills_per_second:.1f} a second while kills struck")
    if report.power_losses:
        counts.append(f"{report.power_losses} losses of power")
    per_minute = report.jobs / max(report.rounds_seconds, 1e-3) * 60
    counts.append(f"{report.jobs:,} jobs enqueued, {per_minute:,.0f} a minute")
    if report.claim_latency is not None:
        counts.append(_latency(report.claim_latency))
    counts.append(f"verdict {report.seconds_to_verdict:.1f} s after the end")
    rounds = f"{report.rounds:,} rounds" if report.rounds != 1 else "1 round"
    return [f"{rounds}, {report.seconds:,.0f} s", *counts]


def _latency(claims: "Latency") -> str:
    shares = f"p50 {claims.p50_ms:.1f}, p95 {claims.p95_ms:.1f}, p99 {claims.p99_ms:.1f}"
    return f"claims took {shares}, at most {claims.max_ms:.0f} ms"
