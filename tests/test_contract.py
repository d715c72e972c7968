"""Do the backends of this package, and the model answer, keep the contract?"""

import pytest

pytest.register_assert_rewrite("ssq_verify.contract", "ssq_verify.workplace")

from ssq_verify.contract import LeaseQueueContract  # noqa: E402 - after its assertions are made to speak


class TestFile(LeaseQueueContract):
    """The file queue."""

    subject = "file"


class TestSqlite(LeaseQueueContract):
    """The SQLite queue."""

    subject = "sqlite"


class TestMemory(LeaseQueueContract):
    """The queue that a reader compares others with."""

    subject = "memory"
    race_in = "threads"
