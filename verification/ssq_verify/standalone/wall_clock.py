"""What time does code read that asks the system? The time of the run, as its worker's clock shows it."""

import datetime as dt
import time
from typing import Any

from ssq_verify.standalone.answers import clock, run

real_localtime, real_gmtime = time.localtime, time.gmtime


class OfRealOnes(type):
    """Lets a stand-in take the real class's objects for its own."""

    def __instancecheck__(cls, one: object) -> bool:
        return isinstance(one, cls.__mro__[1])


class Datetime(dt.datetime, metaclass=OfRealOnes):
    """A datetime whose now is the run's."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        """Return the worker's time."""
        return super().fromtimestamp(now(), tz)

    @classmethod
    def utcnow(cls) -> Any:
        """Return the worker's time in UTC."""
        return super().fromtimestamp(now(), dt.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> Any:
        """Return the worker's time."""
        return cls.now()


class Date(dt.date, metaclass=OfRealOnes):
    """A date whose today is the run's."""

    @classmethod
    def today(cls) -> Any:
        """Return the worker's day."""
        return super().fromtimestamp(now())


def now() -> float:
    """Return the time of whoever is at work, in seconds of the epoch."""
    return clock(run.worker).timestamp()


def show_the_runs_time() -> None:
    """Put the stand-ins in their places."""
    vars(dt).update(datetime=Datetime, date=Date)
    vars(time).update(
        time=now,
        time_ns=lambda: round(now() * 1e6) * 1_000,
        monotonic=lambda: run.now_ns / 1e9,
        monotonic_ns=lambda: run.now_ns,
        perf_counter=lambda: run.now_ns / 1e9,
        localtime=lambda seconds=None: real_localtime(now() if seconds is None else seconds),
        gmtime=lambda seconds=None: real_gmtime(now() if seconds is None else seconds),
    )
