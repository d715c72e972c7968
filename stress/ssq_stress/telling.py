"""How is a violation told that a repro shows again? By its story, and the commands that replay all."""

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from ssq_stress.console import width
from ssq_stress.door import named_repro
from ssq_verify.report.layout import printable
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
        lines += [f"  {name:<{name_width}}  ssq replay {repro}" for name, repro in sorted(commands)]
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
    return [f"ssq replay {verdict.repro}" for verdict in _by_repro(verdicts)]


def _by_repro(verdicts: Sequence[Verdict]) -> list[Verdict]:
    violated = [v for v in verdicts if v.verdict is Finding.VIOLATED and v.repro is not None]
    return sorted(violated, key=lambda verdict: len(named_repro(Path(verdict.repro or "")).scenario.steps))
