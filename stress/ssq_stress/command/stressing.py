"""What does `ssq stress` show? While it runs how things stand; then verdicts, what struck where, a story."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.text import Text

from ssq_stress.command import nightly
from ssq_stress.command.commands import NIGHTLY, title
from ssq_stress.command.console import BadInput, Interrupted, say, say_json, stress_shown, width
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
from ssq_stress.command.stress_lines import last_lines, lines, simulated_lines
from ssq_stress.command.telling import stories, write_junit
from ssq_stress.faults import ALL, POWER_LOSS, Fault, elsewhere
from ssq_stress.serving import served
from ssq_verify.report.document import verdict_documents
from ssq_verify.report.layout import paragraph
from ssq_verify.subject import Subject
from ssq_verify.verdict import exit_code

if TYPE_CHECKING:
    from ssq_stress.plan import Plan

UNPROMISED = (
    "clocks there keep to what the queue promises; "
    "ssq verify {reference} --sweep skew measures how far they may differ"
)
"""Why nothing is searched for in the simulator where clocks were given another bound."""


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
    """Stress a subject, and show the verdicts. Raises `BadInput`, `Interrupted`."""
    from ssq_stress.plan import Plan  # noqa: PLC0415 - it loads DuckDB

    seconds, subject = duration(lasts), held_to(fit_for_stress(named_subject(reference)), skew)
    plan = Plan(
        seconds=seconds,
        consumers=workers,
        producers=producers,
        faults=faults_for(subject, faults),
        rate=rate,
        jobs=jobs,
        seed=seed,
        profile=profile,
        takes_power=takes_power(subject, faults),
    )
    if jobs is not None and profile == NIGHTLY:
        raise BadInput(
            "--jobs ends by itself, a night does not; leave out one of --jobs and --profile nightly"
        )
    out, junit = writable(out), result_file(junit, "--junit")
    if not as_json:
        say(first_lines(subject, plan, faults, skew))
    unsearched = None if skew is None else UNPROMISED.format(reference=reference)
    how = _stressed if profile != NIGHTLY else nightly.night
    return how(reference, subject, plan, out=out, junit=junit, as_json=as_json, unsearched=unsearched)


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

    lives = served(reference, subject, in_turns=False, has_relay=Fault.CONNECTION_CUT in plan.faults)
    with lives as own, room_for(out), stress_shown() as tell:
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
    if ended.interrupted is not None:
        raise Interrupted(f"interrupted in {ended.interrupted}, which is left out; the rest is told")
    return exit_code(report.verdicts)


def first_lines(subject: Subject, plan: "Plan", faults: str, skew: float | None) -> list[Text]:
    """Say what is to be done, and which of `all` faults have nothing to strike."""
    crew = f"{plan.consumers} workers, {plan.producers} producers"
    some = [] if skew is None else [f"clocks up to {skew:g} s apart"]
    some += [] if faults == ALL else [f"faults {faults}"]
    shown = [title("stress", subject.reference, crew, *some, f"profile {plan.profile}", f"seed {plan.seed}")]
    if faults == ALL and subject.server is not None:
        names = ", ".join(sorted(elsewhere(subject.server)))
        shown += paragraph(f"left out, as the data is on a server: {names}", width=width(), style="dim")
    if faults == ALL and not plan.takes_power:
        shown += paragraph(f"left out, as it is not promised: {POWER_LOSS}", width=width(), style="dim")
    return [*shown, Text()]
