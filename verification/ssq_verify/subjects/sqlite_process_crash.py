"""The SQLite queue of this package, which syncs its log now and then, not at each commit."""

from ssq_verify.subjects.sqlite import open_unsynced as open_queue

__all__ = ["open_queue"]
