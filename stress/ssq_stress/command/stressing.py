"""What does `ssq stress` show? While it runs how things stand; then verdicts, what struck where, a story."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.text import Text

from ssq_stress.command.commands import title
from ssq_stress.command.console import say, say_json, stress_shown, width
from ssq_stress.command.door import (
    duration,
    faults_for,
    fit_for_stress,
    held_to,
    named_subject,
    result_file,
    room_for,
    takes_power,
    writable,
)
from ssq_stress.command.telling import replay_commands, stories, write_junit
from ssq_stress.faults import ALL, Fault, Phase, elsewhere
from ssq_stress.serving import served
from ssq_verify.report.document import verdict_documents
from ssq_verify.report.layout import GAP, command_line, paragraph, printable
from ssq_verify.report.table import summary, verdict_table
from ssq_verify.verdict import exit_code

if TYPE_CHECKING:
    from ssq_stress.back_to_simulation import Sought
    from ssq_stress.latency import Latency
    from ssq_stress.runner import Report

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
UNPROMISED = (
    "clocks there keep to what the queue promises; "
    "ssq verify {reference} --sweep skew measures how far they may differ"
)
"""Why nothing is searched for in the simulator where clocks were given another bound."""
COLUMNS = {Phase.BEFORE_EFFECT: "held", Phase.HOLDING: "at work"}
"""What a phase is called where there is little room."""


def stress(
    reference: str,
    *,
    lasts: str,
    workers: int,
    producers: int,
    faults: str,
    rate: float | None,
    skew: float | None,
    jobs: int | None,
    seed: int,
    profile: str,
    out: Path,
    junit: Path | None,
    as_json: bool,
) -> int:
    """Stress a subject, and show the verdicts. Raises `BadInput`."""
    seconds, subject = duration(lasts), held_to(fit_for_stress(named_subject(reference)), skew)
    chosen = faults_for(subject, faults)
    out, junit = writable(out), result_file(junit, "--junit")
    if not as_json:
        crew = f"{workers} workers, {producers} producers"
        apart = [] if skew is None else [f"clocks up to {skew:g} s apart"]
        say([title("stress", subject.reference, crew, *apart, f"profile {profile}", f"seed {seed}")])
        is_told = faults == ALL and subject.server is not None
        say([*_left_out(elsewhere(subject.server) if is_told else ()), Text()])
    from ssq_stress import back_to_simulation, runner  # noqa: PLC0415 - they load DuckDB

    plan = runner.Plan(
        seconds=seconds,
        consumers=workers,
        producers=producers,
        faults=chosen,
        rate=rate,
        jobs=jobs,
        seed=seed,
        profile=profile,
        takes_power=takes_power(faults),
    )
    has_relay = Fault.CONNECTION_CUT in chosen
    lives = served(reference, subject, in_turns=False, has_relay=has_relay)
    with lives as own, room_for(out), stress_shown() as tell:
        plan = replace(plan, is_served=subject.server is not None and own is None)
        report, story = runner.stress(subject, plan, out=out, server=own, tell=tell, width=width())
        if skew is None:
            sought = back_to_simulation.seek(subject, report, out=out, processes=os.cpu_count() or 1)
        else:
            sought = back_to_simulation.not_sought(report, UNPROMISED.format(reference=reference))
        verdicts = back_to_simulation.with_repros(report.verdicts, sought.repros)
        report = msgspec.structs.replace(report, verdicts=verdicts)
        runner.write(report)
    if junit is not None:
        suite = f"ssq stress {report.subject}"
        write_junit(junit, report.verdicts, suite=suite, seed=report.seed, history=report.history)
    _show(report, story, sought, as_json=as_json)
    return exit_code(report.verdicts)


def _show(report: "Report", story: list[Text], sought: "Sought", *, as_json: bool) -> None:
    if as_json:
        document = msgspec.to_builtins(report) | {"verdicts": verdict_documents(report.verdicts)}
        say_json(document | {"simulated": msgspec.to_builtins(sought)})
    else:
        say(lines(report, story, columns=width()))
        say(simulated_lines(report, sought, columns=width()))
        say(stories(report.verdicts))
        say(last_lines(report))


def lines(report: "Report", story: list[Text], *, columns: int) -> list[Text]:
    """Return a report as lines."""
    shown = [*verdict_table(report.verdicts, width=columns), Text(), summary(report.verdicts), Text()]
    shown += [*matrix_lines(report.matrix, report.faults, report.applicable), Text()]
    shown += paragraph(_told(report), width=columns, style="dim")
    for fault, reason in report.not_available.items():
        shown += paragraph(f"{fault} is not available: {reason}", width=columns, style="yellow")
    shown += [Text(), *story, Text()] if story else []
    for clash in report.clashes[:1]:
        shown += paragraph(f"side effects: {clash.sentence}", width=columns)
    return shown


def simulated_lines(report: "Report", sought: "Sought", *, columns: int) -> list[Text]:
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
    return [*shown, Text()] if shown else []


def last_lines(report: "Report") -> list[Text]:
    """Say where everything is, and what to run next."""
    where = Text(f"history, verdicts and repros: {printable(report.out)}", style="dim")
    checks = [command_line("ssq", "check", path) for path in report.histories]
    commands = [*checks, *replay_commands(report.verdicts)[:1]]
    return [where, *map(Text, commands)]


def matrix_lines(matrix: dict[str, int], faults: Iterable[Fault], applicable: Iterable[str]) -> list[Text]:
    """Return how often each fault struck each phase: `0` where it should have, `-` where it can't."""
    able, names = set(applicable), [COLUMNS.get(phase, phase.value) for phase in Phase]
    label = max(map(len, faults), default=0)
    lines = [Text(" " * (label + GAP) + "  ".join(names), style="dim")]
    for fault in faults:
        line = Text(f"{fault:<{label + GAP}}")
        for phase, name in zip(Phase, names, strict=True):
            key = f"{fault} while {phase}"
            text = str(matrix.get(key, 0)) if key in able else "-"
            style = "bold yellow" if text == "0" else "dim" if text == "-" else ""
            line.append(text.rjust(len(name)) + "  ", style=style)
        line.rstrip()
        lines.append(line)
    return lines


def _left_out(faults: Iterable[Fault]) -> list[Text]:
    names = ", ".join(sorted(faults))
    return (
        paragraph(f"left out, as the data is on a server: {names}", width=width(), style="dim")
        if names
        else []
    )


def _told(report: "Report") -> str:
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
    rounds = f"{report.rounds} rounds" if report.rounds != 1 else "1 round"
    return " · ".join([f"{rounds}, {report.seconds:.0f} s", *counts])


def _latency(claims: "Latency") -> str:
    shares = f"p50 {claims.p50_ms:.1f}, p95 {claims.p95_ms:.1f}, p99 {claims.p99_ms:.1f}"
    return f"claims took {shares}, at most {claims.max_ms:.0f} ms"
