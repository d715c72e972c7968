"""The command `ssq`: which words it takes, and which exit code each outcome has.

0 all hold or are not offered, 1 violated, 3 vacuous or unknown, 64 usage or bad input, 70 the harness itself.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, cast

import typer

from ssq_stress.command import benching, commands, ending, explanation, migrating, repeating, stressing
from ssq_stress.command.console import (
    BadInput,
    Interrupted,
    ReaderGone,
    complain,
    forgiving_streams,
    keep_traceback,
    say,
)
from ssq_stress.command.streams import open_what_is_closed, subject_unheard
from ssq_verify.subject import SubjectFailed
from ssq_verify.verdict import EXIT_HARNESS, EXIT_OK, EXIT_USAGE

EXIT_INTERRUPTED, EXIT_READER_GONE = 130, 141
"""As a shell reports a process that SIGINT or SIGPIPE ended."""

# Typer carries a copy of click in some versions and imports it in others; this is the one that it raises.
UsageError = cast("type[Exception]", typer.BadParameter.__mro__[1])

app = typer.Typer(
    help="Find out whether a job queue keeps its promises, and see the shortest way to break it.",
    epilog="Exit codes: 0 all hold or are not offered; 1 violated; 3 vacuous or unknown; "
    "64 usage or bad input; 70 the harness itself.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Profile(StrEnum):
    """How long to look."""

    QUICK = "quick"
    CI = "ci"
    NIGHTLY = "nightly"


class StressProfile(StrEnum):
    """How much must have been struck."""

    CI = "ci"
    NIGHTLY = "nightly"


class Mode(StrEnum):
    """When a claim begins."""

    CLOSED = "closed"
    OPEN = "open"


class Sweep(StrEnum):
    """What to raise step by step."""

    SKEW = "skew"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Junit = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the verdicts as JUnit XML, too.")]
Invariants = Annotated[
    str | None,
    typer.Option("--invariants", metavar="A,B", help="Judge only these; `ssq explain` lists them."),
]


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        say([f"ssq {version('ssq')}"])
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def verify(
    subject: Annotated[
        str,
        typer.Argument(help="A name from `ssq subjects`, FILE.py:FACTORY, or a server's URL."),
    ],
    profile: Annotated[Profile, typer.Option(help="How hard: 20 s, 2 minutes, a night.")] = Profile.QUICK,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed, other runs. [default: 0]")] = None,
    seconds: Annotated[
        str | None,
        typer.Option("--for", metavar="8h", help="Go on with other seeds for so long; nightly then resumes."),
    ] = None,
    invariants: Invariants = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write. [default: .ssq/runs/TIME-SUBJECT]")
    ] = None,
    sweep: Annotated[
        Sweep | None, typer.Option(help="Instead, measure how wrong clocks may be, and how long pauses.")
    ] = None,
    junit: Junit = None,
    json: Json = False,
) -> int:
    """Drive a queue through many runs and judge what it did."""
    if sweep is not None:
        if any(option is not None for option in (seconds, invariants, junit)):
            raise BadInput(
                f"--sweep {sweep} ends by itself and judges what it measures; leave out the others"
            )
        with subject_unheard():
            return commands.verify_skew(subject, seed=seed, out=out, as_json=json)
    with subject_unheard():
        return commands.verify(
            subject,
            profile=profile.value,
            seed=seed,
            lasts=seconds,
            invariants=invariants,
            out=out,
            junit=junit,
            as_json=json,
        )


@app.command(short_help="Kill, freeze and mislead real processes.")
def stress(
    subject: Annotated[
        str, typer.Argument(help="A name from `ssq subjects`, FILE.py:FACTORY or MODULE:FACTORY.")
    ],
    seconds: Annotated[str, typer.Option("--for", metavar="8h", help="For about how long.")] = "60s",
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that claim.")] = 8,
    producers: Annotated[int, typer.Option(min=1, max=64, help="Processes that enqueue.")] = 2,
    faults: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Of kill, pause, skew, io-error, disk-full, server-kill, server-pause, connection-cut,"
            " power-loss; or all, or none.",
        ),
    ] = "all",
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Jobs a second. [default: as many as are taken]")
    ] = None,
    skew: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="SECONDS",
            help="Let clocks differ by so much, and hold the queue to it. [default: what it promises]",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Instead of --for: put so many through, and ack nearly all at once."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other timetables.")] = 0,
    profile: Annotated[
        StressProfile, typer.Option(help="Once each fault in each phase; or watch after watch, 30 times.")
    ] = StressProfile.CI,
    out: Annotated[
        Path | None, typer.Option(help="Where to write. [default: .ssq/runs/TIME-SUBJECT]")
    ] = None,
    junit: Junit = None,
    json: Json = False,
) -> int:
    """Let real processes work on a queue, kill, freeze and mislead them, and judge what they did."""
    with subject_unheard():
        return stressing.stress(
            subject,
            lasts=seconds,
            workers=workers,
            producers=producers,
            faults=faults,
            rate=rate,
            skew=skew,
            jobs=jobs,
            seed=seed,
            profile=profile.value,
            out=out or commands.new_folder(subject),
            junit=junit,
            as_json=json,
        )


@app.command(short_help="Time queues, and judge each run as well.")
def bench(
    subjects: Annotated[list[str], typer.Argument(help="Queues to time; the first is what ratios refer to.")],
    backlog: Annotated[
        str | None, typer.Option(metavar="A,B", help="Jobs that wait at the start. [default: 2000,20000]")
    ] = None,
    workers: Annotated[
        str | None, typer.Option(metavar="A,B", help="Processes that claim and ack. [default: 4]")
    ] = None,
    claims: Annotated[
        int | None, typer.Option(min=1, help="How many are timed. [default: the whole backlog]")
    ] = None,
    batch: Annotated[
        str | None, typer.Option(metavar="A,B", help="Jobs a call, where a queue takes many. [default: 1]")
    ] = None,
    payload: Annotated[int, typer.Option(min=0, metavar="BYTES", help="What each job carries.")] = 0,
    mode: Annotated[Mode, typer.Option(help="One claim after the other, or by a timetable.")] = Mode.CLOSED,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="With --mode open: claims a second, all together.")
    ] = None,
    fill: Annotated[bool, typer.Option("--fill", help="Show how fast jobs were enqueued, too.")] = False,
    repeat: Annotated[int, typer.Option(min=1, help="How often; the median counts.")] = 5,
    out: Annotated[
        Path | None, typer.Option(help="Where to write. [default: .ssq/runs/TIME-SUBJECT]")
    ] = None,
    log_issue: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Add it to openspec/_ops/task_runs/ISSUE-N.md.")
    ] = None,
    tier: Annotated[
        int | None, typer.Option(min=0, max=1, help="Pass or fail: 0 one node, 1 production.")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Fail if ratios fell since this run's bench.json.")
    ] = None,
    json: Json = False,
) -> int:
    """Time queues: claim and ack pairs a minute, and how long a claim takes, each run judged as well."""
    if (mode is Mode.OPEN) != (rate is not None):
        raise BadInput("--mode open and --rate go together: --mode open --rate 500")
    with subject_unheard():
        return benching.bench(
            benching.Asked(
                references=subjects,
                backlogs=backlog,
                workers=workers,
                claims=claims,
                batches=batch,
                payload_bytes=payload,
                rate=rate,
                is_filling_shown=fill,
                repeat=repeat,
                out=out or commands.new_folder("bench"),
                log_issue=log_issue,
                tier=tier,
                compare=compare,
                as_json=json,
            )
        )


@app.command(short_help="Move a stopped queue's jobs to a server.")
def migrate(
    source: Annotated[str, typer.Argument(help="The queue as it is: file:///folder, or sqlite:///path.")],
    destination: Annotated[
        str, typer.Argument(help="An empty queue: postgresql://user@host/database, or redis://host.")
    ],
    table: Annotated[
        str | None, typer.Option(metavar="NAME", help="The destination's table, or name. [default: its own]")
    ] = None,
    skew: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="By how much the workers' clocks may differ.")
    ] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would move.")] = False,
    json: Json = False,
) -> int:
    """Move a stopped queue's jobs, attempts and dead letters; stopped half-way, the same command goes on."""
    return migrating.migrate(
        source, destination, table=table, skew_seconds=skew, is_dry=dry_run, as_json=json
    )


