"""What does `ssq replay` show of a round of stress? In how many repetitions it broke: no two are alike."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec
from rich.text import Text

from ssq_stress.command.commands import title
from ssq_stress.command.console import BadInput, say, say_json, stress_shown
from ssq_stress.command.door import fit_for_stress, held_to, named_subject
from ssq_stress.faults import Fault
from ssq_stress.serving import served
from ssq_verify.verdict import EXIT_UNDECIDED, EXIT_VIOLATED

if TYPE_CHECKING:
    from ssq_stress.repeating import Rate, Repetition


def named_repetition(path: Path) -> "Repetition | None":
    """Return the round that a file holds, or None if it holds something else. Raises `BadInput`."""
    from ssq_stress.repeating import decoded  # noqa: PLC0415 - it loads DuckDB

    try:
        return decoded(path.read_bytes()) if path.is_file() else None
    except msgspec.ValidationError as error:
        raise BadInput(f"{path}: no round of stress that this version knows ({error})") from error
    except OSError as error:
        raise BadInput(f"{path}: can not be read ({error.strerror}); check the path") from error


def repeat(path: Path, repetition: "Repetition", *, as_json: bool) -> int:
    """Repeat a round, and say in how many repetitions something broke. Raises `BadInput`."""
    from ssq_stress.repeating import repeat as repeated  # noqa: PLC0415 - it loads DuckDB

    subject = held_to(fit_for_stress(named_subject(repetition.subject)), repetition.skew_seconds)
    if not as_json:
        say([title("replay", str(path), subject.reference, f"seed {repetition.round.seed}"), Text()])
    has_relay = Fault.CONNECTION_CUT in repetition.round.faults
    with (
        served(repetition.subject, subject, in_turns=False, has_relay=has_relay) as server,
        TemporaryDirectory(prefix="ssq-") as folder,
        stress_shown() as tell,
    ):
        rate = repeated(subject, repetition, out=Path(folder), server=server, tell=tell)
    if as_json:
        say_json({"repetition": str(path), "subject": subject.reference} | msgspec.to_builtins(rate))
    else:
        say(lines(rate, repetition.short.seconds))
    return EXIT_VIOLATED if rate.broken else EXIT_UNDECIDED


def lines(rate: "Rate", seconds: float) -> list[Text]:
    """Return what broke, the most often first; that nothing did is no proof."""
    if not rate.broken:
        seen = f"nothing broke in {rate.of} repetitions of {seconds:.1f} s; that shows no absence"
        return [Text(seen, style="yellow")]
    ordered = sorted(rate.broken, key=lambda name: (-rate.broken[name], name))
    return [Text(f"still fails: {name}, in {rate.told(name)}", style="bold red") for name in ordered]
