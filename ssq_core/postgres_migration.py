"""How does a PostgreSQL queue take jobs over? A piece and the note that it was taken are one statement.

The note is a row in the table `<table>_migration`, one for each move there ever was. It is locked before the
jobs are written, and says up to where they are there: a piece that does not begin there changes nothing.
"""

from collections.abc import Sequence
from typing import Any

from ssq_core.postgres_database import Database
from ssq_core.queue import QueueUnavailable, encoded_job_id
from ssq_core.stored import Moved, Piece

_CREATE = """
CREATE TABLE IF NOT EXISTS {migration} (
  token      text        PRIMARY KEY,
  begun_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  position   bigint      NOT NULL DEFAULT 0,
  queued     bigint      NOT NULL DEFAULT 0,
  resting    bigint      NOT NULL DEFAULT 0,
  dead       bigint      NOT NULL DEFAULT 0,
  met        bigint      NOT NULL DEFAULT 0,
  damaged    bigint      NOT NULL DEFAULT 0
)
"""
_IS_EMPTY = "SELECT NOT EXISTS (SELECT FROM {jobs})"
_MOVED = "SELECT position, queued, resting, dead, met, damaged FROM {migration} WHERE token = %(token)s"
_BEGIN = """
INSERT INTO {migration} (token) SELECT %(token)s WHERE NOT EXISTS (SELECT FROM {jobs})
ON CONFLICT DO NOTHING
"""
# A number is given to each row in the order of the subquery. Of an id that is there already nothing is taken.
_ADOPT = """
WITH noted AS MATERIALIZED (
  SELECT token FROM {migration} WHERE token = %(token)s AND position = %(after)s FOR UPDATE
),
taken AS (
  INSERT INTO {jobs} (job_id, payload, enqueued_at, attempts, available_at, died_at)
  SELECT job_id, payload, clock_timestamp(), attempts, available_at, died_at
  FROM noted, unnest(
    %(job_ids)s::bytea[], %(payloads)s::bytea[], %(attempts)s::integer[],
    %(available_at)s::timestamptz[], %(died_at)s::timestamptz[]
  ) WITH ORDINALITY AS job (job_id, payload, attempts, available_at, died_at, number)
  ORDER BY number
  ON CONFLICT (job_id) DO NOTHING
  RETURNING available_at, died_at
),
count AS MATERIALIZED (
  SELECT
    count(*) FILTER (WHERE available_at IS NULL AND died_at IS NULL) AS queued,
    count(*) FILTER (WHERE available_at IS NOT NULL) AS resting,
    count(*) FILTER (WHERE died_at IS NOT NULL) AS dead,
    %(given)s - count(*) AS met
  FROM taken
)
UPDATE {migration} AS note SET
  position = %(last)s,
  queued   = note.queued + count.queued,
  resting  = note.resting + count.resting,
  dead     = note.dead + count.dead,
  met      = note.met + count.met,
  damaged  = note.damaged + %(damaged)s
FROM noted, count
WHERE note.token = noted.token
RETURNING note.position, note.queued, note.resting, note.dead, note.met, note.damaged
"""


class PostgresDestination:
    """A PostgreSQL queue that takes jobs over; its tables are made if there are none.

    Every method may raise `QueueUnavailable`, having changed nothing, and `OutcomeUnknown`.
    """

    def __init__(self, dsn: str, *, table: str = "ssq_jobs") -> None:
        self._database = Database(dsn, pool=None, table=table)
        self.where = self._database.where

    def is_empty(self) -> bool:
        """Whether it has no job."""
        ((is_empty,),) = self._database.run("look", _IS_EMPTY, {})
        return bool(is_empty)

    def moved(self, token: str) -> Moved | None:
        """Return how far a move has come, None if it knows nothing of it."""
        try:
            return _moved(self._database.run("look", _MOVED, {"token": token}))
        except QueueUnavailable as error:
            if getattr(error.__cause__, "sqlstate", None) == _NO_SUCH_TABLE:
                return None
            raise

    def begin(self, token: str) -> Moved | None:
        """Note that a move begins, and return how far it is; None if there are jobs of others."""
        self._database.run("begin", _CREATE, {})
        self._database.run("begin", _BEGIN, {"token": token})
        return self.moved(token)

    def adopt(self, token: str, piece: Piece) -> Moved | None:
        """Take a piece and note it, all at once; None, and nothing, unless `after` is how far it is."""
        terms = {
            "token": token,
            "after": piece.after,
            "last": piece.last,
            "given": len(piece.jobs),
            "damaged": piece.damaged,
            "job_ids": [encoded_job_id(job.job_id) for job in piece.jobs],
            "payloads": [job.payload for job in piece.jobs],
            "attempts": [job.attempts for job in piece.jobs],
            "available_at": [job.available_at for job in piece.jobs],
            "died_at": [job.died_at for job in piece.jobs],
        }
        return _moved(self._database.run("adopt", _ADOPT, terms))

    def close(self) -> None:
        """Close the connection."""
        self._database.close()


_NO_SUCH_TABLE = "42P01"


def _moved(rows: Sequence[tuple[Any, ...]]) -> Moved | None:
    if not rows:
        return None
    position, queued, resting, dead, met, damaged = rows[0]
    return Moved(position=position, queued=queued, resting=resting, dead=dead, met=met, damaged=damaged)
