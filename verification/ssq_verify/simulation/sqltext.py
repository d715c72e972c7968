"""What does an SQL statement say of transactions, of waiting, and of where its database is?"""

import os
import re
import sqlite3
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from ssq_verify.simulation.point import Point

STATEMENT_SHOWN_MAX = 60
BUSY_TIMEOUT = re.compile(
    r"""\s* PRAGMA \s+ (\w+ \s* \.)? \s* busy_timeout \s*
    ( = \s* (?P<assigned>\d+) | \( \s* (?P<called>\d+) \s* \) )? \s* ;? \s*""",
    re.IGNORECASE | re.VERBOSE,
)
BEGINS = re.compile(r"\s*BEGIN\b(?!\s+(IMMEDIATE|EXCLUSIVE))", re.IGNORECASE)
ENDS = re.compile(r"\s*(COMMIT|END|ROLLBACK)\b(?!.*\bTO\b)", re.IGNORECASE)
COMMITS = re.compile(r"\s*(COMMIT|END)\b", re.IGNORECASE)


class Kind(NamedTuple):
    """What a statement is to a transaction."""

    begins: bool
    """It begins one that holds nothing yet."""
    ends: bool
    commits: bool
    asks: re.Match[str] | None
    """It asks SQLite itself to wait."""


def database_of(database: str) -> str:
    """Return the path that a name or a URI leads to: one name for one database, "" for one in memory."""
    if database.startswith("file:"):
        if "mode=memory" in database:
            return ""
        database = unquote(urlsplit(database).path)
    return "" if database in {"", ":memory:"} else os.path.abspath(database)  # noqa: PTH100 - links are not followed


@lru_cache(maxsize=16384)
def kind_of(sql: str) -> Kind:
    """Return what a statement is to a transaction."""
    begins, ends, commits = (known.match(sql) is not None for known in (BEGINS, ENDS, COMMITS))
    return Kind(begins, ends, commits, BUSY_TIMEOUT.fullmatch(sql))


@lru_cache(maxsize=16384)
def point_of(sql: str, database: str) -> Point:
    """Return the point before a statement, shown in one line."""
    shown = " ".join(sql.split())
    if len(shown) > STATEMENT_SHOWN_MAX:
        shown = shown[:STATEMENT_SHOWN_MAX] + "…"
    return Point("sqlite", shown, writes=frozenset((f"database:{database}",)))


def statements_of(script: str) -> list[str]:
    """Return the statements of a script, each with its end."""
    statements, pending = [], ""
    for piece in script.split(";"):
        pending += piece + ";"
        if sqlite3.complete_statement(pending):
            if pending.strip("; \n\t"):
                statements.append(pending)
            pending = ""
    return statements
