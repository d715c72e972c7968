"""Can each scenario of the catalogue find something? Each catches the defect that it is for."""

# ruff: noqa: D102, ARG002 - a defect is told by its class, and its methods are called as a queue's are

import base64
import fcntl
import json
import os
import uuid
from contextlib import contextmanager
from datetime import datetime
from itertools import zip_longest
from types import SimpleNamespace

import pytest

from ssq_core.queue import LeaseLost
from ssq_verify.execution import scratch
from ssq_verify.history import Terms, joined
from ssq_verify.judge import judge, violations
from ssq_verify.machine import SETTINGS
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.scenarios import CATALOGUE, offered
from ssq_verify.simulation.strategies import AtRandom, StrikeAt
from ssq_verify.simulation.tape import Replay
from ssq_verify.subject import Subject
from ssq_verify.verdict import Finding

TERMS = Terms(
    lease_ttl_seconds=SETTINGS.lease_ttl_seconds,
    max_clock_skew_seconds=SETTINGS.max_clock_skew_seconds,
    backoff_base_seconds=SETTINGS.backoff_base_seconds,
)
PLAIN = Replay(())
SEEDS, BATCH = 320, 40


class Toy:
    """A correct queue: one file of jobs, read and written whole under one lock."""

    def __init__(self, workdir, policy):
        self.folder, self.policy = workdir, policy
        self.ttl, self.skew = policy.lease_ttl_seconds, policy.max_clock_skew_seconds

    @contextmanager
    def jobs(self):
        """Give all jobs, the oldest first, to be changed by nobody else meanwhile."""
        lock = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            jobs = self.read()
            yield jobs
            self.write(jobs)
        finally:
            os.close(lock)

    def read(self):
        """Return what the file says."""
        path = self.folder / "jobs.json"
        return json.loads(path.read_text()) if path.exists() else []

    def write(self, jobs):
        """Put another file in its place."""
        path = self.folder / f"{os.getpid()}.tmp"
        path.write_text(json.dumps(jobs))
        path.replace(self.folder / "jobs.json")

    def now(self):
        """Return the time in seconds, to the microsecond."""
        return round(self.policy.clock().timestamp(), 6)

    def enqueue(self, job_id, *, payload=b""):
        """Add a job that is not there."""
        with self.jobs() as jobs:
            if all(job["id"] != job_id for job in jobs):
                jobs.append(self.new(job_id, payload))

    def new(self, job_id, payload):
        """Return a waiting job."""
        text = base64.b64encode(payload).decode()
        return {
            "id": job_id,
            "payload": text,
            "state": "waiting",
            "attempt": 0,
            "due": 0,
            "claim": None,
        }

    def claim(self, *, worker_id):
        """Take the first job that is to be had."""
        now = self.now()
        with self.jobs() as jobs:
            job = self.found(jobs, now)
            return None if job is None else self.take(job, now)

    def found(self, jobs, now):
        """Return the first job that is to be had; what has used its last attempt is buried."""
        for job in jobs:
            if self.is_free(job, now):
                if job["attempt"] < self.policy.retry.max_attempts:
                    return job
                job["state"] = "dead"
        return None

    def is_free(self, job, now):
        """Whether a job is to be had."""
        allowance = {"waiting": 0.0, "held": self.skew}.get(job["state"])
        return allowance is not None and job["due"] + allowance <= now

    def take(self, job, now):
        """Let a job be held."""
        job |= {"state": "held", "attempt": job["attempt"] + 1, "due": self.lease_end(job, now)}
        job["claim"] = uuid.uuid4().hex
        return self.claim_of(job)

    def lease_end(self, job, now):
        """Return when a lease ends that begins now; a microsecond later, for it is taken from there on."""
        return round(now + self.ttl + 1e-6, 6)

    def claim_of(self, job):
        """Return what the holder gets."""
        payload = base64.b64decode(job["payload"])
        return SimpleNamespace(
            job_id=job["id"], claim_id=job["claim"], attempt=job["attempt"], payload=payload, due=job["due"]
        )

    def current(self, jobs, claim):
        """Return the job of a claim that is current."""
        for job in jobs:
            if job["claim"] == claim.claim_id and job["state"] == "held":
                return job
        raise LeaseLost(claim.job_id, "it is somebody else's")

    def ack(self, *, claim):
        """Finish a job."""
        with self.jobs() as jobs:
            jobs.remove(self.current(jobs, claim))

    def release(self, *, claim):
        """Give a job back."""
        with self.jobs() as jobs:
            self.give_back(self.current(jobs, claim))

    def give_back(self, job):
        """Let a job rest, or bury it."""
        retry = self.policy.retry
        job["state"] = "waiting" if job["attempt"] < retry.max_attempts else "dead"
        job["due"] = self.now() + retry.backoff_seconds(job["attempt"])

    def extend(self, *, claim):
        """Start a lease anew."""
        with self.jobs() as jobs:
            job = self.current(jobs, claim)
            job["due"] = self.lease_end(job, self.now())
            return self.claim_of(job)

    def dead(self):
        """Return the dead letters."""
        found = [job for job in self.read() if job["state"] == "dead"]
        return [SimpleNamespace(job_id=job["id"], attempts=job["attempt"]) for job in found]

    def requeue_dead(self, job_id):
        """Give a dead job a new incarnation."""
        with self.jobs() as jobs:
            for job in jobs:
                if job["id"] == job_id and job["state"] == "dead":
                    job |= {"state": "waiting", "attempt": 0, "due": 0}
                    return True
        return False


