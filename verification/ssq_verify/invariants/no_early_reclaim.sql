-- Requirement: No claim of a job returns ok whose call lay wholly inside another's unreleased lease,
--   whether or not that holder is alive.
-- Sound because: The lease is counted from before the holder's call and ends at an extend, ack or
--   release that may have had effect. A claimer within the promised clock difference takes the job only
--   after that end.
-- Usual bug: The lease is measured from the wrong moment: from enqueueing (so that an old job is
--   reclaimed the moment it is claimed), or by a clock in another time zone.
-- Offered if: lease
-- Not offered: the queue has no leases
-- Holds: claims of a job whose lease had ended: {exercised}; none of them early
-- Vacuous: no job was claimed again after its lease had ended
-- Broken: w1 enqueue j1; w1 claim j1#1; w1 dies; +30s; w2 claim j1#2
-- Accepted: w1 enqueue j1; w1 claim j1#1; +30s; w1 release j1#1; w2 claim j1#2; w2 dies; +61s; w1 claim j1#3

-- name: violations
WITH
  leased AS (
    SELECT
      run, job, ret_ns,
      max(unreleased_end_ns) OVER earlier AS until_ns,
      arg_max(claim, unreleased_end_ns) OVER earlier AS holder
    FROM holds
    WINDOW earlier AS (PARTITION BY job ORDER BY ret_ns, claim ROWS UNBOUNDED PRECEDING)
  ),
  inside AS (
    SELECT taken.*, leased.holder, leased.until_ns
    FROM holds AS taken ASOF JOIN leased ON taken.job = leased.job AND taken.inv_ns > leased.ret_ns
    WHERE leased.until_ns > taken.ret_ns
  )
SELECT
  inside.run, job_id,
  format('job {} was leased to {} {}, not given back, and {}''s claim got it at {}',
    job_id, first.worker, until(inside.until_ns, start_ns), inside.worker, moment(inside.ret_ns, start_ns)
  ) AS sentence,
  [first.event, inside.event] AS witness
FROM inside
  JOIN holds AS first ON first.claim = inside.holder
  JOIN jobs ON jobs.job = inside.job
  JOIN runs ON runs.run = inside.run
WHERE within_skew

-- name: exercised
SELECT count(*)
FROM holds JOIN runs USING (run)
WHERE within_skew AND next_inv_ns < never() AND handed_back_ns > next_ret_ns AND lease_end_ns < next_ret_ns
