-- Requirement: After faults stop and the queue is drained, every job whose enqueue returned ok is acked
--   or dead; one whose enqueue did not return may be either there or not.
-- Sound because: Only drained runs count. An ack of unknown outcome accounts for its job, and so does a
--   dead letter, and in a queue that can not list those, attempts enough to die. What raised, for an I/O
--   error, say, is of unknown outcome. Of what was enqueued before a power loss, `durable` speaks.
-- Usual bug: A transition in two steps (unlink, then save; create, then write), and a kill between
--   them.
-- Holds: enqueued jobs in drained runs: {exercised}; each was acked or dead in the end
-- Vacuous: no run ended with the queue drained after its faults
-- Broken: w1 enqueue j1; w1 claim dies; heal; +61s; w2 claim -; drained
-- Accepted: w1 enqueue j1; w1 claim dies; heal; +61s; w2 claim j1#2; w2 ack j1#2; drained

-- name: violations
SELECT
  o.run, job_id,
  format('job {}, enqueued at {}, was neither acked nor dead when the queue had been drained',
    job_id, moment(o.ret_ns, start_ns)
  ) AS sentence,
  [o.event, last_claim] AS witness
FROM obligations AS o JOIN runs USING (run) JOIN jobs ON jobs.job = o.job
WHERE drained AND NOT accounted AND NOT undecided AND coalesce(o.inv_ns > last_loss_ns, true)

-- name: exercised
SELECT count(*)
FROM obligations JOIN runs USING (run)
WHERE drained AND NOT undecided AND coalesce(inv_ns > last_loss_ns, true)

-- name: undecided
SELECT format('run {}: the drain was cut after {}', min(run), coalesce(arg_min(cut, run), 'its limit'))
FROM obligations JOIN runs USING (run)
WHERE drain_cut AND NOT accounted
HAVING count(*) > 0
UNION ALL
SELECT format('run {}: a claim was killed or failed, and the queue has no leases', min(run))
FROM obligations JOIN runs USING (run)
WHERE drained AND NOT accounted AND undecided
HAVING count(*) > 0
