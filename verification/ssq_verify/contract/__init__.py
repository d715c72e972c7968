"""The contract of a lease queue as a pytest suite: name your queue in a subclass, and each promise is a test.

    from ssq_verify.contract import LeaseQueueContract

    class TestMyQueue(LeaseQueueContract):
        subject = "my_queue.py:open_queue"

`pytest_plugins = ["ssq_verify.contract"]` in your `conftest.py` makes failures show their values. The queue
must take its time from `policy.clock`, or its server from `policy.server_time` (`ServerTimeContract`): the
tests move these clocks by hand and never sleep.
"""

import pytest

from ssq_verify.contract.attempts import Attempts
from ssq_verify.contract.batches import Batches
from ssq_verify.contract.claiming import Claiming
from ssq_verify.contract.clocks import Clocks
from ssq_verify.contract.holding import Holding
from ssq_verify.contract.interface import Interface
from ssq_verify.contract.server import ServerTime
from ssq_verify.contract.waiting import Waiting

__all__ = ["LeaseQueueContract", "ServerTimeContract", "pytest_configure"]


def pytest_configure(config: pytest.Config) -> None:
    """Register this suite's marker."""
    config.addinivalue_line("markers", "scenario(id): the scenario of the specification that this test shows")


class LeaseQueueContract(Waiting, Batches, Clocks, Attempts, Holding, Claiming, Interface):
    """Every queue passes these. Name a `subject`, or override `open`."""


class ServerTimeContract(ServerTime, LeaseQueueContract):
    """Every queue whose server keeps the time passes these instead."""
