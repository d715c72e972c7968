"""What does the queue look like in PostgreSQL? One table, two indexes beside its keys, and each transition.

A job is *queued*, with `available_at` while it rests; *claimed*, with `claim_id` and `lease_expires_at`; or
dead, with `died_at`. What waits for a time is in the index `due` by that time, what waits for nothing in the
index `ready` by age: a claim reads the head of one and what has come due of the other, so that its cost grows
neither with the backlog nor with the jobs that rest or are held.

Every statement is a transaction by itself, reads the server's clock, and finds by its own condition whether
it still applies: that is right under each isolation level, and needs nothing that a session would keep.

A claim changes what two indexes are about, so it can't be a HOT update, however full the pages are; they are
left a third empty, so that the row's new version lies on the same page. What it leaves behind is small.
"""

from typing import LiteralString

from psycopg import sql

VERSION = 2

MARK = "ssq job queue, schema {}"
"""The table's comment: it comes and goes with the table, in the same transaction."""

NAME_BYTES_MAX = 50
"""PostgreSQL cuts names at 63 bytes, and those of the indexes are longer."""

CREATE = (
    # Identity, not a clock: the order of enqueueing. Bytes, not text: a job id may hold NUL.
    """
CREATE TABLE IF NOT EXISTS {jobs} (
  seq              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_id           bytea       NOT NULL UNIQUE,
  payload          bytea       NOT NULL,
  enqueued_at      timestamptz NOT NULL,
  available_at     timestamptz,
  claimed_by       text,
  claim_id         bytea,
  lease_expires_at timestamptz,
  attempts         integer     NOT NULL DEFAULT 0,
  died_at          timestamptz,
  CHECK ((claim_id IS NULL) = (lease_expires_at IS NULL)),
  CHECK (num_nonnulls(available_at, lease_expires_at, died_at) <= 1)
) WITH (fillfactor = 70)
""",
    """
CREATE INDEX IF NOT EXISTS {ready} ON {jobs} (seq)
WHERE died_at IS NULL AND claim_id IS NULL AND available_at IS NULL
""",
    """
CREATE INDEX IF NOT EXISTS {due} ON {jobs} (coalesce(lease_expires_at, available_at))
WHERE coalesce(lease_expires_at, available_at) IS NOT NULL
""",
    # A job's life leaves some dead rows at the head of the indexes, whatever the size of the table.
    "ALTER TABLE {jobs} SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)",
    "COMMENT ON TABLE {jobs} IS {mark}",
)

# Of the transaction, not of the session, which a pooler would give to others.
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, 0))"

# By the table's row in pg_class, which is seen if and only if its comment is: names are resolved by what was
# committed since, too.
FIND = "SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE oid = to_regclass(%(name)s)"

# Who waits for work holds this lock, shared, in a session of its own.
_WAITED_FOR = "(8319104478155186176 + {itself}::regclass::oid::bigint)"
_CHANNEL = "'ssq_' || {itself}::regclass::oid"

# A NOTIFY makes the commits of a whole server's transactions go one after the other, so it is sent only if
# somebody waits. It is found out after the row was written: see `postgres_waiting`.
_TOLD = f"""
CASE WHEN pg_try_advisory_lock({_WAITED_FOR}) THEN pg_advisory_unlock({_WAITED_FOR})::text
ELSE pg_notify({_CHANNEL}, '')::text END
"""

# A number above that of every transaction that has written something by now; a snapshot's upper end is not.
NUMBER = "SELECT txid_current()"

CHANNEL = f"SELECT {_CHANNEL}"
BEGIN_WAIT = f"SELECT pg_advisory_lock_shared({_WAITED_FOR})"
END_WAIT = f"SELECT pg_advisory_unlock_shared({_WAITED_FOR})"

ENQUEUE = f"""
INSERT INTO {{jobs}} (job_id, payload, enqueued_at) VALUES (%(job_id)s, %(payload)s, clock_timestamp())
ON CONFLICT (job_id) DO NOTHING
RETURNING {_TOLD}
"""  # noqa: S608 - the insertions are the constants above

# In the order that is given: the rows are numbered when they have been sorted.
ENQUEUE_MANY = f"""
WITH added AS (
  INSERT INTO {{jobs}} (job_id, payload, enqueued_at)
  SELECT job_id, payload, clock_timestamp()
  FROM unnest(%(job_ids)s::bytea[], %(payloads)s::bytea[]) WITH ORDINALITY AS given (job_id, payload, place)
  ORDER BY place
  ON CONFLICT (job_id) DO NOTHING
  RETURNING seq
)
SELECT {_TOLD} FROM (SELECT FROM added LIMIT 1) AS any_added
"""  # noqa: S608 - as above

