-- What the invariants stand on: tables that say of a history what is certain in it.
--
-- Loaded before: `operations` and `events` as in history.py (`events`: what is no operation, and the moment
-- at which an operation of unknown outcome stopped running), and `terms`, one row, times in nanoseconds.
-- A table is built when an invariant names it. An interval is [inv, ret]; "certainly before" is strict:
-- an operation that returns at the instant at which another is called is concurrent with it.
-- `job` is a job id of one run; `claim` is a claim that returned a job, known by the index of its invocation;
-- `event` is the event that shows an operation in a witness.

-- table: runs
-- Each run by itself: how far its clocks were apart, what was done to its storage, how it ended.
WITH
  spans AS (
    SELECT
      run,
      min(inv_ns) AS start_ns,
      count(*) FILTER (f = 'claim' AND outcome = 'info') AS unknown_claims,
      coalesce(min(inv_ns) FILTER (f = 'claim' AND outcome = 'info'), never()) AS unknown_claim_ns
    FROM operations GROUP BY run
  ),
  faults AS (
    SELECT
      run,
      max(time_ns) FILTER (f = 'power-loss') AS last_loss_ns,
      bool_or(f IN ('power-loss', 'io-error')) AS storage_failed,
      max(time_ns) FILTER (f = 'heal') AS heal_ns,
      max(time_ns) FILTER (f = 'drained') AS drained_ns,
      max(value) FILTER (f = 'drain-cut') AS cut,
      bool_or(f = 'drain-cut') AS drain_cut,
      -- Every clock is right until it is set.
      max(greatest(try_cast(value AS DOUBLE), 0)) FILTER (f = 'clock')
        - min(least(try_cast(value AS DOUBLE), 0)) FILTER (f = 'clock') AS skew_seconds,
      bool_or(f = 'clock' AND try_cast(value AS DOUBLE) IS NULL) AS skew_unknown
    FROM events GROUP BY run
  )
SELECT
  run, start_ns, unknown_claims, unknown_claim_ns,
  last_loss_ns,
  last_loss_ns IS NULL AS calm,
  NOT coalesce(storage_failed, false) AS sound_storage,
  coalesce(heal_ns <= drained_ns, false) AND NOT coalesce(drain_cut, false) AS drained,
  coalesce(drain_cut, false) AS drain_cut,
  cut,
  coalesce(skew_seconds, 0) > 0 AS skewed,
  any_skew OR (NOT coalesce(skew_unknown, false) AND round(coalesce(skew_seconds, 0) * 1e9) <= skew_ns)
    AS within_skew
FROM spans LEFT JOIN faults USING (run), terms

-- table: crews
-- How many workers took part in each run; one that claims many at once counts as so many.
SELECT
  run,
  count(DISTINCT worker) + count(DISTINCT (worker, lane)) FILTER (f = 'claim' AND lane > 0) AS workers
FROM operations GROUP BY run

-- table: jobs
-- Where a live id may be enqueued again for a second job, an id enqueued twice names no one job: left out.
SELECT row_number() OVER () AS job, run, job_id
FROM (
  SELECT run, job_id, count(*) FILTER (f = 'enqueue' AND outcome <> 'fail') AS times_enqueued
  FROM operations WHERE job_id IS NOT NULL GROUP BY run, job_id
), terms
WHERE idempotent_enqueue OR times_enqueued <= 1

-- table: enqueues
-- What may have put a job into the queue.
SELECT run, job, worker, value, outcome, inv_ns, ret_ns, coalesce(ret_index, inv_index) AS event
FROM operations JOIN jobs USING (run, job_id)
WHERE f = 'enqueue' AND outcome <> 'fail'

-- table: requeues
-- What may have given a dead job a new incarnation.
SELECT run, job, inv_ns, ret_ns
FROM operations JOIN jobs USING (run, job_id)
WHERE f = 'requeue' AND outcome <> 'fail'

-- table: claims
-- A queue whose claims have no id of their own is taken at what it reports: the attempt, else the worker.
SELECT
  run, job, worker, attempt, value, inv_ns, ret_ns,
  inv_index AS claim,
  ret_index AS event,
  coalesce(claim_id, '#' || attempt, '@' || worker) AS name
