"""Does unmodified code have the time, the chance and the identity of a process of its own?"""

# Each call is asked for in its plainest form:
# ruff: noqa: S311, PLW0108

import os
import platform
import random
import secrets
import signal
import socket
import sqlite3
import tempfile
import threading
import time
import uuid
from datetime import UTC, date, datetime
from pathlib import Path
from time import sleep as nap
from time import time as early_time

import pytest

from simulated import together, told
from ssq_verify.execution import scratch
from ssq_verify.simulation import interposition
from ssq_verify.simulation.clock import EPOCH
from ssq_verify.simulation.point import NotSimulatable

YEAR_SECONDS = 366 * 86_400


interposition.install()


def year_of(stamp):
    """Return the year of a POSIX timestamp."""
    return datetime.fromtimestamp(stamp, UTC).year


CLOCKS = {
    "time.time": lambda: year_of(time.time()),
    "time.time, bound before": lambda: year_of(early_time()),
    "time.time_ns": lambda: year_of(time.time_ns() / 1e9),
    "time.clock_gettime": lambda: year_of(time.clock_gettime(time.CLOCK_REALTIME)),
    "time.clock_gettime_ns": lambda: year_of(time.clock_gettime_ns(time.CLOCK_REALTIME) / 1e9),
    "time.gmtime": lambda: time.gmtime().tm_year,
    "time.localtime": lambda: time.localtime().tm_year,
    "time.strftime": lambda: int(time.strftime("%Y")),
    "time.ctime": lambda: int(time.ctime()[-4:]),
    "time.asctime": lambda: int(time.asctime()[-4:]),
    "datetime.now": lambda: datetime.now().year,  # noqa: DTZ005 - the point
    "datetime.now(UTC)": lambda: datetime.now(UTC).year,
    "datetime.utcnow": lambda: datetime.utcnow().year,  # noqa: DTZ003 - the point
    "datetime.today": lambda: datetime.today().year,  # noqa: DTZ002 - the point
    "date.today": lambda: date.today().year,  # noqa: DTZ011 - the point
    "uuid.uuid1": lambda: year_of((uuid.uuid1().time - 0x01B21DD213814000) / 1e7),
    "SQL": lambda: int(sqlite3.connect(":memory:").execute("SELECT strftime('%Y')").fetchone()[0]),
}


@pytest.mark.scenario("simulation/each-way-to-ask-for-the-time")
@pytest.mark.filterwarnings("ignore:.*utcnow:DeprecationWarning")
@pytest.mark.parametrize("ask", CLOCKS.values(), ids=CLOCKS)
def test_every_way_to_ask_for_the_time_tells_the_workers(ask):
    """A worker whose clock is two years ahead sees 2032 however it asks; outside of it time is real."""

    def ahead(worker, _folder):
        worker.clock.offset_seconds = 2 * YEAR_SECONDS
        return ask()

    assert told(ahead, lambda _worker, _folder: ask()) == [2032, 2030]
    assert time.time() < EPOCH.timestamp()


@pytest.mark.parametrize(
    "clock", ["monotonic", "perf_counter", "process_time", "thread_time", "monotonic_ns", "perf_counter_ns"]
)
def test_other_clocks_show_the_true_virtual_time(clock):
    """Whatever its wall clock says, an hour of sleep is an hour, and takes no time."""

    def program(worker, _folder):
        worker.clock.rate = 2.0
        before = getattr(time, clock)()
        nap(3600)
        return getattr(time, clock)() - before

    assert told(program) == (3600e9 if clock.endswith("_ns") else 3600)
    assert told(lambda _worker, _folder: time.clock_gettime(time.CLOCK_MONOTONIC)) == 0


@pytest.mark.scenario("simulation/workers-in-different-time-zones")
def test_each_worker_is_in_its_own_time_zone():
    """Local time, and TZ itself, are those of the worker that runs; the host's are back afterwards."""
    host = os.environ.get("TZ"), time.tzname

    def program(zone):
        def run(worker, _folder):
            worker.clock.zone = zone
            worker.sleep(1)
            return datetime.now().hour, time.localtime().tm_hour, os.environ["TZ"]  # noqa: DTZ005 - the point

        return run

    assert told(program("XXX-9"), program("YYY+5")) == [(9, 9, "XXX-9"), (19, 19, "YYY+5")]
    assert (os.environ.get("TZ"), time.tzname) == host