DEFECTS = []


def for_(invariant, *names):
    """Say which scenarios have to catch a defect, by which invariant."""

    def noted(toy):
        DEFECTS.extend((name, toy, invariant) for name in names)
        return toy

    return noted


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


@for_("linearizable", "claim-and-release-overtake-a-claim")
class TakesWhatItSaw(Toy):
    """A claim looks for a job, and then takes it if it still waits, whatever became of it in between."""

    def claim(self, *, worker_id):
        now = self.now()
        with self.jobs() as jobs:
            seen = self.found(jobs, now)
        if seen is None:
            return None
        with self.jobs() as jobs:
            for job in jobs:
                if job["id"] == seen["id"] and job["state"] == "waiting":
                    return self.take(job, now)
        return None


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


@for_("single-claimer", "clocks-differ-by-e", "clocks-differ-by-less-than-e", "clocks-drift")
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
                if job["id"] == seen["id"]:
                    return self.take(job, now)
        return None


def histories(scenario, strategies, toy):
    """Return the histories of these schedules."""
    subject = Subject(reference=toy.__name__, factory=toy)
    found = []
    for strategy in strategies:
        with scratch() as workdir:
            found.append(simulate(scenario, subject, strategy, workdir).history)
    return found


def batches(scenario):
    """Yield the plainest schedule, a kill at each point if there may be any, and then what chance brings."""
    yield [PLAIN]
    if scenario.faults.kills:
        yield [StrikeAt("kill", number) for number in range(1, BATCH)]
    for first in range(0, SEEDS, BATCH):
        yield [AtRandom(seed, preempt=0.25) for seed in range(first, first + BATCH)]


def is_caught(name, toy, invariant):
    """Whether some schedule of a scenario breaks an invariant."""
    scenarios = CATALOGUE[name](SETTINGS, TERMS)
    for tried in zip_longest(*map(batches, scenarios), fillvalue=()):
        runs = [histories(*each, toy) for each in zip(scenarios, tried, strict=True)]
        if violations(joined([history for run in runs for history in run]), invariant):
            return True
    return False


@pytest.mark.scenario("simulation/each-scenario-finds-its-defect")
@pytest.mark.parametrize(
    ("name", "toy", "invariant"), DEFECTS, ids=lambda each: getattr(each, "__name__", each)
)
def test_a_scenario_catches_the_defect_that_it_is_for(name, toy, invariant):
    """Some schedule of the scenario breaks the invariant that the defect is about."""
    assert is_caught(name, toy, invariant)


def test_no_scenario_is_there_for_nothing():
    """Each scenario of the catalogue has caught a defect above."""
    assert {name for name, _, _ in DEFECTS} == set(CATALOGUE)


def test_the_toy_without_a_defect_is_not_accused():
    """The queue from which all of them are made keeps every promise, in all scenarios."""
    found = [
        history
        for _, scenario in offered(SETTINGS, TERMS)
        for history in histories(scenario, [PLAIN, *map(AtRandom, range(3))], Toy)
    ]

    verdicts = judge(joined(found), ways=("simulation",))
    assert [each for each in verdicts if each.verdict is Finding.VIOLATED] == []
