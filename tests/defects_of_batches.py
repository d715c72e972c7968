"""How do queues get many jobs wrong? Each class below in one way, for the scenarios that have to catch it."""

# ruff: noqa: D102, ARG002 - a defect is told by its class, and its methods are called as a queue's are

from ssq_core.queue import LeaseLost, LeasesLost
from toy_queue import Toy, for_


class ManyToy(Toy):
    """The toy, with many jobs in one call, under one lock; it has no defect."""

    caught = ()

    def enqueue_many(self, jobs):
        with self.jobs() as there:
            self.add(there, list(jobs))

    def add(self, there, jobs):
        """Add those that are not there."""
        for job_id, payload in jobs:
            if all(job["id"] != job_id for job in there):
                there.append(self.new(job_id, payload))

    def claim_many(self, limit, *, worker_id):
        now, taken = self.now(), []
        with self.jobs() as jobs:
            while len(taken) < limit and (job := self.found(jobs, now)) is not None:
                taken.append(self.take(job, now))
        return taken

    def ack_many(self, *, claims):
        lost = []
        with self.jobs() as jobs:
            for claim in claims:
                try:
                    jobs.remove(self.current(jobs, claim))
                except LeaseLost:
                    lost.append(claim)
        if lost:
            raise LeasesLost(lost)


@for_("fencing", "one-of-many-acks-is-late")
class AcksByJob(ManyToy):
    """An ack of many goes by the jobs, whoever holds them."""

    def ack_many(self, *, claims):
        done = {claim.job_id for claim in claims}
        with self.jobs() as jobs:
            jobs[:] = [job for job in jobs if job["id"] not in done]


@for_("single-claimer", "two-workers-want-many")
class LooksBeforeItLocks(ManyToy):
    """Which jobs are to be had is found out first, and then they are taken."""

    def claim_many(self, limit, *, worker_id):
        now = self.now()
        free = [job["id"] for job in self.read() if self.is_free(job, now)][:limit]
        with self.jobs() as jobs:
            return [self.take(job, now) for job in jobs if job["id"] in free]


@for_("bounded-retries", "many-left-by-the-dead")
class CountsTheFirst(ManyToy):
    """Of many jobs only the first one's attempt is counted."""

    def claim_many(self, limit, *, worker_id):
        taken = super().claim_many(limit, worker_id=worker_id)
        with self.jobs() as jobs:
            for claim in taken[1:]:
                self.current(jobs, claim)["attempt"] -= 1
        return taken


@for_("no-lost-job", "two-producers-of-many")
class AddsWithoutLock(ManyToy):
    """Many jobs are added to what was there a moment ago."""

    def enqueue_many(self, jobs):
        there = self.read()
        self.add(there, list(jobs))
        self.write(there)


@for_("no-lost-job", "two-producers-of-many")
class LosesTheLast(ManyToy):
    """The last of many jobs is not added."""

    def enqueue_many(self, jobs):
        super().enqueue_many(list(jobs)[:-1])


@for_("no-lost-job", "a-death-among-many")
class TakesOutToTake(ManyToy):
    """Jobs that are claimed together are out of the queue for a moment."""

    def claim_many(self, limit, *, worker_id):
        now = self.now()
        with self.jobs() as jobs:
            taken = [job for job in jobs if self.is_free(job, now)][:limit]
            jobs[:] = [job for job in jobs if job not in taken]
        claims = [self.take(job, now) for job in taken]
        with self.jobs() as jobs:
            jobs[:0] = taken
        return claims
