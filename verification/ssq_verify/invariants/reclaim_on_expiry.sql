-- Requirement: With a live polling worker, a job whose lease expired is claimed or dead at the latest
--   `ttl` + 2 E + one poll after it was claimed.
-- Sound because: The bound counts from the claim's return (or that of its last extend, of whatever
--   outcome), by the slowest clocks within E and times as coarse as the queue's own; the job had attempts left and certainly nobody took it or
--   gave it back during the poll. An empty answer counts when no other operation was running, or if the
--   queue promises none; another job counts if it was enqueued only after the bound, and so is younger
--   by any reckoning. `fifo-relaxed` allows as many of those as there are workers; without an order
--   none counts.
-- Usual bug: Expired jobs are looked for only when nothing else is queued, so that a backlog starves
--   them; or only on a busy stream, or only on an idle one.
-- Offered if: lease
-- Not offered: the queue has no leases
-- Holds: jobs whose lease ended while others polled: {exercised}; each came back in time
-- Vacuous: no worker polled while a job's lease had ended
-- Broken: w1 enqueue j1; w1 claim j1#1; w1 dies; +61s; w2 claim -
-- Broken: w1 enqueue j1; w1 claim j1#1; w1 dies; +61s; w2 enqueue j2; w2 claim j2#1
-- Broken: w1 enqueue j1; w1 claim j1#1; w1 dies; +61s; w2 enqueue j2; w2 claim j2#1; w2 claim j1#2
-- Accepted: w1 enqueue j1; w1 claim j1#1; w1 dies; +59s; w2 claim -; +2s; w2 claim j1#2

-- name: violations
WITH
  -- How many younger jobs a poll may prefer.
  patience AS (
    SELECT run, CASE WHEN "order" = 'fifo' THEN 0 ELSE workers END AS younger_max FROM crews, terms
    WHERE "order" IS NOT NULL
  ),
  expired AS (SELECT * FROM waits WHERE kind = 'expired'),
  empty AS (
    SELECT polls.* FROM polls, terms WHERE outcome = 'ok' AND job_id IS NULL AND (quiet OR NOT spurious_empty)
  ),
  sent AS (SELECT job, min(inv_ns) AS inv_ns FROM enqueues GROUP BY job),
  younger AS (
    SELECT
      c.run, c.job, c.event, c.worker,
      least(c.inv_ns, sent.inv_ns) AS after_ns,
      -- When all of the polls that may prefer a younger job, and this one, had returned.
      max(c.ret_ns) OVER (ordered ROWS BETWEEN younger_max PRECEDING AND CURRENT ROW) AS ret_ns,
      row_number() OVER ordered AS place
    FROM claims AS c JOIN sent USING (job) JOIN patience USING (run)
    WINDOW ordered AS (PARTITION BY c.run ORDER BY least(c.inv_ns, sent.inv_ns), c.claim)
  ),
  starved AS (
    SELECT
      e.run, e.job, e.worker, e.event, e.since_ns, p.event AS poll, p.worker || ' found nothing' AS instead
    FROM expired AS e ASOF JOIN empty AS p ON e.run = p.run AND e.since_ns < p.inv_ns
    WHERE p.ret_ns < e.until_ns
    UNION ALL
    SELECT
      e.run, e.job, e.worker, e.event, e.since_ns, last.event,
      last.worker || ' got the younger job ' || (SELECT job_id FROM jobs WHERE jobs.job = last.job)
    FROM expired AS e
      JOIN patience USING (run)
      ASOF JOIN younger AS first ON e.run = first.run AND e.since_ns < first.after_ns
      JOIN younger AS last ON last.run = e.run AND last.place = first.place + younger_max
    WHERE last.ret_ns < e.until_ns
  )
SELECT
  starved.run, job_id,
  format('job {}, claimed by {}, was to be had from {}, but {}',
    job_id, worker, moment(since_ns, start_ns), instead
  ) AS sentence,
  [event, poll] AS witness
FROM starved JOIN jobs USING (job) JOIN runs ON runs.run = starved.run

-- name: exercised
SELECT count(*)
FROM waits ASOF JOIN polls ON waits.run = polls.run AND waits.since_ns < polls.inv_ns
WHERE kind = 'expired' AND polls.outcome = 'ok'
