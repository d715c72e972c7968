"""The file queue of this package, which syncs nothing: it survives a process's crash, not a loss of power."""

from ssq_verify.subjects.file import open_unsynced as open_queue

__all__ = ["open_queue"]
