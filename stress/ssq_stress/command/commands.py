"""What each command of `ssq` does: from its arguments to what it prints and the exit code that it returns.

Heavy modules (DuckDB, Hypothesis) are imported by the command that needs them: the others answer at once.
"""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.text import Text

from ssq_stress.command.console import BadInput, progress_shown, say, say_json, width
from ssq_stress.command.door import (
    chosen,
    duration,
    named_history,
    named_repro,
    named_subject,
    result_file,
    room_for,
    writable,
)
from ssq_stress.command.telling import replay_commands, stories, write_junit
from ssq_stress.serving import served
from ssq_verify import subject as subject_module
from ssq_verify import versions
from ssq_verify.report.document import verdict_documents
from ssq_verify.report.layout import command_line, paragraph, printable
from ssq_verify.report.skew import skew_lines
from ssq_verify.report.story import story
from ssq_verify.report.table import explored_lines, summary, verdict_table
from ssq_verify.scenario import SEED
from ssq_verify.subject import NotInstalled, Subject, safe_name
from ssq_verify.verdict import EXIT_OK, EXIT_UNDECIDED, EXIT_VIOLATED, Verdict, exit_code
from ssq_verify.whole import whole, write_json

if TYPE_CHECKING:
    from ssq_verify.repro import Replayed, Repro
    from ssq_verify.verify import Report

RUNS = Path(".ssq/runs")
SEEDS = Path(".ssq/nightly")
"""For each subject the seed with which the next nightly run begins."""
NIGHTLY = "nightly"
REPLAY_CODES = {"fixed": EXIT_OK, "diverged": EXIT_UNDECIDED}


def verify(
    reference: str,
    *,
    profile: str,
    seed: int | None,
    lasts: str | None,
    invariants: str | None,
    out: Path | None,
    junit: Path | None,
    as_json: bool,
) -> int:
    """Drive a subject, judge it, and show the verdicts. Raises `BadInput`."""
    seconds = duration(lasts) if lasts is not None else 0.0
    only = chosen(invariants)
    queue = named_subject(reference)
    seed = resumed(queue.reference, profile) if seed is None else seed
    out, junit = writable(out or new_folder(queue.reference)), result_file(junit, "--junit")
    if not as_json:
        say([title("verify", queue.reference, f"profile {profile}", f"seed {seed}")])
    from ssq_verify.verify import verify as verified  # noqa: PLC0415 - see the module's docstring

    with served(reference, queue, in_turns=True):
        with room_for(out), progress_shown() as progress:
            report = verified(
                queue,
                profile=profile,
                seed=seed,
                only=only,
                out=out,
                progress=progress,
                processes=os.cpu_count() or 1,
                seconds=seconds,
            )
        keep_seed(queue.reference, profile, report.next_seed)
        if junit is not None:
            suite, history, by_name = f"ssq verify {report.subject}", out / "history.jsonl", only is not None
            write_junit(junit, report.verdicts, suite=suite, seed=seed, history=history, by_name=by_name)
        if as_json:
            say_json(_document(report, seed))
        else:
            _show(report, out)
    return exit_code(report.verdicts, by_name=only is not None)


def verify_skew(reference: str, *, seed: int | None, out: Path | None, as_json: bool) -> int:
    """Measure how wrong clocks may be, and how long a holder may stand still. Raises `BadInput`."""
    queue, seed = named_subject(reference), SEED if seed is None else seed
    out = writable(out or new_folder(queue.reference))
    if not as_json:
        say([title("verify", queue.reference, "sweep skew", f"seed {seed}"), Text()])
    from ssq_verify.machine import SETTINGS  # noqa: PLC0415 - see the module's docstring
    from ssq_verify.simulation.pool import pool  # noqa: PLC0415 - as above
    from ssq_verify.simulation.skew import measure  # noqa: PLC0415 - as above
    from ssq_verify.verify import Progress  # noqa: PLC0415 - as above

    with room_for(out), progress_shown() as progress, pool(queue, processes=os.cpu_count() or 1) as workers:

        def tell(done: int, total: int) -> None:
            progress(Progress(phase="measuring", done=done, total=total))

        report = measure(workers, queue, SETTINGS, seed=seed, tell=tell)
        document = msgspec.to_builtins(report) | {
            "measured_seconds": report.measured_seconds,
            "is_kept": report.is_kept,
        }
        write_json(document, out / "skew.json")
    say_json(document) if as_json else say(skew_lines(report, width=width()))
    if report.not_measured is not None:
        return EXIT_UNDECIDED
    return EXIT_OK if report.is_kept else EXIT_VIOLATED


