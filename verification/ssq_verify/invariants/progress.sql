-- Requirement: Once the queue is quiet, a claim that finds nothing means that nothing is available; no
--   operation fails because of another job's damaged record.
-- Sound because: The job was certainly there, queued or released and rested, for the whole of a call
--   beside which no other ran. An error counts only of a claim that ran alone, in a run whose storage
--   had no fault, and not if its kind speaks of the environment (time-outs, connections, permissions, a
--   full disk).
-- Usual bug: A claim reads a record that a killed worker left half-written, raises, and so does every
--   claim after it. Or a retry falls due "tomorrow", by comparing differently written dates as text.
-- Holds: claims that found nothing in a quiet queue: {exercised}; there was nothing
-- Vacuous: no claim found nothing while the queue was quiet
-- Broken: w1 enqueue j1; w2 claim -
-- Broken: w1 enqueue j1; w2 claim !JSONDecodeError: Expecting value
-- Accepted: w1 enqueue j1 <; w2 claim -; w1 >; w2 claim j1#1; w1 claim -

-- name: violations
WITH
  there AS (
    SELECT
      run, since_ns,
      max(until_ns) OVER earlier AS until_ns,
      arg_max(event, until_ns) OVER earlier AS event
    FROM waits WHERE kind <> 'expired'
    WINDOW earlier AS (PARTITION BY run ORDER BY since_ns ROWS UNBOUNDED PRECEDING)
  ),
  empty AS (
    SELECT polls.* FROM polls, terms WHERE outcome = 'ok' AND job_id IS NULL AND (quiet OR NOT spurious_empty)
  ),
  missed AS (
    SELECT p.run, p.worker, p.inv_ns, p.event, there.event AS made
    FROM empty AS p ASOF JOIN there ON p.run = there.run AND p.inv_ns > there.since_ns
    WHERE there.until_ns > p.ret_ns
  )
SELECT
  missed.run, job_id,
  format('{} found nothing at {}, with nobody else at work, although job {} was there from {}',
    missed.worker, moment(missed.inv_ns, start_ns), job_id, moment(since_ns, start_ns)
  ) AS sentence,
  [made, missed.event] AS witness
FROM missed
  JOIN waits ON waits.run = missed.run AND waits.event = missed.made AND kind <> 'expired'
  JOIN jobs ON jobs.job = waits.job
  JOIN runs ON runs.run = missed.run
UNION ALL
SELECT
  run, NULL,
  format('{}''s claim at {} failed, with nobody else at work: {}', worker, moment(inv_ns, start_ns), error),
  [event]
FROM polls JOIN runs USING (run)
WHERE f = 'claim' AND quiet AND sound_storage
  AND regexp_matches(error, '^\w*(Error|Exception|Corrupt)')
  AND NOT regexp_matches(
    split_part(error, ':', 1), '(?i)timeout|connect|pipe|busy|operational|interface|queueio'
  )
  AND NOT regexp_matches(error, '^(OSError|PermissionError|MemoryError|IOError|BlockingIOError)')
  AND NOT regexp_matches(error, 'No space left|Input/output error|Too many open files|Read-only')

-- name: exercised
SELECT count(*) FROM polls, terms
WHERE f = 'claim' AND outcome = 'ok' AND job_id IS NULL AND (quiet OR NOT spurious_empty)
