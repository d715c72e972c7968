"""What does an adapter hand out for a queue that knows neither its users' job ids nor bytes?"""

import base64
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ssq_core.queue import LeaseLost


@dataclass(kw_only=True, slots=True)
class AdaptedClaim:
    """A claim in the contract's words, and what the package itself knows it by."""

    job_id: str
    claim_id: str
    payload: bytes
    receipt: Any
    is_over: bool = False
    """Kept by an adapter of a package whose holders settle a job once: they finish it or give it back."""


def packed(job_id: str, payload: bytes) -> str:
    """Return a job as one text, for queues that take texts."""
    return json.dumps({"job_id": job_id, "payload": base64.b64encode(payload).decode()})


def claim_of(text: str | bytes, receipt: Any) -> AdaptedClaim:
    """Return the claim of a job that was packed."""
    job = json.loads(text)
    return AdaptedClaim(
        job_id=job["job_id"],
        claim_id=uuid.uuid4().hex,
        payload=base64.b64decode(job["payload"]),
        receipt=receipt,
    )


def check_held(claim: AdaptedClaim) -> None:
    """Raise `LeaseLost` for a claim that its holder has settled already."""
    if claim.is_over:
        raise LeaseLost(claim.job_id, claim.claim_id)


def settle_once(claim: AdaptedClaim, operation: Callable[[], object]) -> None:
    """Finish a claim, or give it back, by what the package does. Raises `LeaseLost` the second time."""
    check_held(claim)
    operation()
    claim.is_over = True