def check(path: Path, *, invariants: str | None, as_json: bool) -> int:
    """Judge a recorded history. Raises `BadInput`."""
    from ssq_verify.judge import judge  # noqa: PLC0415 - see the module's docstring

    only = chosen(invariants)
    history = named_history(path)
    verdicts = judge(history, ways=("log",), only=only)
    if as_json:
        runs = len({event.run for event in history.events})
        explored = {"operations": len(history.operations), "runs": runs}
        document = {"history": str(path), "subject": history.header.subject, "ways": ["log"]}
        say_json(document | {"verdicts": verdict_documents(verdicts), "explored": explored})
        return exit_code(verdicts, by_name=only is not None)
    say([title("check", str(path), f"{len(history.operations):,} operations"), Text()])
    say([*verdict_table(verdicts, width=width()), Text(), summary(verdicts)])
    broken = [verdict for verdict in verdicts if verdict.violation is not None]
    for verdict in sorted(broken, key=_witness_length)[:1]:
        assert verdict.violation is not None
        say([Text(), *story(history, verdict.violation, width=width()), Text()])
        say([command_line("ssq", "check", path, "--invariants", verdict.invariant)])
    return exit_code(verdicts, by_name=only is not None)


def replay(path: Path, *, script: Path | None, as_json: bool) -> int:
    """Run a repro again, say whether it still fails, and write its script if asked to. Raises `BadInput`."""
    from ssq_verify.repro import replay as replayed  # noqa: PLC0415 - see the module's docstring
    from ssq_verify.repro import save  # noqa: PLC0415 - as above

    repro = named_repro(path)
    with served(repro.subject, named_subject(repro.subject), in_turns=True):
        outcome = replayed(repro, processes=1)
    code = EXIT_VIOLATED if outcome.still_fails else REPLAY_CODES.get(outcome.result.value, EXIT_OK)
    if script is not None and outcome.still_fails:
        write_script(outcome, script)
    if as_json:
        say_json(_replay_document(path, repro, outcome))
        return code
    say([title("replay", str(path), repro.subject, repro.invariant), Text()])
    if outcome.violation is not None:
        say([*story(outcome.history, outcome.violation, width=width(), raced=outcome.raced), Text()])
    if outcome.still_fails and outcome.tried:
        path = path.with_name(f"{path.stem}-now.json")
        save(outcome.repro, path)
    say([_result(outcome)])
    say([command_line("ssq", "replay", path)] if outcome.still_fails else [])
    say([command_line("python", script)] if outcome.still_fails and script is not None else [])
    return code


def write_script(outcome: "Replayed", path: Path) -> None:
    """Write a program that does what a repro does, and try it. Raises `BadInput`."""
    from ssq_verify.programs import NotScriptable  # noqa: PLC0415 - see the module's docstring
    from ssq_verify.script import proved, script  # noqa: PLC0415 - as above

    try:
        path.write_text(script(outcome), encoding="utf-8")
        proved(path, outcome)
    except OSError as error:
        raise BadInput(f"{path}: can not be written ({error.strerror}); name another file") from error
    except NotScriptable as limit:
        path.unlink(missing_ok=True)
        raise BadInput(f"{path}: no script: {limit}; the repro itself replays") from limit


def install(reference: str) -> int:
    """Put a version of the package that a subject adapts into a folder of its own. Raises `BadInput`."""
    name, version = versions.parted(reference)
    if name not in subject_module.names() or not version:
        raise BadInput(f"{reference}: name a subject and a version, as in pgqueuer@0.25.0; see ssq subjects")
    try:
        folder = versions.install(versions.package_of(name), version)
    except versions.VersionFailed as error:
        raise BadInput(str(error)) from error
    say([f"{versions.package_of(name)} {version} in {folder}; ssq verify {reference}"])
    return EXIT_OK


def subjects(*, as_json: bool) -> int:
    """List the subjects that come with the package."""
    listed = {name: _installed(name) for name in subject_module.names()}
    if as_json:
        say_json(
            [
                {
                    "name": name,
                    "summary": _summary(each),
                    "promises": msgspec.to_builtins(each.promises) if isinstance(each, Subject) else None,
                }
                for name, each in listed.items()
            ]
        )
        return EXIT_OK
    name_width = max(len(name) for name in listed)
    say(f"{name:<{name_width}}  {_summary(each)}" for name, each in listed.items())
    say(["", "Your own: ssq verify path/to/file.py:factory, or package.module:factory"])
    return EXIT_OK


def new_folder(reference: str) -> Path:
    """Return where a run's results go if nobody says otherwise."""
    return RUNS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{safe_name(reference)}"


