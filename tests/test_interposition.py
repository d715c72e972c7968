"""Does unmodified code get in a worker what it would get in a process, whichever way it asks?"""

# Each call is asked for in its plainest form:
# ruff: noqa: PTH101, PTH104, PTH109, PTH116, PTH204, PTH208, PTH211, S311, S605, S606, S607, PLW0108, SIM105

import asyncio
import concurrent.futures
import ctypes
import fcntl
import io
import mmap
import multiprocessing
import os
import platform
import queue
import random
import secrets
import select
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from datetime import UTC, date, datetime
from pathlib import Path
from time import sleep as nap
from time import time as early_time

import pytest

from ssq_verify.execution import scratch
from ssq_verify.simulation import interposition
from ssq_verify.simulation.clock import EPOCH, EPOCH_NS
from ssq_verify.simulation.point import NotSimulatable
from ssq_verify.simulation.tape import Replay, Tape
from ssq_verify.simulation.world import State, World

DAY_NS = 86_400_000_000_000
YEAR_SECONDS = 366 * 86_400
MODULE_LOCK = threading.Lock()
KEPT_FILES = []


class Keeper:
    """A class that keeps a lock, and a function that it was given before any simulation."""

    lock = threading.Lock()
    rename = os.rename

    def __init__(self, pause=nap):
        self.pause = pause


interposition.install()


def together(folder, *programs, names=("w1", "w2", "w3")):
    """Run these programs as workers, the plainest way, and return the world. Raises what they raise."""
    world = World(Tape(Replay(())), str(folder))
    for name, program in zip(names, programs, strict=False):
        world.add(name, program)
    try:
        world.run()
        for worker in world.workers:
            if worker.failure is not None:
                raise worker.failure
        return world
    finally:
        world.close()


def told(program, *more):
    """Return what a worker's program returns, in a folder of its own; of several, a list."""
    answers = {}

    def asked(number, run):
        return lambda worker: answers.setdefault(number, run(worker, folder))

    with scratch() as folder:
        together(folder, *[asked(number, run) for number, run in enumerate((program, *more))])
    return [answers[number] for number in sorted(answers)] if more else answers[0]


def points(program):
    """Return the points that a program passes, as `call detail`."""
    with scratch() as folder:
        (folder / "there").write_bytes(b"content")
        (folder / "inner").mkdir()
        world = together(folder, lambda _worker: program(folder))
    return [f"{passed.point.call} {passed.point.detail}" for passed in world.trace]


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
    """It is ahead and behind in turns, from one microsecond to the next, around its offset."""

    def program(worker, _folder):
        worker.clock.strobe_seconds, worker.clock.offset_seconds = 5, 100
        seen = []
        for _ in range(4):
            worker.world.time.tick()
            seen.append(round(worker.clock.look_ns() / 1e9 - EPOCH.timestamp()))
        return seen

    assert told(program) == [105, 95, 105, 95]


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


def test_file_times_are_virtual():
    """A file is as old as virtual time says, for each way to look; a rename changes its ctime alone."""

    def program(worker, folder):
        path = folder / "file"
        worker.sleep(10)
        path.write_text("first")
        worker.sleep(10)
        with path.open("a") as file:
            file.write("second")
        worker.sleep(10)
        path = path.rename(folder / "renamed")
        with os.scandir(folder) as entries:
            (entry,) = entries
        fd = os.open(path, os.O_RDONLY)
        looks = [path.stat(), os.lstat(path), os.fstat(fd), os.stat(fd), entry.stat()]
        os.close(fd)
        assert os.path.getmtime(path) == looks[0].st_mtime == looks[0][8]
        found = {(look.st_mtime_ns - EPOCH_NS, look.st_ctime_ns - EPOCH_NS, look.st_ino) for look in looks}
        return found, folder.stat().st_mtime_ns - EPOCH_NS, looks[0].st_size

    times, folders, size = told(program)
    assert [(modified, changed) for modified, changed, _ in times] == [(20 * 10**9, 30 * 10**9)]
    assert folders == 30 * 10**9
    assert size == len("firstsecond")


def test_file_times_can_be_set():
    """`utime`, by path and by descriptor, and `touch` set what `stat` then shows."""

    def program(worker, folder):
        path = folder / "file"
        path.touch()
        os.utime(path, (5, 7))
        by_path = path.stat().st_atime, path.stat().st_mtime
        with path.open() as file:
            os.utime(file.fileno(), ns=(1, 2))
        by_descriptor = path.stat().st_atime_ns, path.stat().st_mtime_ns
        worker.sleep(3)
        path.touch()
        return by_path, by_descriptor, path.stat().st_mtime_ns - EPOCH_NS

    assert told(program) == ((5, 7), (1, 2), 3 * 10**9)