FROM operations JOIN jobs USING (run, job_id)
WHERE f = 'claim' AND outcome = 'ok'

-- table: endings
-- Every ack, release and extend with the claim that it was made on, NULL if nobody saw that claim.
WITH
  calls AS (
    SELECT
      run, job, f, worker, outcome, inv_ns, ret_ns,
      coalesce(ret_index, inv_index) AS event,
      coalesce(claim_id, '#' || attempt, '@' || worker) AS name
    FROM operations JOIN jobs USING (run, job_id)
    WHERE f IN ('ack', 'release', 'extend')
  )
SELECT calls.*, claims.claim
FROM calls ASOF LEFT JOIN claims
  ON calls.job = claims.job AND calls.name = claims.name AND calls.inv_ns >= claims.inv_ns

-- table: holds
-- Every claim with what became of it. A time that never came is never().
WITH
  fates AS (
    SELECT
      claim,
      min(e.inv_ns) FILTER (f <> 'extend') AS given_up_ns,
      min(e.inv_ns) FILTER (f <> 'extend' AND outcome <> 'fail') AS handed_back_ns,
      min(e.inv_ns) FILTER (f = 'ack' AND outcome <> 'fail') AS first_ack_ns,
      min(e.ret_ns) FILTER (f = 'ack' AND outcome = 'ok') AS acked_ns,
      min(e.ret_ns) FILTER (f = 'release' AND outcome = 'ok') AS released_ns,
      -- Without fencing an extend of a lost claim may return ok too: only one inside the first lease counts.
      max(e.inv_ns) FILTER (f = 'extend' AND outcome = 'ok' AND (fencing OR e.ret_ns <= c.inv_ns + ttl_ns))
        AS extended_from_ns,
      max(e.ret_ns) FILTER (f = 'extend' AND outcome <> 'fail') AS extended_until_ns
    FROM endings AS e JOIN claims AS c USING (claim), terms
    GROUP BY claim
  ),
  -- What may have ended any claim of its job: whatever ends jobs by their id, an ack or release of a claim that
  -- nobody saw, and, where no bound says when a job is dead, a requeue.
  enders AS (
    SELECT job, inv_ns, ret_ns FROM endings, terms
    WHERE f <> 'extend' AND outcome <> 'fail' AND (NOT fencing OR claim IS NULL)
    UNION ALL
    SELECT job, inv_ns, ret_ns FROM requeues, terms WHERE max_attempts IS NULL
  ),
  ended_by_job AS (
    SELECT c.claim, min(e.inv_ns) AS ended_ns, min(e.inv_ns, 2)[2] AS ended_next_ns
    FROM enders AS e JOIN claims AS c ON c.job = e.job AND e.ret_ns >= c.inv_ns
    GROUP BY c.claim
  ),
  lined AS (
    SELECT
      *,
      row_number() OVER line AS nth,
      lead(inv_ns, 1, never()) OVER line AS next_inv_ns,
      lead(ret_ns, 1, never()) OVER line AS next_ret_ns,
      lead(claim) OVER line AS next_claim,
      max(ret_ns) OVER (line ROWS UNBOUNDED PRECEDING) AS latest_ret_ns
    FROM claims
    WINDOW line AS (PARTITION BY job ORDER BY inv_ns, claim)
  ),
  -- A power loss may undo a claim; without leases, a death may end it.
  undone AS (
    SELECT run, time_ns, NULL::VARCHAR AS worker FROM events WHERE f = 'power-loss'
    UNION ALL
    SELECT run, time_ns, worker FROM events, terms WHERE f = 'crash' AND NOT lease
  ),
  cut AS (
    SELECT claim, min(undone.time_ns) AS cut_ns
    FROM claims JOIN undone
      ON claims.run = undone.run
      AND undone.time_ns >= claims.inv_ns
      AND coalesce(undone.worker, claims.worker) = claims.worker
    GROUP BY claim
  ),
  timed AS (
    SELECT
      lined.*,
      least(coalesce(given_up_ns, never()), coalesce(ended_ns, never())) AS given_up_ns,
      least(coalesce(handed_back_ns, never()), coalesce(ended_ns, never())) AS handed_back_ns,
      coalesce(ended_next_ns, never()) AS ended_next_ns,
      coalesce(first_ack_ns, never()) AS first_ack_ns,
      coalesce(acked_ns, never()) AS acked_ns,
      coalesce(released_ns, never()) AS released_ns,
      -- Another claim is certainly later only if it was called after this one returned.
      CASE WHEN next_inv_ns > ret_ns AND calm THEN next_ret_ns ELSE never() END AS superseded_ns,
      least(
        CASE WHEN lease THEN greatest(inv_ns, coalesce(extended_from_ns, 0)) + ttl_ns ELSE never() END,
        coalesce(cut_ns, never())
      ) AS lease_end_ns,
      -- By the slowest clock that is within the bound, and times as coarse as the queue's.
      CASE
        WHEN NOT lease OR coalesce(extended_until_ns, 0) = never() THEN never()
        ELSE greatest(ret_ns, coalesce(extended_until_ns, 0)) + ttl_ns + 2 * skew_ns + resolution_ns
      END AS expired_ns
    FROM lined
      LEFT JOIN fates USING (claim)
      LEFT JOIN ended_by_job USING (claim)
      LEFT JOIN cut USING (claim)
      JOIN runs USING (run), terms
  )
