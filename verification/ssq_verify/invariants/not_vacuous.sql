-- Requirement: The run really exercised what it claims to check: reclaims, superseded acks, dead
--   letters, kills inside each operation, empty claims, calls with many jobs were all seen; else the verdict is *vacuous*,
--   not *passed*.
-- Sound because: It counts, and accuses nobody.
-- Usual bug: A test that passes because nothing happened.
-- Holds: {measured}
-- Vacuous: not seen: {missing}
-- Broken: w1 enqueue j1
-- Accepted: w1 enqueue j1; w1 claim j1#1

-- name: counts
-- What is asked of a run: how often it was seen, whether this queue's promises make it possible, and whether
-- a sequential run can show it.
WITH
  killed AS (
    SELECT o.f, count(*) AS seen
    FROM operations AS o SEMI JOIN events AS e
      ON e.run = o.run AND e.worker = o.worker AND e.f = 'crash' AND e.time_ns >= o.inv_ns
    -- A call with many jobs is struck once.
    WHERE o.outcome = 'info' AND o.ret_index IS NULL AND o.lane = 0
    GROUP BY o.f
  ),
  last_attempts AS (
    SELECT count(*) AS seen FROM holds, terms
    WHERE coalesce(attempt, nth) >= max_attempts AND acked_ns = never() AND first_ack_ns = never()
  ),
  counted AS (
    SELECT 1 AS place, 'reclaims after expiry' AS what, lease AS possible, false AS inside, (
      SELECT count(*) FROM holds
      WHERE next_inv_ns < never() AND handed_back_ns > next_ret_ns AND lease_end_ns < next_ret_ns
    ) AS seen FROM terms
    UNION ALL
    SELECT 2, 'acks of superseded claims', fencing AND lease, false,
      (SELECT count(*) FROM stale WHERE f = 'ack' AND lost_to LIKE '% claimed it since') FROM terms
    UNION ALL
    SELECT 3, 'releases of superseded claims', fencing AND lease AND "release", false,
      (SELECT count(*) FROM stale WHERE f = 'release' AND lost_to LIKE '% claimed it since') FROM terms
    UNION ALL
    SELECT 4, 'extends of superseded claims', fencing AND lease AND "extend", false,
      (SELECT count(*) FROM stale WHERE f = 'extend' AND lost_to LIKE '% claimed it since') FROM terms
    UNION ALL
    SELECT 5, 'dead letters', max_attempts IS NOT NULL, false,
      CASE
        WHEN dead_letters THEN (SELECT count(*) FROM events WHERE f = 'dead')
        ELSE (SELECT seen FROM last_attempts)
      END
    FROM terms
    UNION ALL
    SELECT 6, 'empty claims', true, false,
      (SELECT count(*) FROM operations WHERE f = 'claim' AND outcome = 'ok' AND job_id IS NULL)
    UNION ALL
    SELECT 7, 'releases', "release", false,
      (SELECT count(*) FROM operations WHERE f = 'release' AND outcome = 'ok') FROM terms
    UNION ALL
    SELECT 8, 'extends', "extend", false,
      (SELECT count(*) FROM operations WHERE f = 'extend' AND outcome = 'ok') FROM terms
    UNION ALL
    SELECT 9, 'workers dead between operations', true, false, (
      (SELECT count(*) FROM events WHERE f = 'crash') - (SELECT coalesce(sum(seen), 0) FROM killed)
    )
    UNION ALL
    SELECT 10, 'runs with skewed clocks', NOT any_skew, false, (SELECT count(*) FROM runs WHERE skewed) FROM terms
    UNION ALL
    SELECT 11, 'kills inside ' || f, (f <> 'extend' OR "extend") AND (f <> 'release' OR "release"), true, coalesce(seen, 0)
    FROM (VALUES ('enqueue'), ('claim'), ('ack'), ('release'), ('extend')) AS inside(f)
      LEFT JOIN killed USING (f), terms
    UNION ALL
    SELECT 12, f || 's of many jobs at once', batches, false,
      (SELECT count(*) FROM operations AS o WHERE o.f = many.f AND o.lane = 1)
    FROM (VALUES ('enqueue'), ('claim'), ('ack')) AS many(f), terms
  )
SELECT what, seen::BIGINT AS seen, inside FROM counted WHERE possible ORDER BY place, what