def test_a_link_shows_the_times_of_what_it_leads_to():
    """A symbolic link has times of its own, a second name those of its file."""

    def program(worker, folder):
        (folder / "file").touch()
        worker.sleep(5)
        (folder / "link").symlink_to("file")
        os.link(folder / "file", folder / "second")
        looks = (folder / "link").stat(), (folder / "link").lstat(), (folder / "second").stat()
        return [(look.st_mtime_ns - EPOCH_NS) // 10**9 for look in looks]

    assert told(program) == [0, 5, 0]


def test_what_copies_and_removes_trees_is_reached():
    """`shutil` and `pathlib` are made of calls that stop at points, folders as descriptors included."""
    seen = points(
        lambda folder: (shutil.copytree(folder / "inner", folder / "copy"), shutil.rmtree(folder / "copy"))
    )
    assert "os.mkdir copy" in seen
    assert "os.rmdir copy" in seen
    seen = points(lambda folder: shutil.copyfile(folder / "there", folder / "copy"))
    assert any("there -> copy" in point for point in seen)


def at(folder, call, *names, **more):
    """Make a call with names relative to a folder's descriptor."""
    fd = os.open(folder, os.O_RDONLY)
    keys = ("src_dir_fd", "dst_dir_fd") if len(names) > 1 else ("dir_fd",)
    result = call(*names, **dict.fromkeys(keys, fd), **more)
    os.close(fd)
    return result


def refused(call, *args, **kwargs):
    """Make a call that the system refuses, or that finds nothing."""
    with pytest.raises((OSError, queue.Empty)):
        call(*args, **kwargs)


def synced(path):
    """Sync a file that was opened by `open`."""
    with path.open("r+b") as file:
        file.write(b"x")
        file.flush()
        os.fsync(file)


CALLS = {
    "os.rename there -> inner/x": lambda f: os.rename(f / "there", f / "inner/x"),
    "os.rename there -> x": lambda f: at(f, os.rename, "there", "x"),
    "os.unlink there": lambda f: at(f, os.unlink, "there"),
    "os.stat there": lambda f: at(f, os.stat, "there"),
    "os.link there -> x": lambda f: os.link(f / "there", f / "x"),
    "os.symlink x": lambda f: os.symlink("there", f / "x"),
    "os.chmod there": lambda f: os.chmod(f / "there", 0o600),
    "os.truncate there": lambda f: os.truncate(f / "there", 0),
    "os.getxattr there": lambda f: os.listxattr(f / "there") or refused(os.getxattr, f / "there", "user.x"),
    "os.listdir inner": lambda f: os.listdir(f / "inner"),
    "os.scandir inner": lambda f: list(os.walk(f / "inner")),
    "os.listdir ": lambda f: os.listdir(os.open(f, os.O_RDONLY)),
    "os.readlink there": lambda f: refused(os.readlink, f / "there"),
    "os.pwritev there": lambda f: os.pwritev(os.open(f / "there", os.O_RDWR), [b"x"], 0),
    "os.writev there": lambda f: os.writev(os.open(f / "there", os.O_RDWR), [b"x"]),
    "os.preadv there": lambda f: os.preadv(os.open(f / "there", os.O_RDWR), [bytearray(1)], 0),
    "os.posix_fallocate there": lambda f: os.posix_fallocate(os.open(f / "there", os.O_RDWR), 0, 9),
    "os.fdatasync there": lambda f: os.fdatasync(os.open(f / "there", os.O_RDWR)),
    "os.write there": lambda f: os.write(os.dup(os.open(f / "there", os.O_RDWR)), b"x"),
    "os.read there": lambda f: (f / "there").read_bytes(),
    "os.fsync there": lambda f: synced(f / "there"),
}


@pytest.mark.parametrize(("point", "call"), CALLS.items(), ids=CALLS)
def test_each_call_on_files_is_a_point(point, call):
    """Whatever another process could see stops at a point first, however it is asked for."""
    assert point in points(call)


def test_a_path_is_known_however_it_is_written():
    """Dots and double slashes lead to the same entry."""
    assert "os.stat there" in points(lambda folder: os.stat(f"{folder}//inner/../there"))


def test_bound_names_are_reached_wherever_they_are_kept():
    """A class's attribute and a parameter's default, bound before any simulation, stop at points, too."""

    def program(folder):
        Keeper.rename(folder / "there", folder / "x")
        Keeper().pause(5)

    assert "os.rename there -> x" in points(program)


def test_each_worker_has_its_own_current_folder_and_umask():
    """`chdir` and `umask` of one worker are not another's, nor the host's."""
    before = os.getcwd()
    mask = os.umask(0o22)
    os.umask(mask)

    def moves(worker, folder):
        (folder / "inner").mkdir(exist_ok=True)
        os.chdir(folder / "inner")
        os.umask(0o77)
        worker.sleep(2)
        fd = os.open("made", os.O_CREAT | os.O_WRONLY, 0o666)
        os.close(fd)
        return Path(os.getcwd()).name, oct(os.stat("made").st_mode & 0o777)

    def stays(worker, _folder):
        worker.sleep(1)
        return os.getcwd()

    assert told(moves, stays) == [("inner", "0o600"), before]
    assert os.getcwd() == before
    assert os.umask(mask) == mask


def test_an_flock_is_shared_by_copies_of_a_descriptor():
    """Closing one of two copies keeps the lock; closing the last frees it."""
    taken = []

    def holder(worker):
        fd = os.open("lock", os.O_CREAT | os.O_RDWR, dir_fd=worker.own["folder"])
        copy = os.dup(fd)
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.close(fd)
        worker.sleep(10)
        os.close(copy)
        worker.sleep(10)

    def other(worker):
        worker.sleep(1)
        fcntl.flock(os.open("lock", os.O_CREAT | os.O_RDWR, dir_fd=worker.own["folder"]), fcntl.LOCK_EX)
        taken.append(worker.world.time.now_ns // 10**9)

    def with_folder(program):
        def run(worker):
            worker.own["folder"] = os.open(folder, os.O_RDONLY)
            program(worker)

        return run

    with scratch() as folder:
        together(folder, with_folder(holder), with_folder(other))
    assert taken == [10]


@pytest.mark.parametrize(
    "lock",
    [
        lambda fd, first: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, first),
        lambda fd, first: fcntl.fcntl(
            fd, fcntl.F_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, first, 10, 0)
        ),
        lambda fd, first: (os.lseek(fd, first, os.SEEK_SET), os.lockf(fd, os.F_TLOCK, 10)),
    ],
    ids=["fcntl.lockf", "fcntl.fcntl", "os.lockf"],
)
def test_record_locks_hold_their_bytes_and_no_others(lock):
    """Two workers lock different bytes of a file; the same bytes are refused to the second."""
    seen = []

    def holder(worker):
        lock(os.open(f"{worker.world.root}/lock", os.O_CREAT | os.O_RDWR), 0)
        worker.sleep(10)

    def other(worker):
        worker.sleep(1)
        fd = os.open(f"{worker.world.root}/lock", os.O_RDWR)
        for first in (10, 5):
            try:
                lock(fd, first)
                seen.append("taken")
            except OSError:
                seen.append("refused")

    with scratch() as folder:
        together(folder, holder, other)
    assert seen == ["taken", "refused"]