SELECT
  * EXCLUDE (name, value),
  least(lease_end_ns, given_up_ns) AS valid_end_ns,
  least(lease_end_ns, handed_back_ns) AS unreleased_end_ns
FROM timed

-- table: stale
-- Acks, releases and extends of claims that were certainly no longer current when they were called.
WITH
  returned AS (
    SELECT
      claim,
      arg_min(event, ret_ns) FILTER (f = 'ack') AS acked,
      arg_min(event, ret_ns) FILTER (f = 'release') AS released
    FROM endings WHERE f <> 'extend' AND outcome = 'ok' GROUP BY claim
  )
SELECT
  e.run, e.job, e.f, e.worker, e.outcome, e.ret_ns, e.event,
  h.event AS claimed,
  CASE
    WHEN superseded_ns < e.inv_ns THEN n.event
    WHEN acked_ns < e.inv_ns THEN returned.acked
    ELSE returned.released
  END AS lost,
  CASE
    WHEN superseded_ns < e.inv_ns THEN n.worker || ' had claimed it since'
    WHEN acked_ns < e.inv_ns THEN 'it had been acked'
    ELSE 'it had been released'
  END AS lost_to
FROM endings AS e
  JOIN holds AS h USING (claim)
  JOIN runs ON runs.run = e.run
  LEFT JOIN claims AS n ON n.claim = h.next_claim
  LEFT JOIN returned ON returned.claim = e.claim, terms
WHERE calm
  AND (superseded_ns < e.inv_ns OR acked_ns < e.inv_ns OR released_ns < e.inv_ns)
  -- An ack that may be repeated is left out from the second time on.
  AND NOT (e.f = 'ack' AND repeat_ack = 'accepted' AND first_ack_ns < e.inv_ns)

-- table: finishes
-- The acks that certainly ended an incarnation.
SELECT
  a.run, a.job, a.claim, a.inv_ns, a.ret_ns, a.event,
  max(a.inv_ns) OVER earlier AS last_inv_ns,
  arg_max(a.event, a.inv_ns) OVER earlier AS last_event
FROM endings AS a JOIN holds AS h USING (claim), terms
WHERE a.f = 'ack' AND a.outcome = 'ok'
  AND a.inv_ns <= h.superseded_ns
  -- Without fencing, an ack proves something only while the claim was certainly current.
  AND (fencing OR (a.ret_ns <= h.lease_end_ns AND a.inv_ns <= h.handed_back_ns AND a.ret_ns < h.ended_next_ns))
  -- An ack that may be repeated proves nothing the second time.
  AND (repeat_ack = 'refused' OR a.inv_ns = h.first_ack_ns)
WINDOW earlier AS (PARTITION BY a.job ORDER BY a.ret_ns, a.event ROWS UNBOUNDED PRECEDING)

