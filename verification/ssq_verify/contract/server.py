"""What if the server keeps the time? Then no worker's clock matters, and E is 0 for any skew."""

from datetime import timedelta
from typing import ClassVar

import pytest

from ssq_verify.contract.suite import Feature, Suite
from ssq_verify.workplace import LEASE_TTL, MICROSECOND, Workplace, claimed


class ServerTime(Suite):
    """Times by a clock that all workers share."""

    not_offered: ClassVar[frozenset[Feature]] = frozenset({"worker clocks"})
    max_clock_skew: ClassVar[timedelta] = timedelta(0)

    @pytest.mark.scenario("lease-queue/where-the-server-keeps-the-time-no-worker-s-clock-matters")
    @pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(hours=-1)])
    def test_no_workers_clock_matters(self, place: Workplace, ahead: timedelta) -> None:
        """A worker an hour ahead, or behind, takes an expired job when others do, and holds it as long."""
        wrong, right = place.handle(ahead=ahead), place.handle()
        wrong.enqueue("j1")
        claim = claimed(wrong)

        assert claim.claimed_at == place.clock.now
        place.clock.advance(LEASE_TTL)
        assert wrong.claim(worker_id="w1") is None
        assert right.claim(worker_id="w2") is None
        place.clock.advance(MICROSECOND)
        assert claimed(wrong).attempt == 2