def test_unlocking_the_middle_leaves_both_ends():
    """A range that is taken out of a record lock splits it."""
    free = []

    def holder(worker):
        fd = os.open(f"{worker.world.root}/lock", os.O_CREAT | os.O_RDWR)
        fcntl.lockf(fd, fcntl.LOCK_EX, 30, 0)
        fcntl.lockf(fd, fcntl.LOCK_UN, 10, 10)
        worker.sleep(10)

    def other(worker):
        worker.sleep(1)
        fd = os.open(f"{worker.world.root}/lock", os.O_RDWR)
        for first in (0, 10, 20):
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, first)
                free.append(first)
            except BlockingIOError:
                pass

    with scratch() as folder:
        together(folder, holder, other)
    assert free == [10]


@pytest.mark.scenario("simulation/a-lock-of-the-process")
@pytest.mark.parametrize("where", ["module", "class", "made here"])
def test_a_lock_of_the_process_excludes_no_other_process(where):
    """A module's lock is another lock in each process: both workers hold it at once, and nobody hangs."""
    own = threading.Lock()
    lock = {"module": lambda: MODULE_LOCK, "class": lambda: Keeper.lock, "made here": threading.Lock}[where]
    assert not own.locked()
    inside = []

    def program(worker):
        kept = lock()
        with kept:
            inside.append(kept.locked())
            worker.sleep(10)
            inside.append(kept.acquire(blocking=False))

    with scratch() as folder:
        world = together(folder, program, program)
    assert inside == [True, True, False, False]
    assert world.time.now_ns == 10 * 10**9


WAITS = {
    "a lock that it holds": lambda: (lock := threading.Lock()).acquire() and lock.acquire(timeout=5),
    "a condition": lambda: waited(threading.Condition()),
    "an event": lambda: threading.Event().wait(5),
    "a semaphore": lambda: threading.Semaphore(0).acquire(timeout=5),
    "a queue": lambda: bool(refused(queue.Queue().get, timeout=5)),
    "a simple queue": lambda: bool(refused(queue.SimpleQueue().get, timeout=5)),
    "select": lambda: any(select.select([], [], [], 5)),
}


def waited(condition):
    """Wait for a condition that nobody notifies of."""
    with condition:
        return condition.wait(5)


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_a_wait_that_nobody_ends_takes_virtual_time(wait):
    """Waiting alone, with a timeout, ends after it."""

    def program(worker, _folder):
        return wait(), worker.world.time.now_ns // 10**9

    assert told(program) == (False, 5)


