"""How is a violation told that a repro shows again? To people by its story, to programs as JUnit XML."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.text import Text

from ssq_stress.command.console import width
from ssq_stress.command.door import named_repro, room_for
from ssq_verify.report.junit import junit
from ssq_verify.report.layout import command_line, printable
from ssq_verify.report.story import story
from ssq_verify.verdict import Finding, Verdict


def stories(verdicts: Sequence[Verdict]) -> list[Text | str]:
    """Tell the shortest violation, and name the command that replays each of the others."""
    ordered = _by_repro(verdicts)
    if not ordered:
        return []
    first, *others = ordered
    lines: list[Text | str] = [*_replayed_story(first), Text()]
    commands = [(each.invariant, each.repro) for each in others]
    commands += [(each.invariant, other) for each in ordered for other in each.also]
    if commands:
        name_width = max(len(name) for name, _ in commands)
        lines.append(Text("the others:", style="dim"))
        for name, repro in sorted(commands):
            lines.append(f"  {name:<{name_width}}  {command_line('ssq', 'replay', repro)}")
        lines.append(Text())
    return lines


def _replayed_story(verdict: Verdict) -> list[Text]:
    from ssq_verify.repro import replay as replayed  # noqa: PLC0415 - it loads DuckDB

    assert verdict.repro is not None
    outcome = replayed(named_repro(Path(verdict.repro)), processes=1)
    if outcome.violation is None:
        return [Text(f"{verdict.invariant}: {printable(verdict.sentence)}; its repro did not show it again")]
    return story(outcome.history, outcome.violation, width=width(), raced=outcome.raced)


def replay_commands(verdicts: Sequence[Verdict]) -> list[str]:
    """Return the commands that replay what was violated, the shortest first."""
    return [command_line("ssq", "replay", verdict.repro) for verdict in _by_repro(verdicts)]


def _by_repro(verdicts: Sequence[Verdict]) -> list[Verdict]:
    violated = [v for v in verdicts if v.verdict is Finding.VIOLATED and v.repro is not None]
    return sorted(violated, key=lambda verdict: len(named_repro(Path(verdict.repro or "")).scenario.steps))


def write_junit(
    path: Path,
    verdicts: Sequence[Verdict],
    *,
    suite: str,
    seed: int,
    history: Path,
    by_name: bool = False,
) -> None:
    """Write the verdicts as JUnit XML. Raises `BadInput`."""
    told = {each.invariant: _in_words(each, history) for each in verdicts if each.verdict is Finding.VIOLATED}
    properties = {"seed": str(seed), "history": str(history)}
    with room_for(path):
        path.write_bytes(junit(verdicts, suite=suite, properties=properties, told=told, by_name=by_name))


def _in_words(verdict: Verdict, history: Path) -> str:
    """Return what happened, an event a line, and the command that shows it again."""
    if verdict.repro is not None:
        steps = named_repro(Path(verdict.repro)).steps
        return "\n".join([*steps, "", command_line("ssq", "replay", verdict.repro)])
    if verdict.violation is None:
        return command_line("ssq", "check", history)
    witness = [msgspec.json.encode(event).decode() for event in verdict.violation.witness]
    return "\n".join([*witness, "", command_line("ssq", "check", history, "--invariants", verdict.invariant)])
