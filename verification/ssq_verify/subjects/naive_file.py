"""The file queue that people write first: one JSON file a job, claimed by rename.

It is kept as it is because its defects are real ones. It lacks: a check that a claim is still current (any
ack succeeds), a count of attempts (a poison job comes back for ever), a look at claimed jobs when one is
enqueued (the job then runs twice at once), a turn for expired jobs while others wait, order of arrival (it
sorts by name), an enqueue that appears whole, a claim that survives a kill between its two renames,
tolerance for a damaged record, allowance for wrong clocks, and any sync.
"""

import json
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ssq_core.queue import Clock
from ssq_verify.subject import Policy


@dataclass(frozen=True)
class NaiveClaim:
    """What a claim returns."""

    job_id: str
    claim_id: str
    worker_id: str
    claimed_at: datetime
    lease_expires_at: datetime


class NaiveFileQueue:
    """`queued/<job_id>.json` becomes `claimed/<job_id>__<claim_id>.json` becomes nothing."""

    def __init__(self, queue_dir: Path, lease_ttl_seconds: float, clock: Clock) -> None:
        self.queued = queue_dir / "queued"
        self.claimed = queue_dir / "claimed"
        self.lease_ttl = timedelta(seconds=lease_ttl_seconds)
        self.clock = clock
        self.queued.mkdir(parents=True, exist_ok=True)
        self.claimed.mkdir(parents=True, exist_ok=True)

    def enqueue(self, job_id: str) -> None:
        """Create the job's file and write into it."""
        with (self.queued / f"{job_id}.json").open("w") as file:
            json.dump({"job_id": job_id}, file)

    def claim(self, *, worker_id: str) -> NaiveClaim | None:
        """Take the first waiting job, or else one whose lease has expired."""
        for path in sorted(self.queued.glob("*.json")):
            claim = self._take(path, path.stem, worker_id)
            if claim is not None:
                return claim
        for path in sorted(self.claimed.glob("*.json")):
            record = json.loads(path.read_text())
            if datetime.fromisoformat(record["lease_expires_at"]) < self.clock():
                claim = self._take(path, record["job_id"], worker_id)
                if claim is not None:
                    return claim
        return None

    def ack(self, *, claim: NaiveClaim) -> None:
        """Remove the claimed file."""
        self._claimed_path(claim.job_id, claim.claim_id).unlink(missing_ok=True)

    def release(self, *, claim: NaiveClaim) -> None:
        """Move the claimed file back."""
        self._claimed_path(claim.job_id, claim.claim_id).rename(self.queued / f"{claim.job_id}.json")

    def _take(self, path: Path, job_id: str, worker_id: str) -> NaiveClaim | None:
        claim_id = uuid.uuid4().hex
        taken = self.claimed / f"{job_id}__{claim_id}.tmp"
        try:
            path.rename(taken)
        except FileNotFoundError:
            return None
        record: dict[str, Any] = json.loads(taken.read_text())
        now = self.clock()
        claim = NaiveClaim(job_id, claim_id, worker_id, now, now + self.lease_ttl)
        record |= {
            "claim_id": claim_id,
            "worker_id": worker_id,
            "claimed_at": claim.claimed_at.isoformat(),
            "lease_expires_at": claim.lease_expires_at.isoformat(),
        }
        taken.write_text(json.dumps(record))
        taken.rename(self._claimed_path(job_id, claim_id))
        return claim

    def _claimed_path(self, job_id: str, claim_id: str) -> Path:
        return self.claimed / f"{job_id}__{claim_id}.json"


def open_queue(workdir: Path, policy: Policy) -> NaiveFileQueue:
    """Open the queue for one worker; it declares no promises, so it is held to the whole contract."""
    return NaiveFileQueue(workdir, policy.lease_ttl_seconds, policy.clock)