def test_waiting_for_oneself_for_ever_is_a_deadlock():
    """A worker that takes its own lock twice stands still, and the world comes to its end."""

    def program(_worker):
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()

    with scratch() as folder:
        world = World(Tape(Replay(())), str(folder))
        world.add("w1", program)
        world.run()
        assert [worker.name for worker in world.deadlocked] == ["w1"]
        world.close()


def test_locks_that_are_free_work_in_a_worker():
    """Queues, conditions and reentrant locks do what they do in a process with one thread."""

    def program(_worker, _folder):
        items, lock = queue.Queue(), threading.RLock()
        condition = threading.Condition(lock)
        with lock, condition:
            condition.notify_all()
            items.put("item")
        return items.get()

    assert told(program) == "item"


async def nothing():
    """Do nothing, asynchronously."""


REFUSED = {
    "thread": ("a thread", lambda _f: threading.Thread(target=int).start()),
    "timer": ("a thread", lambda _f: threading.Timer(1, int).start()),
    "pool of threads": ("a thread", lambda _f: concurrent.futures.ThreadPoolExecutor().submit(int)),
    "event loop": ("an event loop", lambda _f: asyncio.new_event_loop()),
    "subprocess": ("a subprocess", lambda _f: subprocess.run(["true"], check=True)),
    "spawned process": (
        "a (subprocess|semaphore)",
        lambda _f: multiprocessing.get_context("spawn").Process(target=int).start(),
    ),
    "semaphore of processes": ("a semaphore", lambda _f: multiprocessing.get_context("spawn").Lock()),
    "fork": ("a fork", lambda _f: os.fork()),
    "system": ("a subprocess", lambda _f: os.system("true")),
    "exec": ("another program", lambda _f: os.execv("/bin/true", ["true"])),
    "socket": ("a socket", lambda _f: socket.socket()),
    "alarm": ("a signal", lambda _f: signal.alarm(1)),
    "poll": ("a wait for descriptors", lambda _f: select.poll()),
    "select": ("a wait for descriptors", lambda _f: select.select([0], [], [], 0)),
    "memory map": ("a memory map", lambda f: mmap.mmap(os.open(f / "there", os.O_RDWR), 0)),
    "C library": ("C code", lambda _f: ctypes.CDLL("libc.so.6")),
    "named pipe": ("a named pipe", lambda f: os.mkfifo(f / "pipe")),
    "raw file": ("a file that is opened", lambda f: io.FileIO(f / "there")),
    "ioctl": ("a descriptor's control", lambda f: fcntl.ioctl(os.open(f / "there", os.O_RDWR), 0)),
    "lock that is asked for": (
        "a lock by fcntl",
        lambda f: fcntl.fcntl(os.open(f / "there", os.O_RDWR), fcntl.F_GETLK, bytes(32)),
    ),
    "own connection": ("an SQLite connection", lambda f: sqlite3.Connection.__mro__[1](f / "db")),
}


@pytest.mark.scenario("simulation/what-no-simulation-controls")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("what", "call"), REFUSED.values(), ids=REFUSED)
def test_what_no_simulation_controls_is_refused(what, call):
    """It is named with the line of the subject's own that led to it, even if the subject catches that."""

    def program(folder):
        try:
            call(folder)
        except Exception:  # noqa: BLE001, S110 - as many a queue does
            pass

    with pytest.raises(NotSimulatable, match=what) as refused:
        points(program)
    assert Path(refused.value.where.rpartition(":")[0]).name == Path(__file__).name


def test_a_memory_map_of_no_file_is_ones_own_business():
    """Anonymous memory is seen by nobody else."""
    assert told(lambda _worker, _folder: len(mmap.mmap(-1, 10))) == 10


def test_a_file_that_is_left_open_ends_with_its_worker():
    """What a worker leaves open is closed with it, and its locks are free."""

    def program(worker):
        KEPT_FILES.append(os.open(f"{worker.world.root}/file", os.O_CREAT | os.O_RDWR))

    with scratch() as folder:
        world = together(folder, program)
    assert [worker.state for worker in world.workers] == [State.DONE]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(KEPT_FILES[0])


def test_a_process_that_simulates_nothing_is_left_as_it_is():
    """Importing the harness replaces nothing: only a simulation does."""
    program = (
        "import os, time, sqlite3, ssq_verify.verify, ssq_verify.simulation.interposition\n"
        "from ssq_verify.simulation.replacement import REAL\n"
        "print(type(os.rename).__name__, type(time.sleep).__name__, len(REAL))\n"
    )
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert shown.split() == ["builtin_function_or_method", "builtin_function_or_method", "0"]
