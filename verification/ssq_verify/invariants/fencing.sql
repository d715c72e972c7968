-- Requirement: Ack, release and extend of a superseded, acked or released claim never return ok.
-- Sound because: Only those count that were called after the superseding claim, ack or release had
--   returned ok, and a claim counts as superseding only if it was called after the first had returned.
--   Runs in which the power failed are left out, for it may undo a claim.
-- Usual bug: Completion by job id: a holder whose lease was lost finishes the job of the next holder.
-- Offered if: fencing
-- Not offered: the queue completes by job, not by claim
-- Holds: acks, releases and extends of claims no longer current: {exercised}; none was accepted
-- Vacuous: no ack, release or extend came from a claim that was no longer current
-- Broken: w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 ack j1#1
-- Accepted: w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 ack j1#1 !lost; w2 ack j1#2

-- name: violations
SELECT
  run, job_id,
  format('{}''s {} of its claim of job {} was accepted at {}, although {}',
    stale.worker, f, job_id, moment(ret_ns, start_ns), lost_to
  ) AS sentence,
  [claimed, lost, event] AS witness
FROM stale JOIN jobs USING (run, job) JOIN runs USING (run)
WHERE outcome = 'ok'

-- name: exercised
SELECT count(*) FROM stale