# A rest is over at its end; a lease has ended only past it.
_IS_DUE = """
coalesce(lease_expires_at, available_at) <= (SELECT now FROM moment)
  AND (lease_expires_at IS NULL OR lease_expires_at < (SELECT now FROM moment))
"""

_IS_READY = "died_at IS NULL AND claim_id IS NULL AND available_at IS NULL"

_IS_DUE_SINCE = """
  coalesce(lease_expires_at, available_at) > %(due_from)s
  AND coalesce(lease_expires_at, available_at) <= (SELECT now FROM moment)
"""

# While nothing has come due, which is found out first, the oldest job that waits for nothing is taken. Else,
# or if none waits, or if its attempts are used up, nothing is, and the next statement is to be asked.
_READY = f"""
  SELECT seq FROM {{jobs}} WHERE {_IS_READY} AND seq >= %(seq_from)s
    AND NOT EXISTS (SELECT FROM {{jobs}} WHERE {_IS_DUE_SINCE})
  ORDER BY seq LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - as above
_TAKE = """
  attempts         = attempts + 1,
  claim_id         = %(claim_id)s,
  claimed_by       = %(claimed_by)s,
  lease_expires_at = now + %(lease_us)s * interval '1 microsecond'
"""
_TAKEN = """
  job.seq, job_id, attempts, payload, now AT TIME ZONE 'UTC', clock_timestamp() AT TIME ZONE 'UTC'
"""
CLAIM_READY = f"""
WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS now)
UPDATE {{jobs}} AS job SET {_TAKE}
FROM moment
WHERE job.seq = ({_READY.replace("%(limit)s", "1")}) AND attempts < %(attempts_max)s
RETURNING {_TAKEN}
"""  # noqa: S608 - as above
CLAIM_READY_MANY = f"""
WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS now),
chosen AS MATERIALIZED ({_READY})
UPDATE {{jobs}} AS job SET {_TAKE}
FROM chosen, moment
WHERE job.seq = chosen.seq AND attempts < %(attempts_max)s
RETURNING {_TAKEN}
"""  # noqa: S608 - as above

# Of the jobs that have come due, those without an attempt left are buried; of the others, and of what waits
# for nothing, the oldest are taken. Rows that another claim is about to take are passed over.
#
# The due are found in the order of the index `due`, and a hundred at most: asked for by age at once, they
# would seem to the planner to be had by walking the whole table in that order (hence the `+ 0`, too). They
# are locked, and looked at again, only then. MATERIALIZED: evaluated once, so that no other row is locked. A
# ready job has no attempt left where the policy came to allow fewer; it is buried, too, and the caller asks
# again.
CLAIM = f"""
WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS now),
come_due AS MATERIALIZED (
  SELECT seq AS candidate FROM {{jobs}} WHERE {_IS_DUE}
  ORDER BY coalesce(lease_expires_at, available_at) LIMIT greatest(100, %(limit)s)
),
spent AS MATERIALIZED (
  SELECT seq FROM {{jobs}} AS job JOIN come_due ON seq = candidate
  WHERE {_IS_DUE} AND attempts >= %(attempts_max)s
  FOR UPDATE OF job SKIP LOCKED
),
returned AS MATERIALIZED (
  SELECT seq FROM {{jobs}} AS job JOIN come_due ON seq = candidate
  WHERE {_IS_DUE} AND attempts < %(attempts_max)s
  ORDER BY seq + 0 LIMIT %(limit)s FOR UPDATE OF job SKIP LOCKED
),
waiting AS MATERIALIZED (
  SELECT seq FROM {{jobs}} WHERE {_IS_READY}
  ORDER BY seq LIMIT %(limit)s FOR UPDATE SKIP LOCKED
),
oldest AS (
  SELECT seq FROM (TABLE returned UNION ALL TABLE waiting) AS available ORDER BY seq LIMIT %(limit)s
),
chosen AS (TABLE spent UNION ALL TABLE oldest)
UPDATE {{jobs}} AS job SET
  attempts         = attempts + CASE WHEN attempts < %(attempts_max)s THEN 1 ELSE 0 END,
  claim_id         = CASE WHEN attempts < %(attempts_max)s THEN %(claim_id)s::bytea END,
  claimed_by       = CASE WHEN attempts < %(attempts_max)s THEN %(claimed_by)s END,
  lease_expires_at = CASE WHEN attempts < %(attempts_max)s
                     THEN now + %(lease_us)s * interval '1 microsecond' END,
  died_at          = CASE WHEN attempts < %(attempts_max)s THEN NULL ELSE now END,
  available_at     = NULL