@app.command()
def check(
    history: Annotated[
        Path, typer.Argument(help="A history: JSON Lines, or Parquet if it ends in .parquet.")
    ],
    invariants: Invariants = None,
    json: Json = False,
) -> int:
    """Judge a history that anything, anywhere, recorded."""
    return commands.check(history, invariants=invariants, as_json=json)


@app.command(short_help="Run again what failed.")
def replay(
    file: Annotated[Path, typer.Argument(help="A repro that `ssq verify` or `ssq stress` wrote.")],
    script: Annotated[
        Path | None,
        typer.Option(metavar="OUT.py", help="Write a program that does the same and needs only the queue."),
    ] = None,
    json: Json = False,
) -> int:
    """Run a repro again: `still fails` (1), `fixed` (0), or `diverged` (3) if the code changed too much.

    A round of stress is repeated up to twenty times; told is how often what broke (1), or that none did (3).
    """
    repetition = repeating.named_repetition(file)
    if repetition is not None and script is not None:
        raise BadInput(f"{file}: no script: no two rounds of stress are alike; leave out --script")
    with subject_unheard():
        if repetition is not None:
            return repeating.repeat(file, repetition, as_json=json)
        return commands.replay(file, script=script, as_json=json)


@app.command()
def subjects(json: Json = False) -> int:
    """List the queues that come with ssq."""
    return commands.subjects(as_json=json)


