"""How do queues get jobs wrong? Each class below in one way, for the scenarios that have to catch it."""

# ruff: noqa: D102, ARG002 - a defect is told by its class, and its methods are called as a queue's are

import base64
import os

from toy_queue import Toy, for_


@for_("bounded-retries", "poison-job")
class DeathsDoNotCount(Toy):
    """An attempt is counted when the job is given back."""

    def take(self, job, now):
        attempt = job["attempt"]
        claim = super().take(job, now)
        job["attempt"] = attempt
        return claim

    def give_back(self, job):
        job["attempt"] += 1
        super().give_back(job)


@for_("progress", "poison-job-among-others")
class StopsAtThePoison(Toy):
    """A claim that comes upon a job without attempts left goes no further."""

    def found(self, jobs, now):
        for job in jobs:
            if self.is_free(job, now):
                return job if job["attempt"] < self.policy.retry.max_attempts else None
        return None


@for_("bounded-retries", "dead-letter-by-release")
class ReleasesWithoutBound(Toy):
    """A job that is given back is retried for ever."""

    def give_back(self, job):
        job |= {"state": "waiting", "due": self.now(), "attempt": min(job["attempt"], 2)}


@for_("no-lost-job", "dead-letter-by-expiry")
class ForgetsWhatExpired(Toy):
    """A job whose last lease ends is removed."""

    def found(self, jobs, now):
        used = [job for job in jobs if self.is_free(job, now) and job["attempt"] == 3]
        jobs[:] = [job for job in jobs if job not in used]
        return super().found(jobs, now)


@for_("no-lost-job", "second-kill")
class TakesOutToReclaim(Toy):
    """A job that is claimed again is out of the queue for a moment."""

    def claim(self, *, worker_id):
        now = self.now()
        with self.jobs() as jobs:
            job = self.found(jobs, now)
            if job is None:
                return None
            if not job["attempt"]:
                return self.take(job, now)
            jobs.remove(job)
        claim = self.take(job, now)
        with self.jobs() as jobs:
            jobs.append(job)
        return claim


@for_("no-lost-job", "kill-inside-each-operation")
class ReleasesInTwoSteps(Toy):
    """A release removes the job, and adds it again."""

    def release(self, *, claim):
        with self.jobs() as jobs:
            job = self.current(jobs, claim)
            jobs.remove(job)
        self.give_back(job)
        with self.jobs() as jobs:
            jobs.append(job)


@for_("no-lost-job", "kill-inside-requeue")
class RequeuesInTwoSteps(Toy):
    """A requeue removes the dead letter, and enqueues its job."""

    def requeue_dead(self, job_id):
        with self.jobs() as jobs:
            dead = [job for job in jobs if job["id"] == job_id and job["state"] == "dead"]
            jobs[:] = [job for job in jobs if job not in dead]
        for job in dead:
            self.enqueue(job_id, payload=base64.b64decode(job["payload"]))
        return bool(dead)


@for_("integrity", "enqueue-races-claim")
class PayloadComesLater(Toy):
    """A job is there before its payload is."""

    def enqueue(self, job_id, *, payload=b""):
        super().enqueue(job_id)
        with self.jobs() as jobs:
            for job in jobs:
                if job["id"] == job_id:
                    job["payload"] = base64.b64encode(payload).decode()


@for_("integrity", "two-producers")
class OneDraftForAll(Toy):
    """All producers write what they send into the same draft."""

    def enqueue(self, job_id, *, payload=b""):
        draft = self.folder / "draft"
        draft.write_bytes(payload)
        super().enqueue(job_id, payload=draft.read_bytes())


@for_("single-claimer", "two-producers-of-one-job")
class LooksThenAdds(Toy):
    """An id is looked for, and then added, which another may do in between."""

    def enqueue(self, job_id, *, payload=b""):
        with self.jobs() as jobs:
            is_there = any(job["id"] == job_id for job in jobs)
        if not is_there:
            with self.jobs() as jobs:
                jobs.append(self.new(job_id, payload))


@for_("single-claimer", "enqueue-of-a-held-job")
class LooksOnlyAtWaiting(Toy):
    """A job that is being worked on is added a second time."""

    def enqueue(self, job_id, *, payload=b""):
        with self.jobs() as jobs:
            if all(job["id"] != job_id or job["state"] != "waiting" for job in jobs):
                jobs.append(self.new(job_id, payload))


@for_("integrity", "two-producers-of-one-parent")
class NamesByWhoOpened(Toy):
    """Payloads pass through files that are named by who opened the queue, and counted."""

    def __init__(self, workdir, policy):
        super().__init__(workdir, policy)
        self.opener, self.number = os.getpid(), 0

    def enqueue(self, job_id, *, payload=b""):
        self.number += 1
        path = self.folder / f"{self.opener}-{self.number}"
        path.write_bytes(payload)
        super().enqueue(job_id, payload=path.read_bytes())


@for_("linearizable", "enqueue-of-a-job-being-acked")
class AcksInTwoSteps(Toy):
    """An ack marks its job as done, and then removes what goes by its id."""

    def ack(self, *, claim):
        with self.jobs() as jobs:
            self.current(jobs, claim)["id"] = f"done {claim.job_id}"
        with self.jobs() as jobs:
            names = {claim.job_id, f"done {claim.job_id}"}
            jobs[:] = [job for job in jobs if job["id"] not in names]


@for_("no-lost-job", "others-inside-an-ack")
class AcksWithoutLock(Toy):
    """An ack reads all jobs and writes all but its own, whatever others do meanwhile."""

    def ack(self, *, claim):
        jobs = self.read()
        jobs.remove(self.current(jobs, claim))
        self.write(jobs)


@for_("progress", "back-off-ends")
class RestsInMinutes(Toy):
    """A back-off that was asked for in seconds lasts for minutes."""

    def give_back(self, job):
        super().give_back(job)
        job["due"] = self.now() + 60 * self.policy.retry.backoff_seconds(job["attempt"])


@for_("single-claimer", "new-handle-over-live-leases")
class RecoversAtOpen(Toy):
    """Who opens the queue puts back what is held, as if nobody else had it open."""

    def __init__(self, workdir, policy):
        super().__init__(workdir, policy)
        with self.jobs() as jobs:
            for job in jobs:
                if job["state"] == "held":
                    job |= {"state": "waiting", "due": self.now()}


@for_("no-lost-job", "restart-over-an-old-backlog")
class ForgetsAtOpen(Toy):
    """Who opens the queue removes what is older than five leases."""

    def __init__(self, workdir, policy):
        super().__init__(workdir, policy)
        with self.jobs() as jobs:
            jobs[:] = [job for job in jobs if self.now() - job["enqueued"] < 5 * self.ttl]

    def new(self, job_id, payload):
        return super().new(job_id, payload) | {"enqueued": self.now()}


@for_("single-claimer", "one-job-two-workers", "two-jobs-two-workers")
class SelectsThenUpdates(Toy):
    """A claim looks for a job, and then takes it, which another may do in between."""

    def claim(self, *, worker_id):
        now = self.now()
        with self.jobs() as jobs:
            seen = self.found(jobs, now)
        if seen is None:
            return None
        with self.jobs() as jobs:
            for job in jobs:
                if job["id"] == seen["id"] and self.is_as_seen(job):
                    return self.take(job, now)
        return None

    def is_as_seen(self, job):
        return True


@for_("linearizable", "claim-and-release-overtake-a-claim")
class TakesWhatItSaw(SelectsThenUpdates):
    """It takes the job only if that still waits, but whatever became of it in between."""

    def is_as_seen(self, job):
        return job["state"] == "waiting"