FROM chosen, moment
WHERE job.seq = chosen.seq
RETURNING job.seq, job_id, attempts, CASE WHEN claim_id IS NOT NULL THEN payload END, now AT TIME ZONE 'UTC'
"""  # noqa: S608 - as above

# The row is found by its number, which the claim's id begins with.
_IS_CURRENT = "seq = %(seq)s AND claim_id = %(claim_id)s AND job_id = %(job_id)s"

ACK = f"DELETE FROM {{jobs}} WHERE {_IS_CURRENT} RETURNING seq"  # noqa: S608 - as above

ACK_MANY = """
DELETE FROM {jobs} AS job
USING unnest(%(seqs)s::bigint[], %(claim_ids)s::bytea[], %(job_ids)s::bytea[])
  AS given (seq, claim_id, job_id)
WHERE job.seq = given.seq AND job.claim_id = given.claim_id AND job.job_id = given.job_id
RETURNING job.seq, job.claim_id, job.job_id
"""

RELEASE = f"""
UPDATE {{jobs}} SET
  available_at     = CASE WHEN attempts < %(attempts_max)s THEN clock_timestamp() + %(rest)s::interval END,
  died_at          = CASE WHEN attempts < %(attempts_max)s THEN NULL ELSE clock_timestamp() END,
  claim_id         = NULL,
  claimed_by       = NULL,
  lease_expires_at = NULL
WHERE {_IS_CURRENT}
RETURNING {_TOLD}
"""  # noqa: S608 - as above

EXTEND = f"""
UPDATE {{jobs}} SET lease_expires_at = clock_timestamp() + %(lease_us)s * interval '1 microsecond'
WHERE {_IS_CURRENT}
RETURNING lease_expires_at AT TIME ZONE 'UTC'
"""  # noqa: S608 - as above

REQUEUE = f"""
UPDATE {{jobs}} SET died_at = NULL, attempts = 0
WHERE job_id = %(job_id)s AND died_at IS NOT NULL
RETURNING {_TOLD}
"""  # noqa: S608 - as above

# Whether something is available, in how many seconds something comes due, and below which number all
# transactions are over.
LOOK = f"""
WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS now)
SELECT
  EXISTS (SELECT FROM {{jobs}} WHERE {_IS_READY}) OR EXISTS (SELECT FROM {{jobs}} WHERE {_IS_DUE}),
  (
    SELECT extract(epoch FROM coalesce(lease_expires_at, available_at) - now)::float8
    FROM {{jobs}}, moment WHERE coalesce(lease_expires_at, available_at) >= (SELECT now FROM moment)
    ORDER BY coalesce(lease_expires_at, available_at) LIMIT 1
  ),
  txid_snapshot_xmin(txid_current_snapshot())
"""  # noqa: S608 - as above

STATS = f"""
WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS now)
SELECT
  count(*) FILTER (WHERE {_IS_READY} OR (available_at IS NOT NULL AND {_IS_DUE})),
  count(*) FILTER (WHERE available_at IS NOT NULL AND NOT ({_IS_DUE})),
  count(*) FILTER (WHERE claim_id IS NOT NULL AND NOT ({_IS_DUE})),
  count(*) FILTER (WHERE claim_id IS NOT NULL AND {_IS_DUE}),
  count(*) FILTER (WHERE died_at IS NOT NULL)
FROM {{jobs}}
"""  # noqa: S608 - as above

DEAD = """
SELECT job_id, attempts, died_at AT TIME ZONE 'UTC', payload FROM {jobs}
WHERE died_at IS NOT NULL ORDER BY seq
"""


class Table:
    """A table's name, `table` or `schema.table`, and the statements that are about it."""

    def __init__(self, name: str) -> None:
        *schema, table = name.split(".")
        if len(schema) > 1 or not all([*schema, table]) or len(table.encode()) > NAME_BYTES_MAX:
            raise ValueError(
                f"table is {name!r}; give a name of at most {NAME_BYTES_MAX} bytes, or schema.name"
            )
        self.name = name
        self.quoted = sql.Identifier(*schema, table).as_string(None)
        # Every statement is sent with terms, and there a percent sign is written twice.
        twice = table.replace("%", "%%")
        self._names = {
            "jobs": sql.Identifier(*(part.replace("%", "%%") for part in schema), twice),
            "ready": sql.Identifier(f"{twice}_ready"),
            "due": sql.Identifier(f"{twice}_due"),
            "migration": sql.Identifier(*(part.replace("%", "%%") for part in schema), f"{twice}_migration"),
            "itself": sql.Literal(self.quoted.replace("%", "%%")),
            "mark": sql.Literal(MARK.format(VERSION)),
        }

    def about(self, statement: LiteralString) -> LiteralString:
        """Return a statement of this module with this table's names in it, quoted."""
        return sql.SQL(statement).format(**self._names).as_string(None)
