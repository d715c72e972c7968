"""Where the command line's words go: results to standard output, progress and errors to standard error."""

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from ssq_stress.command.streams import errors_stream, results_stream
from ssq_verify.report.layout import WIDTH, printable

if TYPE_CHECKING:
    from ssq_stress.bench.series import Step
    from ssq_stress.rounds import Seen
    from ssq_stress.runner import Progress as StressProgress
    from ssq_verify.verify import Progress

TRACEBACKS = Path(".ssq/tracebacks")


class BadInput(Exception):  # noqa: N818 - it names what is bad
    """What was given can't be used; the message is one line: what, where, what to do next."""


class Interrupted(Exception):  # noqa: N818 - it names what happened
    """Somebody ended a run of which something could be told all the same; the message is one line."""


class ReaderGone(Exception):  # noqa: N818 - it names what happened
    """Whoever read the output has closed it; there is nobody left to talk to."""


class _PipedConsole(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise ReaderGone


def results() -> Console:
    """Return the console for results: coloured on a terminal, plain text elsewhere."""
    return _PipedConsole(file=results_stream(), highlight=False, markup=False, emoji=False)


def errors() -> Console:
    """Return the console for progress and errors."""
    return _PipedConsole(file=errors_stream(), highlight=False, markup=False, emoji=False)


def width() -> int:
    """Return how many columns results may take: the terminal's, at most 100; in a pipe always 100."""
    console = results()
    return min(console.width, WIDTH) if console.is_terminal else WIDTH


def say(lines: Iterable[Text | str]) -> None:
    """Print lines of results. Raises `ReaderGone`, `BadInput`."""
    console = results()
    for line in lines:
        with _written():
            console.print(line, no_wrap=True, overflow="ignore", crop=False)


def say_json(document: Any) -> None:
    """Print one JSON document. Raises `ReaderGone`, `BadInput`."""
    with _written():
        results_stream().write(json.dumps(document, indent=2) + "\n")
        results_stream().flush()


@contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ReaderGone from None
    except OSError as error:
        raise BadInput(
            f"standard output: can not be written ({error.strerror}); make room, or send it elsewhere"
        ) from error


def complain(message: str) -> None:
    """Print one line about what went wrong, if anybody is there to read it."""
    line = Text("ssq: ", style="bold red") + Text(printable(message))
    with suppress(OSError, ReaderGone):
        errors().print(line, no_wrap=True, overflow="ignore", crop=False)


def note(message: str) -> None:
    """Print a line of progress where no terminal shows how things stand: a night's log is not to be empty."""
    console = errors()
    if not console.is_terminal:
        console.print(Text(printable(message)), no_wrap=True, overflow="ignore", crop=False)


@contextmanager
def forgiving_streams() -> Iterator[None]:
    """Show a name that the terminal's encoding lacks as an escape; let a closed pipe end us quietly."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
        with _written():
            sys.stdout.flush()
    except (ReaderGone, BadInput):
        _let_go()
        raise


def _let_go() -> None:
    """Python flushes standard output once more as it ends; that must find something to write to."""
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a device, not a path of ours
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def keep_traceback(error: BaseException) -> str:
    """Write down how the harness failed; return where, or why nowhere."""
    text = "".join(traceback.format_exception(error))
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.txt"
    for folder in (TRACEBACKS, Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        except OSError:
            continue
        return str(folder / name)
    return "nowhere: no folder could be written"


@contextmanager
def stress_shown() -> Iterator[Callable[["StressProgress"], None]]:
    """Give a callback that shows how a stress run stands: on a terminal only, and gone when it is over."""
    console = errors()
    if not console.is_terminal:
        yield lambda _: None
        return
    # Deaf to both streams: what a subject prints is not to be shown above it.
    with Live(
        console=console,
        transient=True,
        refresh_per_second=4,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as live:
        yield lambda seen: live.update(_standing(seen))


def _standing(progress: "StressProgress") -> Text:
    lines = [Text(progress.watch, style="bold")] if progress.watch else []
    if progress.losses is not None:
        done, of = progress.losses
        lines.append(Text(f"the power fails: {done} of {of} losses"))
    elif progress.seen is not None:
        lines += _working(progress.seen, progress.round, progress.rounds)
    found = ", ".join(progress.violations) or "none"
    lines.append(Text(f"violations so far: {found}", style="bold red" if progress.violations else "dim"))
    return Text("\n").join(lines)


def _working(seen: "Seen", number: int, of: int) -> list[Text]:
    left = f", {seen.seconds_left:.0f} s left" if seen.seconds_left else ""
    return [
        Text(f"round {number} of {of}: {seen.stage}{left}"),
        Text(
            f"{seen.operations:,} operations, {seen.operations_per_second:,.0f}/s · "
            f"backlog {seen.backlog:,} · attempts after the first {seen.reclaims:,}"
        ),
        Text(f"faults struck {seen.struck:,} · processes replaced {seen.crashes:,}"),
    ]


@contextmanager
def bench_shown() -> Iterator[Callable[["Step"], None]]:
    """Give a callback that shows which queue is being timed: on a terminal only, and gone when it is over."""
    with _bars() as bars:
        task = None if bars is None else bars.add_task("starting", total=None)

        def tell(step: "Step") -> None:
            if bars is not None and task is not None:
                what = f"{step.subject}, backlog {step.load.backlog:,}, {step.load.workers} workers"
                bars.update(task, description=what, completed=step.done, total=step.total)

        yield tell


@contextmanager
def migration_shown() -> Iterator[Callable[[int, int], None]]:
    """Give a callback that shows how many jobs have moved: on a terminal only, and gone when it is over."""
    with _bars() as bars:
        task = None if bars is None else bars.add_task("moving jobs", total=None)

        def tell(done: int, total: int) -> None:
            if bars is not None and task is not None:
                bars.update(task, completed=done, total=total)

        yield tell


@contextmanager
def _bars() -> Iterator[Bars | None]:
    console = errors()
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        yield bars


@contextmanager
def progress_shown() -> Iterator[Callable[["Progress"], None]]:
    """Give a callback that shows how far a run is: on a terminal only, and gone when the run is over."""
    console = errors()
    if not console.is_terminal:
        yield lambda _: None
        return
    with Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as bars:
        task = bars.add_task("starting", total=None)
        yield lambda seen: bars.update(task, description=seen.phase, completed=seen.done, total=seen.total)
