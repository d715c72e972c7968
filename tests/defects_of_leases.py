"""How do queues get leases wrong? Each class below in one way, for the scenarios that have to catch it."""

# ruff: noqa: D102, ARG002 - a defect is told by its class, and its methods are called as a queue's are

from datetime import datetime

from ssq_core.queue import LeaseLost
from toy_queue import Toy, for_


@for_("no-early-reclaim", "aged-in-queue")
class LeaseFromEnqueue(Toy):
    """Its leases begin when the job is enqueued."""

    def new(self, job_id, payload):
        return super().new(job_id, payload) | {"enqueued": self.now()}

    def lease_end(self, job, now):
        return job["enqueued"] + self.ttl


@for_("no-resurrection", "ack-after-expiry")
class LateAckDoesNothing(Toy):
    """A late ack is answered with ok, and has no effect."""

    def ack(self, *, claim):
        if self.now() < claim.due:
            super().ack(claim=claim)


@for_("no-lost-job", "release-after-expiry")
class LateReleaseLosesTheJob(Toy):
    """A late release finishes the job."""

    def release(self, *, claim):
        (super().release if self.now() < claim.due else super().ack)(claim=claim)


@for_("single-claimer", "extend-after-expiry")
class LateExtendDoesNothing(Toy):
    """A late extend is answered with ok, and has no effect."""

    def extend(self, *, claim):
        return super().extend(claim=claim) if self.now() < claim.due else claim


@for_("fencing", *(f"{do}-after-the-next-claim" for do in ("ack", "release", "extend")))
class ByJob(Toy):
    """It knows a holder by the job alone."""

    def current(self, jobs, claim):
        for job in jobs:
            if job["id"] == claim.job_id and job["state"] == "held":
                return job
        raise LeaseLost(claim.job_id, "nobody holds it")


@for_("fencing", *(f"{do}-after-the-next-ack" for do in ("ack", "release", "extend")))
class ByJobAndAttempt(Toy):
    """It knows a holder by job and attempt, which are the same in the next incarnation."""

    def current(self, jobs, claim):
        for job in jobs:
            if (job["id"], job["attempt"], job["state"]) == (claim.job_id, claim.attempt, "held"):
                return job
        raise LeaseLost(claim.job_id, "it is somebody else's")


@for_("linearizable", "reclaim-inside-ack")
@for_("single-claimer", "reclaim-inside-claim", "two-reclaims", "two-reclaims-of-two-jobs")
class SweepsWithoutLock(Toy):
    """Before each claim, expired jobs are put back by who does not take the lock."""

    def claim(self, *, worker_id):
        now, jobs = self.now(), self.read()
        expired = [job for job in jobs if job["state"] == "held" and self.is_free(job, now)]
        for job in expired:
            job["state"] = "waiting"
        if expired:
            self.write(jobs)
        return super().claim(worker_id=worker_id)


@for_("bounded-retries", "reclaim-inside-release")
@for_("single-claimer", "reclaim-inside-extend")
class ChecksThenActs(Toy):
    """A holder is known to be the current one by the time that it looked."""

    def release(self, *, claim):
        with self.jobs() as jobs:
            self.current(jobs, claim)
        with self.jobs() as jobs:
            job = next(job for job in jobs if job["id"] == claim.job_id)
            job |= {"attempt": claim.attempt}
            self.give_back(job)

    def extend(self, *, claim):
        with self.jobs() as jobs:
            self.current(jobs, claim)
        with self.jobs() as jobs:
            job = next(job for job in jobs if job["id"] == claim.job_id)
            job |= {"due": self.lease_end(job, self.now()), "claim": claim.claim_id, "state": "held"}
            return self.claim_of(job)


@for_("reclaim-on-expiry", "heartbeats-then-death")
class HeartbeatsAddUp(Toy):
    """Each heartbeat adds a lease to what is left."""

    def extend(self, *, claim):
        with self.jobs() as jobs:
            job = self.current(jobs, claim)
            job["due"] += self.ttl
            return self.claim_of(job)


@for_("reclaim-on-expiry", "reclaim-on-an-idle-queue")
class ReclaimsOnlyWhenBusy(Toy):
    """Expired jobs are looked for only when there is other work."""

    def found(self, jobs, now):
        is_busy = any(job["state"] == "waiting" for job in jobs)
        return super().found(jobs, now) if is_busy else None


@for_("reclaim-on-expiry", "reclaim-under-arrivals")
class ReclaimsOnlyWhenIdle(Toy):
    """Expired jobs are looked for only when there is no other work."""

    def found(self, jobs, now):
        waiting = [job for job in jobs if job["state"] == "waiting"]
        return super().found(waiting, now) or super().found(jobs, now)


@for_("single-claimer", "reclaim-at-its-first-moment")
class WholeSeconds(Toy):
    """The end of a lease is kept in whole seconds, and nothing is allowed for clocks."""

    def lease_end(self, job, now):
        return int(now + self.ttl)

    def is_free(self, job, now):
        return job["state"] in {"waiting", "held"} and job["due"] <= now


@for_("single-claimer", "clocks-differ-by-e", "clocks-differ-by-less-than-e", "clocks-drift", "clocks-strobe")
class NothingForClocks(Toy):
    """A lease has ended when the clock of whoever looks says so."""

    def is_free(self, job, now):
        return job["state"] in {"waiting", "held"} and job["due"] <= now


@for_("fencing", "clocks-differ-by-more-than-e")
class TrustsItsOwnClock(Toy):
    """A holder whose lease has not ended by its own clock may finish."""

    def ack(self, *, claim):
        with self.jobs() as jobs:
            if self.now() < claim.due:
                jobs[:] = [job for job in jobs if job["id"] != claim.job_id]
            else:
                jobs.remove(self.current(jobs, claim))


@for_("single-claimer", "clocks-jump")
class VoidsLeasesWhenTimeGoesBack(Toy):
    """A clock that shows less than the last time is taken for a restart of everything."""

    last = 0.0

    def claim(self, *, worker_id):
        now, before = self.now(), self.last
        self.last = now
        if now < before:
            with self.jobs() as jobs:
                for job in jobs:
                    job["due"] = min(job["due"], 0)
        return super().claim(worker_id=worker_id)


@for_("single-claimer", "time-zones")
class LocalTime(Toy):
    """It keeps times as the clock on the wall shows them."""

    def now(self):
        return (datetime.now() - datetime(2030, 1, 1)).total_seconds()  # noqa: DTZ001, DTZ005 - the defect
