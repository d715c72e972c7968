"""A minimal lease-based job queue: the vocabulary and one module for each backend."""

from ssq_core.queue import (
    DeadJob,
    InvalidJobId,
    LeaseLost,
    LeaseQueue,
    QueueBusy,
    QueueClaim,
    QueueDataCorruptedError,
    QueueError,
    QueueIOError,
    QueueStats,
    RetryPolicy,
    UnsupportedFilesystem,
    UnsupportedSchema,
    WorkerQueue,
    utc_now,
)
from ssq_core.registry import open_queue

__all__ = [
    "DeadJob",
    "InvalidJobId",
    "LeaseLost",
    "LeaseQueue",
    "QueueBusy",
    "QueueClaim",
    "QueueDataCorruptedError",
    "QueueError",
    "QueueIOError",
    "QueueStats",
    "RetryPolicy",
    "UnsupportedFilesystem",
    "UnsupportedSchema",
    "WorkerQueue",
    "open_queue",
    "utc_now",
]
