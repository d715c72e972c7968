"""Which statement does a claim begin with, and from where does it look? What is common is to be cheap.

Mostly nothing has come due: the oldest job that waits is then taken by a short statement, which finds out
first whether that is so. Only where it takes too few does the whole statement follow, and it comes first
where it was needed the time before, so that a queue without work is asked once.

A transaction that is held open, anywhere on the server, keeps dead entries in the indexes, and a claim that
looks at everything passes over all of those that were ever claimed meanwhile. A claim tells how long it has
looked; where that was long, the next ones begin a little before the place where it ended, for twenty times as
long by the server's clock. What they do not see, and could have: a job whose enqueue committed after that of
a hundred younger ones, one that was given back without a rest, or that another claim was about to take when
its worker died, or one that came due before that by a clock which was set back since. Each waits for twenty
times as long as a look takes, or until fewer jobs than are asked for are found after that place: only the
whole statement, which knows no such place, may answer that nothing is there. So nothing is lost, and nothing
waits for ever, but for so long a younger job may go first.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import LiteralString

from psycopg.types.numeric import Int8

from ssq_core import postgres_schema as schema
from ssq_core.postgres_database import Database, Row, Terms
from ssq_core.queue import QueueClaim, RetryPolicy

Look = Callable[[int, Terms], list[Row]]

NONCE_BYTES = 16
LOOK_MAX = timedelta(milliseconds=1)
"""A look at everything that takes longer, for each job that it may take, is not repeated at once."""
LOOK_SHARE = 20
"""Of the time a twentieth is spent on looking at everything."""
MARGIN = timedelta(milliseconds=100)
MARGIN_JOBS = 100
"""So much before the place at which a look ended, the next one begins: enqueues commit in any order."""
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a look begins, and until when by the server's clock; the first one begins before everything."""

    seq: int = 0
    due: datetime = LONG_AGO
    looked_at: datetime = LONG_AGO
    until: datetime = LONG_AGO


EVERYWHERE = Place()
BEGINNING = {"seq_from": "0", "due_from": "'-infinity'"}
"""What `EVERYWHERE` is to the server."""


class Claims:
    """Takes jobs, for one handle; several threads may ask, and each then knows what the last one found."""

    def __init__(self, database: Database, *, lease_ttl: timedelta, retry: RetryPolicy) -> None:
        self._database = database
        self._lease_ttl = lease_ttl
        policy = {
            "lease_us": str(lease_ttl // timedelta(microseconds=1)),
            "attempts_max": str(retry.max_attempts),
        }
        self._all = _filled(schema.CLAIM, policy)
        self._many_since = _filled(schema.CLAIM_READY_MANY, policy)
        self._one_since = _filled(schema.CLAIM_READY, policy)
        self._many, self._one = (_filled(each, BEGINNING) for each in (self._many_since, self._one_since))
        self._place = EVERYWHERE
        self._is_plain = True
        """Whether the last claim found a job that had not come due."""

    def taken(self, limit: int, *, worker_id: str, claimed_by: str) -> list[QueueClaim]:
        """Take so many jobs, or as many as are available, oldest first."""
        claims = self._claimed(self._ready, limit, worker_id, claimed_by) if self._is_plain else []
        if len(claims) < limit:
            claims += self._claimed(self._available, limit - len(claims), worker_id, claimed_by)
        return claims

    def _claimed(self, look: Look, limit: int, worker_id: str, claimed_by: str) -> list[QueueClaim]:
        # A nonce for each statement: the second may take a job whose lease ended since the first took it.
        nonce = secrets.token_bytes(NONCE_BYTES)
        rows = look(limit, {"claim_id": nonce, "claimed_by": claimed_by})
        return [self._claim(row, f"-{nonce.hex()}", worker_id) for row in rows]

    def _ready(self, limit: int, terms: Terms) -> list[Row]:
        place = self._place
        one, many = self._one, self._many
        if place is not EVERYWHERE:
            one, many = self._one_since, self._many_since
            terms = {"seq_from": Int8(place.seq), "due_from": place.due, **terms}
        if limit == 1:
            rows = self._database.run("claim", one, terms)
        else:
            rows = sorted(self._database.run("claim", many, {"limit": limit, **terms}))
        if rows:
            self._place = _next(place, rows, limit)
        return rows

    def _available(self, limit: int, terms: Terms) -> list[Row]:
        self._place = EVERYWHERE
        while changed := self._database.run("claim", self._all, {"limit": limit, **terms}):
            # The others were buried.
            if rows := sorted(row for row in changed if row[3] is not None):
                self._is_plain = all(attempt == 1 for _, _, attempt, *_ in rows)
                return rows
        self._is_plain = False
        return []

    def _claim(self, row: Row, suffix: str, worker_id: str) -> QueueClaim:
        claimed_at = row[4].replace(tzinfo=UTC)
        return QueueClaim(
            job_id=row[1].decode(),
            claim_id=f"{row[0]}{suffix}",
            worker_id=worker_id,
            attempt=row[2],
            claimed_at=claimed_at,
            lease_expires_at=claimed_at + self._lease_ttl,
            payload=row[3],
        )


def _filled(statement: LiteralString, constants: Mapping[str, str]) -> LiteralString:
    """Return a statement with what is the same in all of a handle's claims in it: each term costs time."""
    for name, constant in constants.items():
        statement = statement.replace(f"%({name})s", constant)
    return statement


def _next(place: Place, rows: list[Row], limit: int) -> Place:
    """Return where the next look begins, after one that began there and took these."""
    claimed_at, ended_at = rows[0][4].replace(tzinfo=UTC), rows[0][5].replace(tzinfo=UTC)
    if place is EVERYWHERE:
        took = ended_at - claimed_at
        if took <= LOOK_MAX * limit:
            return EVERYWHERE
        until = ended_at + LOOK_SHARE * took
    elif place.looked_at <= claimed_at < place.until:
        until = place.until
    else:
        return EVERYWHERE
    return Place(seq=rows[-1][0] - MARGIN_JOBS, due=claimed_at - MARGIN, looked_at=claimed_at, until=until)