@app.command(short_help="Install another version of a known queue.")
def install(
    subject: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="As in pgqueuer@0.25.0.")],
) -> int:
    """Put another version of somebody else's queue beside the installed one, to be judged by that name."""
    return commands.install(subject)


@app.command(short_help="Explain an invariant, or a fault.")
def explain(
    name: Annotated[
        str | None, typer.Argument(help="An invariant, or a fault; without it, all invariants are listed.")
    ] = None,
    json: Json = False,
) -> int:
    """Say what an invariant requires, and show a smallest history that breaks it; or what a fault does."""
    return explanation.explain(name, as_json=json)


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line and return its exit code; what goes wrong is one line on standard error."""
    try:
        with forgiving_streams():
            return _carried_out(arguments)
    except ReaderGone:
        return EXIT_READER_GONE
    except (KeyboardInterrupt, typer.Abort, Interrupted) as error:
        is_told = isinstance(error, Interrupted)
        complain(str(error) if is_told else "interrupted; what was written so far is kept")
        return ending.exit_code()
    except (BadInput, SubjectFailed) as error:
        complain(str(error))
        return EXIT_USAGE
    except UsageError as error:
        complain(_usage(error))
        return EXIT_USAGE
    except Exception as error:  # noqa: BLE001 - the last door: a traceback helps nobody who only ran a command
        return _harness_failed(error)


def main() -> None:
    """Run the console script `ssq`."""
    open_what_is_closed()
    ending.heed_signals()
    sys.exit(run(sys.argv[1:]))


def _carried_out(arguments: Sequence[str]) -> int:
    code = typer.main.get_command(app).main(args=list(arguments), prog_name="ssq", standalone_mode=False)
    if code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    return code if isinstance(code, int) else EXIT_OK


def _usage(error: Exception) -> str:
    message = getattr(error, "format_message", lambda: str(error))().rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message}; see {context.command_path if context else 'ssq'} --help"


def _harness_failed(error: Exception) -> int:
    if os.environ.get("SSQ_TRACEBACK") == "1":
        traceback.print_exception(error)
    what = f"{type(error).__name__}: {error}"
    complain(
        f"the harness itself failed: {what} (traceback in {keep_traceback(error)}; SSQ_TRACEBACK=1 shows it)"
    )
    return EXIT_HARNESS
