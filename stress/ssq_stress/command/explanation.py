"""What `ssq explain` says: what an invariant requires, a history that breaks it, the usual bug; faults."""

from typing import TYPE_CHECKING

from rich.text import Text

from ssq_stress.command.console import BadInput, say, say_json, width
from ssq_stress.command.door import unknown_invariant
from ssq_stress.command.meanings import MEANINGS
from ssq_verify.history import History, Terms
from ssq_verify.notation import h
from ssq_verify.report.columns import drawn
from ssq_verify.report.layout import paragraph, rounded
from ssq_verify.report.story import rows
from ssq_verify.verdict import EXIT_OK, Violation

if TYPE_CHECKING:
    from ssq_verify.invariants import Invariant


def explain(name: str | None, *, as_json: bool) -> int:
    """Explain one invariant or fault, or list all. Raises `BadInput`."""
    known = _known()
    if name is None:
        return _list(known, as_json=as_json)
    if name in MEANINGS:
        _explain_fault(name, as_json=as_json)
        return EXIT_OK
    found = next((invariant for invariant in known if invariant.id == name), None)
    if found is None:
        raise BadInput(unknown_invariant(name))
    if as_json:
        say_json(_document(found))
    else:
        say(_lines(found, width()))
    return EXIT_OK


def _known() -> "tuple[Invariant, ...]":
    from ssq_verify.invariants import INVARIANTS, Invariant  # noqa: PLC0415 - it loads DuckDB

    exact = Invariant(
        id="linearizable",
        requirement="For each job, there is an order of its operations, each within its interval, that "
        "the contract accepts. This is the exact check; the others are its readable consequences.",
        sound_because="It searches all orders, and an operation whose outcome is not known may come at "
        "any later time, or never. Where the search reaches its limit, it says unknown.",
        usual_bug="Any of the others, or one without a name: an answer that no state of the job explains.",
        holds="",
        vacuous="",
        offered_if="true",
        not_offered="",
        needs=None,
        terms=Terms(),
        broken=("w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 !lost",),
        accepted=("w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w1 ack j1#1 !lost",),
        queries={},
    )
    return (*INVARIANTS[:-1], exact, INVARIANTS[-1])


def _explain_fault(name: str, *, as_json: bool) -> None:
    if as_json:
        say_json({"fault": name, "meaning": MEANINGS[name]})
    else:
        say([Text(name, style="bold"), *paragraph(MEANINGS[name], width=width(), indent=2)])


def _list(invariants: "tuple[Invariant, ...]", *, as_json: bool) -> int:
    if as_json:
        say_json([_document(invariant) for invariant in invariants])
        return EXIT_OK
    name_width = max(len(invariant.id) for invariant in invariants)
    for invariant in invariants:
        first, *rest = paragraph(invariant.requirement, width=width() - name_width - 2)
        say([Text(f"{invariant.id:<{name_width}}  ", style="bold") + first])
        say(Text(" " * (name_width + 2)) + line for line in rest)
    faults = f"`ssq explain FAULT` says what each fault of `ssq stress` does: {', '.join(MEANINGS)}"
    say([Text(), *paragraph(faults, width=width(), style="dim")])
    return EXIT_OK


def _document(invariant: "Invariant") -> dict[str, object]:
    return {
        "invariant": invariant.id,
        "requirement": invariant.requirement,
        "sound_because": invariant.sound_because,
        "usual_bug": invariant.usual_bug,
        "broken": list(invariant.broken),
        "accepted": list(invariant.accepted),
    }


def _lines(invariant: "Invariant", columns: int) -> list[Text]:
    lines = [
        Text(invariant.id, style="bold"),
        *paragraph(invariant.requirement, width=columns, indent=2),
        Text(),
    ]
    lines += [Text("A smallest history that breaks it", style="bold"), *_broken(invariant, columns), Text()]
    lines += [
        Text("A smallest history that keeps it", style="bold"),
        *_accepted(_written(invariant, invariant.accepted[0]), columns),
        Text(),
    ]
    lines += [
        Text("The usual bug", style="bold"),
        *paragraph(invariant.usual_bug, width=columns, indent=2),
        Text(),
    ]
    lines += [Text("Why no correct queue is accused", style="bold")]
    return lines + paragraph(invariant.sound_because, width=columns, indent=2)


def _broken(invariant: "Invariant", columns: int) -> list[Text]:
    from ssq_verify.judge import verdict_on  # noqa: PLC0415 - it loads DuckDB

    history = _written(invariant, invariant.broken[0])
    found = verdict_on(history, invariant.id, ways=("log",)).violation
    if found is None:
        return _accepted(history, columns)
    return [
        *paragraph(rounded(found.sentence), width=columns, indent=2),
        *drawn(rows(history, found), width=columns),
    ]


def _accepted(history: History, columns: int) -> list[Text]:
    nothing = Violation(invariant="", run=0, job_id=None, sentence="", witness=())
    return drawn(rows(history, nothing), width=columns)


def _written(invariant: "Invariant", line: str) -> History:
    return h(*(item.strip() for item in line.split(";")), terms=invariant.terms)
