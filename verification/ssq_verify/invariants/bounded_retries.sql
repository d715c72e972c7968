-- Requirement: An incarnation is claimed at most `max_attempts` times, crashed attempts included, and
--   its attempts are 1, 2, 3, … without gap or repeat.
-- Sound because: Claims count together only if nothing between them may have ended the incarnation: no
--   ack of a claim that was still current with an enqueue that may have followed, no requeue. A gap is
--   excused by every claim of unknown outcome in the run. Runs in which the power failed are left out.
-- Usual bug: Attempts are counted where an exception is caught, so that a job that kills its worker is
--   delivered for ever.
-- Offered if: max_attempts IS NOT NULL
-- Not offered: the queue retries without bound
-- Holds: jobs that used up their attempts: {exercised}; none was claimed once more
-- Vacuous: no job used up its attempts
-- Terms: max_attempts=2
-- Broken: w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 claim j1#1
-- Broken: w1 enqueue j1; w1 claim j1; w1 release j1; w1 claim j1; w1 release j1; w1 claim j1
-- Accepted: w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 claim j1#2; w1 ack j1#2; w1 enqueue j1;
--   w1 claim j1#1

-- name: violations
WITH
  attempts AS (
    SELECT
      *,
      lag(attempt) OVER by_attempt AS lower,
      lag(event) OVER by_attempt AS lower_event,
      lag(attempt) OVER by_time AS before,
      lag(ret_ns) OVER by_time AS before_ret_ns,
      lag(event) OVER by_time AS before_event,
      row_number() OVER by_time AS nth_here,
      lag(event, (SELECT coalesce(max_attempts, 0)::INT FROM terms)) OVER by_time AS first_event
    FROM segments
    WINDOW
      by_attempt AS (PARTITION BY job, segment ORDER BY attempt, inv_ns, claim),
      by_time AS (PARTITION BY job, segment ORDER BY inv_ns, claim)
  ),
  judged AS (
    SELECT
      *,
      CASE
        WHEN nth_here > max_attempts
          THEN format('was claimed {} times, {} are allowed', nth_here, max_attempts)
        WHEN attempt > max_attempts
          THEN format('was given out as attempt {}, {} are allowed', attempt, max_attempts)
        WHEN attempt = lower
          THEN format('was given out as attempt {} twice', attempt)
        WHEN attempt < before AND before_ret_ns < inv_ns
          THEN format('was given out as attempt {} after attempt {}', attempt, before)
        WHEN attempt - coalesce(lower, CASE WHEN segment = 1 THEN 0 ELSE attempt END) - 1 > unknown_claims
          THEN format('was given out as attempt {} after {}', attempt, coalesce('attempt ' || lower, 'none'))
      END AS broken,
      CASE
        WHEN nth_here > max_attempts THEN first_event
        WHEN attempt <= max_attempts AND attempt < before AND before_ret_ns < inv_ns
          AND attempt IS DISTINCT FROM lower
          THEN before_event
        ELSE lower_event
      END AS other_event
    FROM attempts JOIN runs USING (run), terms
    WHERE calm
  )
SELECT
  judged.run, job_id,
  format('job {} {} (to {} at {})', job_id, broken, worker, moment(ret_ns, start_ns)) AS sentence,
  [other_event, event] AS witness
FROM judged JOIN jobs USING (job)
WHERE broken IS NOT NULL

-- name: exercised
SELECT count(*)
FROM (
  SELECT job, segment FROM segments JOIN runs USING (run), terms
  WHERE calm
  GROUP BY job, segment
  HAVING count(*) >= any_value(max_attempts) OR max(attempt) >= any_value(max_attempts)
)