-- table: resurrections
-- Claims called after an ack (or after a look at the dead letters) ended their incarnation for certain, with
-- no enqueue that could have begun a new one.
WITH
  renewals AS (
    SELECT job, inv_ns, ret_ns FROM enqueues UNION ALL SELECT job, inv_ns, ret_ns FROM requeues
  ),
  renewed AS (
    SELECT
      job, inv_ns,
      max(ret_ns) OVER (PARTITION BY job ORDER BY inv_ns RANGE UNBOUNDED PRECEDING) AS until_ns
    FROM renewals
  ),
  ends AS (
    SELECT job, ret_ns AS end_ns, last_inv_ns, last_event, 'acked' AS how FROM finishes
    UNION ALL
    SELECT job, time_ns, time_ns, position, 'dead'
    FROM events JOIN jobs USING (run, job_id) WHERE f = 'dead'
  ),
  ended AS (
    SELECT claims.*, ends.how, ends.last_inv_ns AS ended_ns, ends.last_event
    FROM claims ASOF JOIN ends ON claims.job = ends.job AND claims.inv_ns > ends.end_ns
  ),
  losses AS (SELECT run, time_ns FROM events WHERE f = 'power-loss')
SELECT
  ended.run, ended.job, ended.worker, ended.how, ended.ended_ns, ended.last_event, ended.inv_ns, ended.event,
  coalesce(losses.time_ns >= ended.ended_ns, false) AS across_loss
FROM ended
  ASOF LEFT JOIN renewed ON ended.job = renewed.job AND ended.ret_ns >= renewed.inv_ns
  ASOF LEFT JOIN losses ON ended.run = losses.run AND ended.inv_ns >= losses.time_ns
WHERE renewed.until_ns IS NULL OR renewed.until_ns < ended.ended_ns