def resumed(reference: str, profile: str) -> int:
    """Return the seed to begin with: nightly goes on where it stopped the last time, the others never do."""
    kept = SEEDS / f"{safe_name(reference)}.txt"
    return int(kept.read_text()) if profile == NIGHTLY and kept.is_file() else SEED


def keep_seed(reference: str, profile: str, seed: int) -> None:
    """Note where the next night begins."""
    if profile == NIGHTLY:
        SEEDS.mkdir(parents=True, exist_ok=True)
        with whole(SEEDS / f"{safe_name(reference)}.txt") as draft:
            draft.write_text(f"{seed}\n")


def title(command: str, *parts: str) -> Text:
    """Return the first line of a command's results."""
    line = Text(f"ssq {command} ", no_wrap=True, overflow="ignore").append(printable(parts[0]), style="bold")
    for part in parts[1:]:
        line.append(" · ", style="dim").append(printable(part))
    return line


def _document(report: "Report", seed: int) -> dict[str, Any]:
    """Return what `verify --json` prints."""
    return {
        "subject": report.subject,
        "seed": seed,
        "profile": report.profile,
        "ways": list(report.ways),
        "verdicts": verdict_documents(report.verdicts),
        "explored": report.explored,
        "raced": report.raced,
        "certificates": report.certificates,
        "not_simulatable": report.not_simulatable,
    }


def _show(report: "Report", out: Path) -> None:
    """Show the verdicts, what they rest on, the stories, and what to do next."""
    say([Text(), *verdict_table(report.verdicts, width=width()), Text(), summary(report.verdicts)])
    say([*explored_lines(report.explored, report.raced, width=width()), *_covered(report), Text()])
    say(stories(report.verdicts))
    say([Text(f"history, verdicts and repros: {printable(str(out))}", style="dim")])
    say(replay_commands(report.verdicts)[:1])


def _covered(report: "Report") -> list[Text]:
    """Say what was tried without a gap, or why nothing could be."""
    lines = [line for text in report.certificates for line in paragraph(text, width=width(), style="dim")]
    for name, result in report.kept:
        dropped = "; dropped" if result == "fixed" else ""
        lines += paragraph(f"earlier failure {name}: {result}{dropped}", width=width())
    if report.not_simulatable is not None:
        rest = "races and crashes rest" if report.ways else "everything rests"
        what = f"not simulated: {printable(report.not_simulatable)}; {rest} on stress alone"
        lines += paragraph(what, width=width(), style="yellow")
    return lines


def _result(outcome: "Replayed") -> Text:
    """Say in a line what a replay came to."""
    schedules = f"{outcome.tried:,} schedules" if outcome.tried != 1 else "1 schedule"
    changed = f"the code changed, and {schedules} near the recorded one"
    history = "the history that was recorded" if outcome.is_same_history else "another history than recorded"
    more = {
        "still fails": f", with {history}",
        "still fails nearby": "; the code changed, and a schedule near the recorded one fails now",
        "fixed": f"; {changed} were tried: no other fails" if outcome.tried else "",
        "diverged": f"; {changed} were tried: none fails, but there are more: run ssq verify",
    }
    result = outcome.result.value
    line = f"{result.removesuffix(' nearby')}: {outcome.repro.invariant}{more.get(result, '')}"
    style = "bold red" if outcome.still_fails else "bold green"
    return Text(line, style="yellow" if result == "diverged" else style)


def _witness_length(verdict: Verdict) -> int:
    return len(verdict.violation.witness) if verdict.violation is not None else 0


def _replay_document(path: Path, repro: "Repro", outcome: "Replayed") -> dict[str, Any]:
    from ssq_verify.repro import digest  # noqa: PLC0415 - see the module's docstring

    violation = outcome.violation
    return {
        "repro": str(path),
        "subject": repro.subject,
        "invariant": repro.invariant,
        "result": outcome.result.value,
        "tried": outcome.tried,
        "digest": digest(outcome.history),
        "same_history": outcome.is_same_history,
        "sentence": None if violation is None else violation.sentence,
        "witness": None if violation is None else msgspec.to_builtins(violation.witness),
    }


def _installed(name: str) -> Subject | NotInstalled:
    try:
        return subject_module.load(name)
    except NotInstalled as error:
        return error


def _summary(subject: Subject | NotInstalled) -> str:
    if isinstance(subject, NotInstalled):
        return f"(not installed: pip install 'ssq[{subject.extra}]')"
    module = sys.modules[subject.factory.__module__]
    return ((module.__doc__ or "").strip() or "not described").splitlines()[0]
