-- Requirement: After an ack returned ok (or a dead letter was made), no claim of that incarnation is
--   called and returns ok.
-- Sound because: The ack was of a current claim and had returned before the claim was called, and no
--   enqueue or requeue may have taken effect between them. Of what a power loss undoes, `durable`
--   speaks.
-- Usual bug: The sweeper selects an expired job, the owner acks it, the sweeper puts it back.
-- Holds: jobs acked while claims went on: {exercised}; none came back
-- Vacuous: no claim was called after an ack
-- Broken: w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w2 claim j1#2
-- Accepted: w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w1 enqueue j1; w2 claim j1#1

-- name: violations
SELECT
  r.run, job_id,
  format('job {} was {} at {} and given out again, to {} at {}, with no enqueue since',
    job_id, how, moment(ended_ns, start_ns), worker, moment(inv_ns, start_ns)
  ) AS sentence,
  [last_event, event] AS witness
FROM resurrections AS r JOIN runs USING (run) JOIN jobs ON jobs.job = r.job
WHERE NOT across_loss

-- name: exercised
WITH last_poll AS (SELECT run, max(inv_ns) AS inv_ns FROM polls WHERE outcome = 'ok' GROUP BY run)
SELECT count(DISTINCT job) FROM finishes JOIN last_poll USING (run) WHERE last_poll.inv_ns > ret_ns