-- table: segments
-- The claims of each job, parted wherever a new incarnation may have begun.
WITH
  -- An ack has its effect, if any, while its claim is current; then an enqueue is needed.
  ends AS (
    SELECT
      e.job, e.inv_ns AS from_ns,
      CASE WHEN fencing THEN least(e.ret_ns, coalesce(h.superseded_ns, never())) ELSE e.ret_ns END AS until_ns
    FROM endings AS e LEFT JOIN holds AS h USING (claim), terms
    WHERE e.f = 'ack' AND e.outcome <> 'fail'
      AND (NOT fencing OR coalesce(h.superseded_ns, never()) >= e.inv_ns)
  ),
  sent AS (
    SELECT
      job, ret_ns,
      min(inv_ns) OVER (PARTITION BY job ORDER BY ret_ns RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
        AS first_inv_ns,
      max(ret_ns) OVER (PARTITION BY job) AS last_ret_ns
    FROM enqueues
  ),
  renewals AS (
    SELECT
      ends.job,
      greatest(ends.from_ns, sent.first_inv_ns) AS from_ns,
      greatest(ends.until_ns, coalesce(next.ret_ns, sent.last_ret_ns)) AS until_ns
    FROM ends
      ASOF JOIN sent ON ends.job = sent.job AND ends.from_ns <= sent.ret_ns
      ASOF LEFT JOIN enqueues AS next ON ends.job = next.job AND ends.until_ns <= next.inv_ns
  ),
  parts AS (
    FROM renewals
    UNION ALL
    SELECT job, inv_ns, ret_ns FROM requeues
    UNION ALL
    -- A queue that keeps no dead letters may forget a dead job, and take it anew.
    SELECT job, inv_ns, ret_ns FROM enqueues, terms WHERE NOT dead_letters
  ),
  reach AS (
    SELECT
      job, from_ns,
      max(until_ns) OVER (PARTITION BY job ORDER BY from_ns RANGE UNBOUNDED PRECEDING) AS until_ns
    FROM parts
  ),
  lined AS (
    SELECT
      *,
      lag(inv_ns) OVER line AS last_inv_ns,
      -- Called later is not later: a claim may come before an earlier called one that returned after it.
      max(ret_ns) OVER (line ROWS UNBOUNDED PRECEDING) AS latest_ret_ns
    FROM claims
    WINDOW line AS (PARTITION BY job ORDER BY inv_ns, claim)
  ),
  parted AS (
    SELECT lined.*, reach.from_ns IS NOT NULL AND reach.until_ns >= coalesce(last_inv_ns, 0) AS opens
    FROM lined ASOF LEFT JOIN reach ON lined.job = reach.job AND lined.latest_ret_ns >= reach.from_ns
  )
SELECT
  run, job, worker, attempt, inv_ns, ret_ns, claim, event,
  -- Segment 1 is certainly of the first incarnation, from its first claim on.
  1 + count(*) FILTER (opens) OVER (PARTITION BY job ORDER BY inv_ns, claim ROWS UNBOUNDED PRECEDING) AS segment
FROM parted

-- table: obligations
-- Every job with an enqueue that returned ok, and whether it is accounted for after the drain.
WITH
  owed AS (
    SELECT
      run, job,
      max(inv_ns) AS inv_ns,
      arg_max(ret_ns, inv_ns) AS ret_ns,
      arg_max(event, inv_ns) AS event,
      arg_max(worker, inv_ns) AS worker
    FROM enqueues WHERE outcome = 'ok' GROUP BY run, job
  ),
  acked AS (
    SELECT a.job, max(a.ret_ns) AS ret_ns
    FROM endings AS a LEFT JOIN holds AS h USING (claim), terms
    WHERE a.f = 'ack' AND a.outcome <> 'fail'
      -- An ack of a claim that another had certainly superseded is no reason for a job to go.
      AND (NOT fencing OR a.claim IS NULL OR a.inv_ns <= h.superseded_ns)
    GROUP BY a.job
  ),
  attempts AS (
    SELECT
      job,
      count(*) AS claims,
      max(event) AS last_claim,
      -- Any of them: of two that overlapped, the one that was called first may have got the job last.
      bool_or(acked_ns = never() AND released_ns = never()) AS held
    FROM holds GROUP BY job
  ),
  dead AS (SELECT DISTINCT job FROM events JOIN jobs USING (run, job_id) WHERE f = 'dead'),
  present AS (SELECT DISTINCT job FROM events JOIN jobs USING (run, job_id) WHERE f = 'present')
SELECT
  owed.*,
  attempts.last_claim,
  coalesce(acked.ret_ns > owed.inv_ns, false)
    OR dead.job IS NOT NULL
    OR (NOT dead_letters AND coalesce(coalesce(claims, 0) + unknown_claims >= max_attempts, false))
    OR (NOT lease AND coalesce(held, false)) AS accounted,
  -- Without leases, a job stays with a claim that was killed on its way: which one, nobody knows, but a queue
  -- that lists its jobs shows that it is there.
  NOT lease AND unknown_claims > 0 AND (NOT lists_jobs OR present.job IS NOT NULL) AS undecided
FROM owed
  JOIN runs USING (run)
  LEFT JOIN acked USING (job)
  LEFT JOIN attempts USING (job)
  LEFT JOIN dead USING (job)
  LEFT JOIN present USING (job), terms

-- table: polls
-- Every claim that returned, and whether another call was running at any instant of its own.
WITH
  stopped AS (
    SELECT
      o.run, o.worker, o.lane, o.inv_ns, o.inv_index,
      coalesce(e.time_ns, c.time_ns, never()) AS over_ns
    FROM operations AS o
      LEFT JOIN events AS e ON o.ret_index = e.position
      ASOF LEFT JOIN (SELECT run, worker, time_ns FROM events WHERE f = 'crash') AS c
        ON o.run = c.run AND o.worker = c.worker AND o.inv_ns <= c.time_ns
    WHERE o.outcome = 'info'
  ),
  calls AS (
    SELECT run, worker, lane, inv_ns, inv_index, ret_ns AS over_ns FROM operations WHERE outcome <> 'info'
    UNION ALL
    SELECT run, worker, lane, inv_ns, inv_index, over_ns FROM stopped
  ),
  -- The operations of a call with many jobs do not disturb each other.
  numbered AS (
    SELECT *, count(*) FILTER (lane = 0) OVER (PARTITION BY run, worker ORDER BY inv_index) AS call FROM calls
  ),
  whole AS (
    SELECT run, worker, call, min(inv_ns) AS inv_ns, min(inv_index) AS inv_index, max(over_ns) AS over_ns
    FROM numbered GROUP BY run, worker, call
  ),
  lined AS (
    SELECT
      run, worker, call,
      coalesce(max(over_ns) OVER (line ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) < inv_ns, true)
        AND coalesce(lead(inv_ns) OVER line > over_ns, true) AS quiet
    FROM whole
    WINDOW line AS (PARTITION BY run ORDER BY inv_ns, inv_index)
  )
SELECT
  o.run, o.worker, o.f, o.job_id, o.claim_id, o.attempt, o.outcome, o.error, o.inv_ns, o.ret_ns,
  o.inv_index, coalesce(o.ret_index, o.inv_index) AS event,
  n.over_ns, l.quiet
FROM operations AS o
  JOIN numbered AS n USING (inv_index)
  JOIN lined AS l ON l.run = n.run AND l.worker = n.worker AND l.call = n.call
WHERE (o.f = 'claim' AND o.outcome = 'ok') OR (o.outcome = 'info' AND o.error IS NOT NULL)

-- table: waits
-- The spans in which a job was certainly there for the taking, from `since_ns` to `until_ns`, both excluded:
-- newly enqueued, released and rested, or expired. Judged only where clocks and storage kept their bounds,
-- and up to the first claim of unknown outcome, which may have taken any job.
WITH
  touches AS (
    SELECT e.job, e.inv_ns FROM endings AS e, terms
    WHERE outcome <> 'fail' AND (f <> 'extend' OR NOT fencing)
    UNION ALL
    SELECT job, inv_ns FROM claims
  ),
  -- Without fencing, an ending of unknown outcome may come at any time.
  unsure AS (
    SELECT DISTINCT job FROM endings, terms
    WHERE outcome <> 'fail' AND (claim IS NULL OR (outcome = 'info' AND NOT fencing))
  ),
  first_enqueue AS (
    SELECT
      run, job, arg_min(worker, ret_ns) AS worker, arg_min(event, ret_ns) AS event,
      arg_min(inv_ns, ret_ns) AS inv_ns, min(ret_ns) AS ret_ns
    FROM enqueues WHERE outcome = 'ok' GROUP BY run, job
  ),
  new AS (
    SELECT
      f.run, f.job, f.worker, f.event, 'new' AS kind,
      f.inv_ns AS made_ns, f.ret_ns AS since_ns, coalesce(c.first_ns, never()) AS taken_ns
    FROM first_enqueue AS f
      LEFT JOIN (SELECT job, min(inv_ns) AS first_ns FROM claims GROUP BY job) AS c USING (job)
  ),
  renewed AS (
    SELECT
      e.run, e.job, e.worker, e.event, 'new again' AS kind,
      e.inv_ns AS made_ns, e.ret_ns AS since_ns, h.next_inv_ns AS taken_ns
    FROM (SELECT * FROM enqueues WHERE outcome = 'ok') AS e
      ASOF JOIN holds AS h ON e.job = h.job AND e.ret_ns > h.inv_ns
      JOIN finishes AS f ON f.claim = h.claim
    WHERE f.ret_ns < e.inv_ns AND h.latest_ret_ns < e.inv_ns
  ),
  -- A claim after which another must follow: nobody else had the job, and it had attempts left.
  again AS (
    SELECT holds.* FROM holds, terms
    WHERE latest_ret_ns = ret_ns AND next_inv_ns > ret_ns
      AND (max_attempts IS NULL OR coalesce(attempt, nth) < max_attempts)
  ),
  released AS (
    SELECT
      h.run, h.job, h.worker, r.event, 'released' AS kind,
      r.inv_ns AS made_ns,
      r.ret_ns + backoff_ns(coalesce(h.attempt, 65), backoff_base_ns, backoff_max_ns) + skew_ns + resolution_ns AS since_ns,
      least(h.next_inv_ns, h.ended_next_ns) AS taken_ns
    FROM again AS h JOIN endings AS r USING (claim), terms
    WHERE r.f = 'release' AND r.outcome = 'ok'
      AND r.inv_ns = h.handed_back_ns AND h.next_inv_ns > r.ret_ns
  ),
  expired AS (
    SELECT
      run, job, worker, event, 'expired' AS kind,
      inv_ns AS made_ns, expired_ns AS since_ns, next_inv_ns AS taken_ns
    FROM again WHERE expired_ns < never() AND expired_ns < next_inv_ns AND handed_back_ns > expired_ns
  ),
  spans AS (FROM new UNION ALL FROM renewed UNION ALL FROM released UNION ALL FROM expired)
SELECT
  s.run, s.job, s.worker, s.event, s.kind, s.since_ns,
  least(s.taken_ns, coalesce(t.inv_ns, never()), r.unknown_claim_ns) AS until_ns
FROM spans AS s
  JOIN runs AS r USING (run)
  ANTI JOIN unsure USING (job)
  ASOF LEFT JOIN touches AS t ON s.job = t.job AND s.made_ns < t.inv_ns
WHERE r.within_skew AND r.sound_storage
  AND s.since_ns < least(s.taken_ns, coalesce(t.inv_ns, never()), r.unknown_claim_ns)

-- table: rests
-- Claims called after the release of the claim before them, and how long the job should have rested.
SELECT
  h.run, h.job, h.worker AS released_by, r.event AS release, r.inv_ns AS released_ns,
  next.worker, next.event, next.inv_ns, next.ret_ns,
  -- Of an attempt that is not counted, the shortest rest.
  backoff_ns(coalesce(h.attempt, 1), backoff_base_ns, backoff_max_ns) AS rest_ns
FROM holds AS h
  JOIN endings AS r USING (claim)
  JOIN claims AS next ON next.claim = h.next_claim
  JOIN runs ON runs.run = h.run, terms
WHERE r.f = 'release' AND r.outcome = 'ok'
  AND r.inv_ns = h.handed_back_ns AND h.next_inv_ns > r.ret_ns
  AND within_skew AND calm
  -- After its last attempt a job does not rest, it is dead; a requeue then makes it available at once.
  AND (max_attempts IS NULL OR coalesce(h.attempt, h.nth) < max_attempts)
  AND NOT EXISTS (FROM requeues WHERE requeues.job = h.job)

-- table: queued
-- Newly enqueued jobs in the order of their enqueues, with the longest wait so far.
SELECT
  run, job, event, since_ns, until_ns,
  max(until_ns) OVER (PARTITION BY run ORDER BY since_ns ROWS UNBOUNDED PRECEDING) AS latest_until_ns
FROM waits JOIN runs USING (run)
WHERE kind = 'new' AND NOT skewed

-- table: first_claims
-- The first claim of each job, with the earliest moment at which that job can have been enqueued.
SELECT h.run, h.job, h.worker, h.event, h.inv_ns, h.ret_ns, e.inv_ns AS enqueued_ns
FROM holds AS h
  JOIN (SELECT job, min(inv_ns) AS inv_ns FROM enqueues GROUP BY job) AS e USING (job)
  JOIN runs ON runs.run = h.run
WHERE nth = 1 AND NOT skewed

-- table: passed
-- First claims that passed older jobs over, and how many. A run in which that happens more than 2,000 times is
-- counted over the first 2,000 of either side: it bounds the work, and a broken order shows long before.
WITH
  ahead AS (
    SELECT c.*, row_number() OVER (PARTITION BY c.run ORDER BY c.ret_ns) AS place
    FROM first_claims AS c ASOF JOIN queued AS q ON c.run = q.run AND c.enqueued_ns > q.since_ns
    WHERE q.latest_until_ns > c.ret_ns
  ),
  earliest AS (
    SELECT
      run, enqueued_ns,
      min(ret_ns) OVER (
        PARTITION BY run ORDER BY enqueued_ns ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
      ) AS ret_ns
    FROM ahead
  ),
  behind AS (
    SELECT q.*, row_number() OVER (PARTITION BY q.run ORDER BY q.since_ns) AS place
    FROM queued AS q ASOF JOIN earliest AS c ON q.run = c.run AND q.since_ns < c.enqueued_ns
    WHERE c.ret_ns < q.until_ns
  )
SELECT
  c.run, c.job, c.worker, c.event, c.ret_ns,
  count(*) AS displacement,
  max(q.since_ns) AS waiting_ns,
  arg_max(q.event, q.since_ns) AS waiting
FROM ahead AS c JOIN behind AS q
  ON c.run = q.run AND q.since_ns < c.enqueued_ns AND q.until_ns > c.ret_ns
WHERE c.place <= 2000 AND q.place <= 2000
GROUP BY ALL
