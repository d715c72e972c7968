-- Requirement: After power loss (only what was synced survives, in any order the file system allows),
--   every enqueue and every ack that returned ok still holds.
-- Sound because: Only what had returned ok before the power failed counts, and only runs drained
--   afterwards. An acked job that comes back counts only if no enqueue may have begun a new
--   incarnation.
-- Usual bug: The file is synced and its folder is not; or a default that syncs once every two minutes.
-- Offered if: durability = 'power-loss'
-- Not offered: the queue does not promise to survive the loss of power
-- Holds: enqueues and acks that had returned before the power failed: {exercised}; all held
-- Vacuous: the power never failed
-- Needs: simulation
-- Broken: w1 enqueue j1; power-loss; heal; w2 claim -; drained
-- Broken: w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; power-loss; heal; w2 claim j1#1; w2 ack j1#1;
--   drained
-- Accepted: w1 enqueue j1; w1 claim j1#1; power-loss; heal; w2 claim j1#1; w2 ack j1#1; drained

-- name: violations
SELECT
  o.run, job_id,
  format('job {}, whose enqueue had returned at {}, was gone after the power failed at {}',
    job_id, moment(o.ret_ns, start_ns), moment(last_loss_ns, start_ns)
  ) AS sentence,
  [o.event, last_claim, lost.position] AS witness
FROM obligations AS o
  JOIN runs USING (run)
  JOIN jobs ON jobs.job = o.job
  JOIN (SELECT run, max(position) AS position FROM events WHERE f = 'power-loss' GROUP BY run) AS lost
    ON lost.run = o.run
WHERE drained AND NOT accounted AND NOT undecided AND o.ret_ns < last_loss_ns
UNION ALL
SELECT
  r.run, job_id,
  format('job {}, acked at {}, came back after the power had failed, to {} at {}',
    job_id, moment(ended_ns, start_ns), worker, moment(inv_ns, start_ns)
  ),
  [last_event, event, lost.position]
FROM resurrections AS r
  JOIN runs USING (run)
  JOIN jobs ON jobs.job = r.job
  JOIN (SELECT run, max(position) AS position FROM events WHERE f = 'power-loss' GROUP BY run) AS lost
    ON lost.run = r.run
WHERE across_loss AND how = 'acked'

-- name: exercised
SELECT
  (SELECT count(*) FROM obligations JOIN runs USING (run) WHERE drained AND ret_ns < last_loss_ns)
  + (SELECT count(*) FROM finishes JOIN runs USING (run) WHERE ret_ns < last_loss_ns)

-- name: undecided
SELECT format('run {}: the drain was cut after {}', min(run), coalesce(arg_min(cut, run), 'its limit'))
FROM obligations JOIN runs USING (run)
WHERE drain_cut AND NOT accounted AND ret_ns < last_loss_ns
HAVING count(*) > 0
