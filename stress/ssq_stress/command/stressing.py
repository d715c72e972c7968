"""What does `ssq stress` show? While it runs how things stand; then verdicts, what struck where, a story."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.text import Text

from ssq_stress.command.commands import title
from ssq_stress.command.console import Interrupted, say, say_json, stress_shown, width
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
from ssq_stress.faults import ALL, POWER_LOSS, Fault, Phase, elsewhere
from ssq_stress.serving import served
from ssq_verify.report.document import verdict_documents
from ssq_verify.report.layout import GAP, paragraph, printable
from ssq_verify.report.table import summary, verdict_table
from ssq_verify.subject import Subject
from ssq_verify.verdict import exit_code

if TYPE_CHECKING:
    from ssq_stress.back_to_simulation import Sought
    from ssq_stress.following import Again
    from ssq_stress.plan import Plan
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
    seed: int,
    profile: str,
    out: Path,
    junit: Path | None,
    as_json: bool,
) -> int:
    """Stress a subject, and show the verdicts. Raises `BadInput`, `Interrupted`."""
    from ssq_stress.plan import Plan  # noqa: PLC0415 - it loads DuckDB

    seconds, subject = duration(lasts), held_to(fit_for_stress(named_subject(reference)), skew)
    plan = Plan(
        seconds=seconds,
        consumers=workers,
        producers=producers,
        faults=faults_for(subject, faults),
        rate=rate,
        seed=seed,
        profile=profile,
        takes_power=takes_power(subject, faults),
    )
    out, junit = writable(out), result_file(junit, "--junit")
    if not as_json:
        say(first_lines(subject, plan, faults, skew))
    unsearched = None if skew is None else UNPROMISED.format(reference=reference)
    return _stressed(reference, subject, plan, out=out, junit=junit, as_json=as_json, unsearched=unsearched)


def _stressed(
    reference: str,
    subject: Subject,
    plan: "Plan",
    *,
    out: Path,
    junit: Path | None,
    as_json: bool,
    unsearched: str | None,
) -> int:
    from ssq_stress.following import Stressing  # noqa: PLC0415 - it loads DuckDB

    with served(reference, subject, in_turns=False) as own, room_for(out), stress_shown() as tell:
        plan = replace(plan, is_served=subject.server is not None and own is None)
        run = Stressing(
            subject=subject,
            out=out,
            processes=os.cpu_count() or 1,
            server=own,
            tell=tell,
            width=width(),
            unsearched=unsearched,
        )
        ended = run.run(plan, out)
    report = ended.report
    if junit is not None:
        suite = f"ssq stress {report.subject}"
        write_junit(junit, report.verdicts, suite=suite, seed=report.seed, history=report.history)
    if as_json:
        document = msgspec.to_builtins(report) | {"verdicts": verdict_documents(report.verdicts)}
        found = {"simulated": ended.sought, "again": ended.again}
        say_json(document | msgspec.to_builtins(found))
    else:
        say(lines(report, ended.story, columns=width()))
        say(simulated_lines(report, ended.sought, ended.again, columns=width()))
        say(stories(report.verdicts))
        say(last_lines(report))
    if report.interrupted is not None:
        raise Interrupted(f"interrupted in {report.interrupted}, which is left out; the rest is told")
    return exit_code(report.verdicts)


def first_lines(subject: Subject, plan: "Plan", faults: str, skew: float | None) -> list[Text]:
    """Say what is to be done, and which of `all` faults have nothing to strike."""
    crew = f"{plan.consumers} workers, {plan.producers} producers"
    some = [] if faults == ALL else [f"faults {faults}"]
    some += [] if skew is None else [f"clocks up to {skew:g} s apart"]
    shown = [title("stress", subject.reference, crew, *some, f"profile {plan.profile}", f"seed {plan.seed}")]
    if faults == ALL and subject.server is not None:
        names = ", ".join(sorted(elsewhere(subject.server)))
        shown += paragraph(f"left out, as the data is on a server: {names}", width=width(), style="dim")
    if faults == ALL and not plan.takes_power:
        shown += paragraph(f"left out, as it is not promised: {POWER_LOSS}", width=width(), style="dim")
    return [*shown, Text()]


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
        shown += [Text(f"  ssq check {report.history} --invariants {name}") for name in sought.missing]
    for each in again:
        shown += paragraph(each.told, width=columns)
    shown += [Text(f"  ssq replay {path}") for path in dict.fromkeys(each.path for each in again)]
    return [*shown, Text()] if shown else []


def last_lines(report: "Report") -> list[Text]:
    """Say where everything is, and what to run next."""
    where = Text(f"history, verdicts and repros: {printable(report.out)}", style="dim")
    checks = [f"ssq check {path}" for path in report.histories]
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


def _told(report: "Report") -> str:
    counts = [f"{report.tally[key]:,} {name}" for key, name in TOLD.items() if report.tally.get(key)]
    if report.kills_per_second:
        counts.append(f"{report.kills:,} kills, {report.kills_per_second:.1f} a second while kills struck")
    if report.power_losses:
        counts.append(f"{report.power_losses} losses of power")
    rounds = f"{report.rounds} rounds" if report.rounds != 1 else "1 round"
    return " · ".join([f"{rounds}, {report.seconds:.0f} s", *counts])
