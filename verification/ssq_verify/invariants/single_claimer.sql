-- Requirement: No two claims of one job are valid at one instant.
-- Sound because: A claim is taken as valid only from its return to the earliest of its lease's end,
--   counted from before its call, and the call of its own ack or release. Within the promised clock
--   difference the next claim takes effect after that end, so it can not return inside. Other runs are
--   left out.
-- Usual bug: Select, then update unguarded: two workers see the same job as free. Or an enqueue of a
--   job that is being worked on makes a second copy of it.
-- Holds: claims called while another worker held a job: {exercised}; none got that job
-- Vacuous: no claim was called while another worker held a job
-- Broken: w1 enqueue j1; w1 claim <; w2 claim j1#1; w1 > j1#2
-- Accepted: w1 enqueue j1; w1 claim j1#1; w2 claim -; +61s; w2 claim j1#2

-- name: violations
WITH
  valid AS (
    SELECT holds.*, start_ns
    FROM holds JOIN runs USING (run)
    WHERE within_skew AND valid_end_ns > ret_ns
  ),
  paired AS (
    SELECT
      *,
      max(valid_end_ns) OVER earlier AS held_until_ns,
      arg_max(claim, valid_end_ns) OVER earlier AS holder
    FROM valid
    WINDOW earlier AS (
      PARTITION BY job ORDER BY ret_ns, claim ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
  )
SELECT
  late.run, job_id,
  format('job {} was held by {} {} and given to {} at {}',
    job_id, first.worker, until(late.held_until_ns, late.start_ns),
    late.worker, moment(late.ret_ns, late.start_ns)
  ) AS sentence,
  [first.event, late.event] AS witness
FROM paired AS late
  JOIN holds AS first ON first.claim = late.holder
  JOIN jobs ON jobs.job = late.job
WHERE late.held_until_ns > late.ret_ns

-- name: exercised
WITH
  held AS (
    SELECT
      run, ret_ns,
      max(valid_end_ns) OVER (PARTITION BY run ORDER BY ret_ns ROWS UNBOUNDED PRECEDING) AS until_ns
    FROM holds JOIN runs USING (run) WHERE within_skew
  )
SELECT count(*)
FROM polls ASOF JOIN held ON polls.run = held.run AND polls.inv_ns > held.ret_ns
WHERE held.until_ns > polls.ret_ns AND polls.outcome = 'ok'