def test_a_drift_grows_until_its_bound():
    """A clock that goes one part in a hundred fast is 36 s ahead after an hour, and stops at its bound."""

    def program(worker, _folder):
        worker.sleep(1000)
        worker.clock.rate, worker.clock.offset_max_seconds = 1.01, 50
        worker.sleep(3600)
        after_an_hour = worker.clock.offset_seconds
        worker.sleep(36_000)
        return round(after_an_hour, 3), worker.clock.offset_seconds

    assert told(program) == (36, 50)


def test_a_strobing_clock_jumps_to_and_fro():
    """It is ahead and behind around its offset, from one look to the next or the one after, in no period."""

    def program(worker, _folder):
        worker.clock.strobe_seconds, worker.clock.offset_seconds = 5, 100
        seen = []
        for _ in range(8):
            worker.clock.shown()  # the history's look is nobody's
            seen.append(round(time.time() - EPOCH.timestamp()))
        return seen

    assert told(program) == [105, 105, 95, 105, 95, 95, 105, 105]


def test_a_world_at_rest_leaves_the_clocks_alone():
    """No traveller is left behind by a run, not even by one that fails."""

    def fails(_worker):
        raise RuntimeError

    with scratch() as folder, pytest.raises(RuntimeError):
        together(folder, fails)
    assert abs(time.time() - time.clock_gettime(time.CLOCK_REALTIME)) < 60
    assert datetime.now(UTC).year < EPOCH.year


CHANCES = {
    "os.urandom": lambda: os.urandom(8),
    "os.getrandom": lambda: os.getrandom(8),
    "random.random": lambda: random.random(),
    "random.choice": lambda: random.choice(range(10**6)),
    "random.Random()": lambda: random.Random().random(),
    "random.SystemRandom": lambda: random.SystemRandom().random(),
    "secrets": lambda: secrets.token_hex(),
    "uuid.uuid1": lambda: uuid.uuid1().hex,
    "uuid.uuid4": lambda: uuid.uuid4().hex,
    "tempfile": lambda: Path(tempfile.mktemp()).name,  # noqa: S306 - the name alone
    "SQL": lambda: sqlite3.connect(":memory:").execute("SELECT random()").fetchone(),
}


@pytest.mark.scenario("simulation/each-way-to-ask-for-chance")
@pytest.mark.parametrize("draw", CHANCES.values(), ids=CHANCES)
def test_chance_is_the_workers_own_and_repeats(draw):
    """Two workers draw different numbers, and a second run the same ones again; so does another process."""

    def program(_worker, _folder):
        return draw()

    first = told(program, program)
    assert first[0] != first[1]
    assert told(program, program) == first


def test_seeding_the_modules_generator_reaches_nobody_else():
    """`random.seed` makes a worker's own numbers known, as in a process, and leaves the bytes of its host."""

    def seeds(_worker, _folder):
        random.seed(1)
        return random.random(), os.urandom(4)

    state = random.getstate()
    (one, bytes_of_one), (other, bytes_of_other) = told(seeds, seeds)
    assert one == other == random.Random(1).random()
    assert bytes_of_one != bytes_of_other
    assert random.getstate() == state


def test_a_process_is_known_by_numbers_of_its_own_on_one_host():
    """Process and thread numbers differ between workers and stay; parent and host are the same for all."""

    def program(_worker, _folder):
        own = os.getpid(), threading.get_ident(), threading.get_native_id()
        shared = os.getppid(), socket.gethostname(), platform.node(), os.uname().nodename, uuid.getnode()
        return own, shared, threading.current_thread() is threading.main_thread()

    (one, host, is_main), (other, same, _) = told(program, program)
    assert set(one).isdisjoint(other)
    assert host == same
    assert is_main
    assert os.getpid() not in one


def test_a_process_can_be_asked_whether_it_lives():
    """Signal 0 reaches a process that lives, and no longer one that has died; another signal is refused."""
    found = []

    def dies(worker):
        worker.sleep(1)
        worker.die()

    def asks(worker):
        for seconds in (0, 2):
            worker.sleep(seconds)
            try:
                os.kill(1000, 0)
                found.append("alive")
            except ProcessLookupError:
                found.append("dead")

    with scratch() as folder:
        together(folder, dies, asks)
    assert found == ["alive", "dead"]
    with pytest.raises(NotSimulatable, match="a signal"):
        told(lambda _worker, _folder: os.kill(1000, signal.SIGTERM))


def test_a_signal_handler_is_kept_and_never_called():
    """A worker's handler is its own business; the harness keeps its own."""
    ours = signal.getsignal(signal.SIGTERM)

    def program(_worker, _folder):
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return before, signal.getsignal(signal.SIGTERM)

    assert told(program) == (signal.SIG_DFL, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) is ours
