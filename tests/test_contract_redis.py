"""Does the Redis queue keep the contract, by its server's clock?"""

import pytest

pytest.register_assert_rewrite("ssq_verify.contract", "ssq_verify.workplace")

from ssq_verify.contract import ServerTimeContract  # noqa: E402 - after its assertions are made to speak


@pytest.mark.usefixtures("redis_subject")
class TestRedis(ServerTimeContract):
    """The Redis queue."""

    subject = "redis"
