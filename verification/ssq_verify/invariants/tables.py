"""How does a history get into DuckDB? Loads it once, and builds the prelude's tables as queries name them."""
# ruff: noqa: S608 - every query is a file of this package; what a history says goes in as parameters

import re
import tempfile
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import duckdb
import msgspec

from ssq_verify.history import NEVER_NS, OPERATIONS, Event, History, Operation, Terms

LISTS_MAX = 20_000
"""Up to so many operations, lists as parameters are the quickest way in; beyond, a file."""

MEMORY_MAX = "1GB"

_OPERATION_COLUMNS = {
    "run": "INTEGER",
    "worker": "VARCHAR",
    "f": "VARCHAR",
    "job_id": "VARCHAR",
    "claim_id": "VARCHAR",
    "attempt": "INTEGER",
    "value": "VARCHAR",
    "outcome": "VARCHAR",
    "error": "VARCHAR",
    "inv_ns": "BIGINT",
    "ret_ns": "BIGINT",
    "inv_index": "BIGINT",
    "ret_index": "BIGINT",
    "lane": "INTEGER",
}
_EVENT_COLUMNS = {
    "run": "INTEGER",
    "position": "BIGINT",
    "time_ns": "BIGINT",
    "worker": "VARCHAR",
    "f": "VARCHAR",
    "job_id": "VARCHAR",
    "value": "VARCHAR",
}
_TERM_COLUMNS = {
    "ttl_ns": "BIGINT",
    "skew_ns": "BIGINT",
    "any_skew": "BOOLEAN",
    "resolution_ns": "BIGINT",
    "max_attempts": "INTEGER",
    "backoff_base_ns": "BIGINT",
    "backoff_max_ns": "BIGINT",
    "lease": "BOOLEAN",
    "fencing": "BOOLEAN",
    "release": "BOOLEAN",
    "extend": "BOOLEAN",
    "back_off": "BOOLEAN",
    "payload": "BOOLEAN",
    "dead_letters": "BOOLEAN",
    "batches": "BOOLEAN",
    "lists_jobs": "BOOLEAN",
    "idempotent_enqueue": "BOOLEAN",
    "repeat_ack": "VARCHAR",
    "late_ack": "VARCHAR",
    "durability": "VARCHAR",
    "order": "VARCHAR",
    "spurious_empty": "BOOLEAN",
}
_MACROS = (
    f"never() AS {NEVER_NS}",
    # At least one decimal, at most six: a sequential history has its events a microsecond apart.
    r"seconds(ns) AS regexp_replace(format('{:.6f}', ns / 1e9), '(\.\d+?)0+$', '\1') || ' s'",
    "moment(ns, start_ns) AS seconds(ns - start_ns)",
    (
        "until(ns, start_ns) AS "
        f"CASE WHEN ns = {NEVER_NS} THEN 'without end' ELSE 'until ' || moment(ns, start_ns) END"
    ),
    (
        "backoff_ns(attempt, base_ns, max_ns) AS "
        "least(base_ns * power(2.0, least(attempt - 1, 64)), max_ns)::BIGINT"
    ),
)


class Tables:
    """One in-memory database with one history in it at a time."""

    def __init__(self, *, prelude: str) -> None:
        self._definitions = _definitions(prelude)
        self._built: set[str] = set()
        self._history: History | None = None
        self._terms: Terms | None = None

    @cached_property
    def _database(self) -> duckdb.DuckDBPyConnection:
        database = duckdb.connect(
            ":memory:",
            config={
                "threads": 2,
                "memory_limit": MEMORY_MAX,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "preserve_insertion_order": False,
            },
        )
        for macro in _MACROS:
            database.execute(f"CREATE MACRO {macro}")
        for table, columns in (
            ("operations", _OPERATION_COLUMNS),
            ("events", _EVENT_COLUMNS),
            ("terms", _TERM_COLUMNS),
        ):
            database.execute(f"CREATE TABLE {table} ({_typed(columns)})")
        return database

    def loaded(self, history: History) -> "Tables":
        """Put a history in, unless it is the one that is in. Raises `InvalidHistory`."""
        if history is not self._history:
            operations = history.operations
            self._history = None
            self._built.clear()
            if history.terms != self._terms:
                self._replace("terms", [_term_row(history.terms)], _TERM_COLUMNS)
                self._terms = history.terms
            self._replace("events", _event_rows(history), _EVENT_COLUMNS)
            if len(operations) <= LISTS_MAX:
                rows = [msgspec.structs.astuple(operation) for operation in operations]
                self._replace("operations", rows, _OPERATION_COLUMNS)
            else:
                self._replace_by_file(operations)
            self._history = history
        return self

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Answer a query, after building the tables that it names."""
        self.build(query)
        return self._database.execute(query).fetchall()

    def build(self, query: str) -> None:
        """Build the tables that a query names, and those that they name."""
        for table in self._definitions:
            if table not in self._built and re.search(rf"\b{table}\b", query):
                definition = self._definitions[table]
                self._built.add(table)
                self.build(definition)
                self._database.execute(f"CREATE OR REPLACE TABLE {table} AS {definition}")

    def forget(self) -> None:
        """Let go of the history that is in."""
        self._history = None

    def _replace(self, table: str, rows: Sequence[Sequence[Any]], columns: dict[str, str]) -> None:
        self._database.execute(f"DELETE FROM {table}")
        if rows:
            lists = [list(column) for column in zip(*rows, strict=True)]
            values = ", ".join(f"unnest(${n}::{kind}[])" for n, kind in enumerate(columns.values(), start=1))
            self._database.execute(f"INSERT INTO {table} SELECT {values}", lists)

    def _replace_by_file(self, operations: Sequence[Operation]) -> None:
        self._database.execute("DELETE FROM operations")
        with tempfile.NamedTemporaryFile(suffix=".jsonl") as lines:
            lines.write(msgspec.json.Encoder().encode_lines(operations))
            lines.flush()
            columns = ", ".join(f"{name}: '{kind}'" for name, kind in _OPERATION_COLUMNS.items())
            self._database.execute(
                f"INSERT INTO operations SELECT * FROM read_json($1, columns={{{columns}}},"
                " format='newline_delimited')",
                [lines.name],
            )


def _definitions(prelude: str) -> dict[str, str]:
    definitions = {}
    for part in prelude.split("-- table: ")[1:]:
        name, _, definition = part.partition("\n")
        definitions[name.strip()] = re.sub(r"--.*", "", definition).strip()
    return definitions


def _typed(columns: dict[str, str]) -> str:
    return ", ".join(f'"{name}" {kind}' for name, kind in columns.items())


def _event_rows(history: History) -> list[tuple[Any, ...]]:
    return [
        _event_row(event) for event in history.events if event.f not in OPERATIONS or event.type == "info"
    ]


def _event_row(event: Event) -> tuple[Any, ...]:
    return (event.run, event.index, event.time_ns, event.worker, event.f, event.job_id, event.value)


def _term_row(terms: Terms) -> tuple[Any, ...]:
    skew = terms.max_clock_skew_seconds
    values: dict[str, Any] = msgspec.structs.asdict(terms) | {
        "ttl_ns": _ns(terms.lease_ttl_seconds),
        "skew_ns": _ns(skew or 0.0),
        "any_skew": skew is None,
        "resolution_ns": _ns(terms.time_resolution_seconds),
        "backoff_base_ns": _ns(terms.backoff_base_seconds) if terms.back_off else 0,
        "backoff_max_ns": _ns(terms.backoff_max_seconds),
    }
    return tuple(values[column] for column in _TERM_COLUMNS)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
