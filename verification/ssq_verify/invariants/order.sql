-- Requirement: A claim gives the oldest available job: exactly so where the queue promises `fifo`, and
--   with fewer jobs passed over than there are workers where it promises `fifo-relaxed`, of whom one
--   that claims many jobs at once counts as so many.
-- Sound because: A job counts as passed over only if its first enqueue had returned before the younger
--   job's first enqueue was called, and if it was certainly not taken until the younger job's first
--   claim had returned. Runs in which clocks differed are left out, for age may be told by a clock.
-- Usual bug: Names that do not sort by time: a random id, an unpadded number, two clocks.
-- Offered if: "order" IS NOT NULL
-- Not offered: the queue promises no order
-- Holds: jobs given out while others waited: {exercised}; the most older ones that one passed over:
--   {measured}
-- Vacuous: no job was given out while another waited
-- Terms: order=fifo
-- Broken: w1 enqueue j1; w1 enqueue j2; w2 claim j2#1
-- Accepted: w1 enqueue j1 <; w2 enqueue j2; w1 >; w2 claim j2#1; w2 claim j1#1

-- name: violations
SELECT
  p.run, job_id,
  format('{} got job {} at {}, {} older job{} waiting since {} or earlier',
    worker, job_id, moment(ret_ns, start_ns),
    CASE WHEN displacement = 1 THEN 'with an' ELSE 'with ' || displacement END,
    CASE WHEN displacement = 1 THEN '' ELSE 's' END, moment(waiting_ns, start_ns)
  ) AS sentence,
  [waiting, event] AS witness
FROM passed AS p JOIN jobs USING (job) JOIN runs ON runs.run = p.run JOIN crews ON crews.run = p.run, terms
WHERE displacement >= CASE "order" WHEN 'fifo' THEN 1 WHEN 'fifo-relaxed' THEN workers ELSE never() END

-- name: exercised
SELECT count(*)
FROM first_claims AS c ASOF JOIN queued AS q ON c.run = q.run AND c.inv_ns > q.since_ns
WHERE q.latest_until_ns > c.ret_ns

-- name: measured
SELECT coalesce(max(displacement), 0) FROM passed
