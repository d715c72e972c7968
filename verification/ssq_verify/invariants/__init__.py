"""Which promises does a history break? Each invariant is one SQL file, run on DuckDB over the operations.

A file opens with the requirement in words, why its query can not accuse a correct queue, the usual bug, and
smallest broken and accepted histories in the language of `ssq_verify.notation`; then come the queries, by
name: `violations` (run, job_id, sentence, witness), `exercised` (how many situations a violation could have
shown in), and where needed `undecided` (the limit that left it open) and `measured` (what is said besides).
What they have in common stands in `prelude.sql`. One connection serves the process; it is not for threads.
"""
# ruff: noqa: S608 - every query is a file of this package, and the limit is a number

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ssq_verify.history import Event, History, Terms
from ssq_verify.invariants.tables import Tables
from ssq_verify.verdict import Violation

_HERE = Path(__file__).parent
_ORDER = (
    "single-claimer",
    "no-early-reclaim",
    "fencing",
    "bounded-retries",
    "no-lost-job",
    "no-resurrection",
    "integrity",
    "reclaim-on-expiry",
    "progress",
    "back-off",
    "order",
    "durable",
    "not-vacuous",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Invariant:
    """One invariant as its file states it."""

    id: str
    requirement: str
    sound_because: str
    usual_bug: str
    holds: str
    """What is said when it holds, with `{exercised}` in it."""
    vacuous: str
    """What is said when the history could not have shown a violation."""
    offered_if: str
    """A SQL condition over the terms."""
    not_offered: str
    """What is said when that is false."""
    needs: str | None
    """The way of making histories that it takes, if a sequential run can not show a violation."""
    terms: Terms
    """Those of the examples."""
    broken: tuple[str, ...]
    """Smallest histories that break it, in the language of `ssq_verify.notation`, parted by semicolons."""
    accepted: tuple[str, ...]
    queries: Mapping[str, str]


def load(history: History) -> None:
    """Put a history into the database ahead of the first question. Raises `InvalidHistory`."""
    _TABLES.loaded(history)


def forget() -> None:
    """Let go of the history that is held for further questions."""
    _TABLES.forget()


def violations(history: History, invariant_id: str, *, limit: int = 100) -> tuple[Violation, ...]:
    """Return the first violations of one invariant, those with the shortest witness first.

    Raises `KeyError` for an unknown invariant, `InvalidHistory` for a history that no run can have produced.
    """
    query = invariant(invariant_id).queries.get("violations")
    if query is None:
        return ()
    rows = _TABLES.loaded(history).rows(
        f"SELECT run, job_id, sentence, witness FROM ({query})"
        f" ORDER BY list_aggregate(witness, 'count'), witness, sentence LIMIT {limit}"
    )
    return tuple(
        Violation(
            invariant=invariant_id,
            run=run,
            job_id=job_id,
            sentence=sentence,
            witness=_shown(history, witness),
        )
        for run, job_id, sentence, witness in rows
    )


def exercised(history: History, invariant_id: str) -> int:
    """Return how many situations the history shows in which a violation could have shown."""
    return int(_TABLES.loaded(history).rows(invariant(invariant_id).queries["exercised"])[0][0])


def offered(history: History, invariant_id: str) -> bool:
    """Whether the queue, by the history's terms, promises this invariant."""
    condition = invariant(invariant_id).offered_if
    return bool(_TABLES.loaded(history).rows(f"SELECT {condition} FROM terms")[0][0])


def undecided(history: History, invariant_id: str) -> str | None:
    """Return the limit that left the invariant open, if one did."""
    query = invariant(invariant_id).queries.get("undecided")
    rows = [] if query is None else _TABLES.loaded(history).rows(query)
    return str(rows[0][0]) if rows else None


def measured(history: History, invariant_id: str) -> int | None:
    """Return the largest of what is measured besides, if anything is."""
    query = invariant(invariant_id).queries.get("measured")
    return None if query is None else int(_TABLES.loaded(history).rows(query)[0][0])


def counts(history: History) -> tuple[tuple[str, int, bool], ...]:
    """Return what a run should have exercised: what, how often it was seen, and if it takes concurrency."""
    rows = _TABLES.loaded(history).rows(invariant("not-vacuous").queries["counts"])
    return tuple((what, seen, inside) for what, seen, inside in rows)


def invariant(invariant_id: str) -> Invariant:
    """Return one invariant by its id. Raises `KeyError`, naming those that there are."""
    if invariant_id not in _BY_ID:
        raise KeyError(f"{invariant_id}: no such invariant; name one of {', '.join(_BY_ID)}")
    return _BY_ID[invariant_id]


def _shown(history: History, witness: list[int | None]) -> tuple[Event, ...]:
    # A query names the events in any order, and leaves a place empty where there was none.
    return tuple(history.events[index] for index in sorted({each for each in witness if each is not None}))


def _read(path: Path) -> Invariant:
    header, _, body = path.read_text(encoding="utf-8").partition("-- name: ")
    fields = _fields(header)

    def said(name: str, default: str = "") -> str:
        return fields.get(name, [default])[0]

    return Invariant(
        id=path.stem.replace("_", "-"),
        requirement=said("Requirement"),
        sound_because=said("Sound because"),
        usual_bug=said("Usual bug"),
        holds=said("Holds"),
        vacuous=said("Vacuous"),
        offered_if=said("Offered if", "true"),
        not_offered=said("Not offered"),
        needs=said("Needs") or None,
        terms=_terms(said("Terms")),
        broken=tuple(fields["Broken"]),
        accepted=tuple(fields["Accepted"]),
        queries=_queries(body),
    )


def _fields(header: str) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    name = ""
    for line in header.splitlines():
        text = line.removeprefix("--")
        if text.startswith("   "):
            fields[name][-1] += " " + text.strip()
        elif text.strip():
            name, _, value = text.strip().partition(": ")
            fields.setdefault(name, []).append(value.strip())
    return fields


def _queries(body: str) -> dict[str, str]:
    queries = {}
    for part in body.split("-- name: "):
        name, _, query = part.partition("\n")
        queries[name.strip()] = query.strip()
    return queries


def _terms(text: str) -> Terms:
    given: dict[str, Any] = dict(item.strip().split("=") for item in text.split(",") if item.strip())
    return msgspec.convert(given, Terms, strict=False)


_TABLES = Tables(prelude=(_HERE / "prelude.sql").read_text(encoding="utf-8"))
_BY_ID = {name: _read(_HERE / f"{name.replace('-', '_')}.sql") for name in _ORDER}
INVARIANTS: tuple[Invariant, ...] = tuple(_BY_ID.values())
"""All that are judged in SQL, in the order in which verdicts are given."""
