-- Requirement: A claim's job was enqueued, with that payload, byte for byte.
-- Sound because: Every enqueue that was called before the claim returned may be its origin, unless it
--   had failed, or its incarnation had certainly ended before the claim was called.
-- Usual bug: The job is created first and written then, and a claim meets the half-written record.
-- Holds: claims that returned a job: {exercised}; each had been enqueued so
-- Vacuous: no claim returned a job
-- Broken: w1 enqueue j1 =abc; w1 claim j1#1 =ab
-- Broken: w1 enqueue j1; w1 claim j2#1
-- Accepted: w1 enqueue j1 =abc; w1 claim j1#1 =abc

-- name: violations
WITH
  first_sent AS (
    SELECT job, min(inv_ns) AS inv_ns, bool_and(value IS NOT NULL) AS recorded FROM enqueues GROUP BY job
  ),
  origins AS (
    SELECT
      job, inv_ns, coalesce(value, '') AS payload,
      max(ret_ns) OVER (PARTITION BY job, value ORDER BY inv_ns RANGE UNBOUNDED PRECEDING) AS until_ns
    FROM enqueues
  ),
  sent AS (
    SELECT
      job, inv_ns,
      max(ret_ns) OVER (PARTITION BY job ORDER BY inv_ns RANGE UNBOUNDED PRECEDING) AS until_ns
    FROM enqueues
  ),
  traced AS (
    SELECT
      c.*, start_ns,
      f.last_event,
      coalesce(first_sent.inv_ns <= c.ret_ns, false) AS enqueued,
      NOT terms.payload OR c.value IS NULL OR NOT first_sent.recorded
        OR (
          o.until_ns IS NOT NULL AND (
            f.last_inv_ns IS NULL OR f.last_inv_ns <= o.until_ns OR NOT calm
            -- Back with no enqueue since: `no-resurrection` speaks of that.
            OR sent.until_ns < f.last_inv_ns
          )
        ) AS as_sent
    FROM claims AS c
      JOIN runs USING (run)
      LEFT JOIN first_sent USING (job)
      ASOF LEFT JOIN origins AS o ON c.job = o.job AND c.value = o.payload AND c.ret_ns >= o.inv_ns
      ASOF LEFT JOIN sent ON c.job = sent.job AND c.ret_ns >= sent.inv_ns
      ASOF LEFT JOIN finishes AS f ON c.job = f.job AND c.inv_ns > f.ret_ns, terms
  )
SELECT
  traced.run, job_id,
  CASE
    WHEN NOT enqueued
      THEN format('job {} was given to {} at {}, but nobody had enqueued it',
        job_id, worker, moment(ret_ns, start_ns))
    ELSE format('job {} was given to {} at {} with a payload of {} bytes that was not the one enqueued',
      job_id, worker, moment(ret_ns, start_ns), octet_length(from_base64(value)))
  END AS sentence,
  [(SELECT min(event) FROM enqueues AS e WHERE e.job = traced.job), event] AS witness
FROM traced JOIN jobs USING (job)
WHERE NOT (enqueued AND as_sent)

-- name: exercised
SELECT count(*) FROM claims
