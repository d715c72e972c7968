"""What is a correct queue that is small enough to be broken in one place? One file of jobs, one lock."""

# ruff: noqa: ARG002 - a defect is told by its class, and its methods are called as a queue's are

import base64
import fcntl
import json
import os
import uuid
from contextlib import contextmanager
from types import SimpleNamespace

from ssq_core.queue import LeaseLost


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


def for_(invariant, *names):
    """Say which scenarios have to catch a defect, by which invariant."""

    def noted(toy):
        toy.caught = (*vars(toy).get("caught", ()), *((name, invariant) for name in names))
        return toy

    return noted


def defects(module):
    """Yield each defect of a module with a scenario that has to catch it, and by which invariant."""
    for toy in vars(module).values():
        if getattr(toy, "__module__", "") == module.__name__:
            yield from ((name, toy, invariant) for name, invariant in toy.caught)
