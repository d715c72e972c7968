"""How is a history kept in Parquet? One row an event, the header as JSON in the file's metadata."""
# ruff: noqa: S608 - what goes into the text of a query is quoted

import tempfile
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from ssq_verify.history import SCHEMA_VERSION, Event, Header, History, InvalidHistory

HEADER_KEY = "ssq_history"
"""The key in the file's metadata under which the header stands."""

_COLUMNS = {
    "index": "BIGINT",
    "time_ns": "BIGINT",
    "worker": "VARCHAR",
    "type": "VARCHAR",
    "f": "VARCHAR",
    "job_id": "VARCHAR",
    "claim_id": "VARCHAR",
    "attempt": "INTEGER",
    "value": "VARCHAR",
    "wall_time": "VARCHAR",
    "run": "INTEGER",
    "lane": "INTEGER",
}
_ROWS_AT_ONCE = 50_000


def write(history: History, path: Path) -> None:
    """Write a history. Raises `OSError` if the file can not be written."""
    path.open("wb").close()
    kinds = ", ".join(f"'{name}': '{kind}'" for name, kind in _COLUMNS.items())
    header = msgspec.json.encode(history.header).decode()
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as lines, duckdb.connect() as database:
        lines.write(msgspec.json.Encoder().encode_lines(history.events))
        lines.flush()
        database.execute(
            f"COPY (SELECT * REPLACE (coalesce(run, 0) AS run, coalesce(lane, 0) AS lane)"
            f" FROM read_json({_quoted(lines.name)}, columns={{{kinds}}}, format='newline_delimited'))"
            f" TO {_quoted(str(path))} (FORMAT parquet, COMPRESSION zstd,"
            f" KV_METADATA {{{HEADER_KEY}: {_quoted(header)}}})"
        )


def read(path: Path) -> History:
    """Read a history; the caller validates it. Raises `InvalidHistory`, naming the row, and `OSError`."""
    path.open("rb").close()
    with duckdb.connect() as database:
        try:
            return History(header=_header(database, path), events=tuple(_events(database, path)))
        except duckdb.Error as error:
            raise InvalidHistory(str(path), f"not a Parquet history: {str(error).splitlines()[0]}") from None


def _header(database: duckdb.DuckDBPyConnection, path: Path) -> Header:
    found = database.execute(
        "SELECT value FROM parquet_kv_metadata($1) WHERE decode(key) = $2", [str(path), HEADER_KEY]
    ).fetchone()
    if found is None:
        raise InvalidHistory(str(path), f"its metadata has no {HEADER_KEY}; write it with ssq")
    try:
        header = msgspec.json.decode(found[0], type=Header)
    except msgspec.MsgspecError as error:
        raise InvalidHistory(str(path), f"not a history header: {error}") from None
    if header.ssq_history != SCHEMA_VERSION:
        raise InvalidHistory(
            str(path), f"history schema {header.ssq_history}; this ssq reads {SCHEMA_VERSION}"
        )
    return header


def _events(database: duckdb.DuckDBPyConnection, path: Path) -> list[Event]:
    events: list[Event] = []
    rows = database.execute('SELECT * FROM read_parquet($1) ORDER BY "index"', [str(path)])
    names = [column[0] for column in rows.description or ()]
    while chunk := rows.fetchmany(_ROWS_AT_ONCE):
        for row in chunk:
            events.append(_event(dict(zip(names, row, strict=True)), len(events)))
    return events


def _event(fields: dict[str, Any], position: int) -> Event:
    try:
        return msgspec.convert({name: value for name, value in fields.items() if value is not None}, Event)
    except msgspec.ValidationError as error:
        raise InvalidHistory(f"event {position}", f"not a history event: {error}") from None


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
