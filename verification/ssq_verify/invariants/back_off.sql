-- Requirement: A released job is not claimed before its `available_at`, and is available after it.
-- Sound because: The rest is counted from the call of the release, less E for the difference of two
--   clocks, and the claim was called after the release had returned; with no requeue between. That the
--   job is there afterwards is judged by `progress`.
-- Usual bug: The sweeper or a second worker ignores the time at which a retry is due.
-- Offered if: back_off AND backoff_base_ns > 0
-- Not offered: the queue lets a released job rest for no time
-- Holds: claims of a job after its back-off: {exercised}; none too soon
-- Vacuous: no job was claimed again after a release with a back-off of more than E
-- Terms: backoff_base_seconds=10
-- Broken: w1 enqueue j1; w1 claim j1#1; w1 release j1#1; +9s; w1 claim j1#2
-- Accepted: w1 enqueue j1; w1 claim j1#1; w1 release j1#1; +10s; w1 claim j1#2

-- name: violations
SELECT
  rests.run, job_id,
  format('job {}, released by {} at {} to rest for {}, was given to {} at {}',
    job_id, released_by, moment(released_ns, start_ns), seconds(rest_ns), worker, moment(ret_ns, start_ns)
  ) AS sentence,
  [rests."release", event] AS witness
FROM rests JOIN jobs USING (job) JOIN runs ON runs.run = rests.run, terms
WHERE ret_ns < released_ns + rest_ns - skew_ns

-- name: exercised
SELECT count(*) FROM rests, terms WHERE rest_ns > skew_ns
