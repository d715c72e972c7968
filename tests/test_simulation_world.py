"""Do simulated workers live, wait and die as processes would? Buffers, locks, time, listings."""

import fcntl
import os
import time
from os import rename

import pytest

from simulated import PLAIN, together
from ssq_verify.execution import scratch
from ssq_verify.scenario import Faults
from ssq_verify.simulation import interposition
from ssq_verify.simulation.tape import Tape
from ssq_verify.simulation.world import State, World

ONE_KILL = Faults(kills=1)


def world_in(folder):
    """Return a world with nobody in it, whose choices are all the plainest."""
    interposition.install()
    return World(Tape(PLAIN), str(folder))


class KillAt:
    """Kills the first worker that stands at a call of that name."""

    def __init__(self, world, call):
        self._world = world
        self._call = call

    def choose(self, _kind, options):
        """Return the kill when the running worker is at the call."""
        points = [worker.point for worker in self._world.workers if worker.point is not None]
        stands_there = any(point.call == self._call for point in points)
        return options.index("kill") if stands_there and "kill" in options else 0


def test_a_killed_worker_runs_no_finally_and_flushes_nothing():
    """What a killed worker had in a buffer is lost, and its `finally` does nothing, also when frames go."""
    reached = []
    with scratch() as folder:
        world = world_in(folder)
        world.tape = Tape(KillAt(world, "os.mkdir"))
        world.faults = ONE_KILL

        def program(_worker):
            with (folder / "buffered").open("w") as file:
                file.write("never flushed")
                try:
                    (folder / "killed here").mkdir()
                finally:
                    reached.append("finally")
                    (folder / "cleaned up").mkdir()

        worker = world.add("w1", program)
        world.run()
        assert worker.state is State.DEAD
        assert reached == []

        world.close()

        assert reached == ["finally"]
        assert worker.dead
        assert {path.name: path.stat().st_size for path in folder.iterdir()} == {"buffered": 0}


def test_a_worker_that_lives_flushes_and_cleans_up():
    """The same program without a kill writes its text and makes both folders."""
    with scratch() as folder:
        world = world_in(folder)

        def program(_worker):
            with (folder / "buffered").open("w") as file:
                file.write("flushed")

        world.add("w1", program)
        world.run()

        assert (folder / "buffered").read_text() == "flushed"


def test_a_lock_is_waited_for_and_freed_by_death():
    """A worker that asks for a held flock runs on once its holder has died; nobody holds it twice."""
    with scratch() as folder:
        world = world_in(folder)
        held = []

        def program(worker):
            fd = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
            fcntl.flock(fd, fcntl.LOCK_EX)
            held.append(worker.name)
            if worker.name == "w1":
                worker.sleep(10)
                worker.die()
            os.close(fd)

        for name in ("w1", "w2"):
            world.add(name, program)
        world.run()

        assert held == ["w1", "w2"]
        assert world.time.now_ns >= 10_000_000_000


def test_a_deadlock_is_a_finding():
    """Two workers that wait for each other's lock are named, and the world comes to its end."""
    with scratch() as folder:
        world = world_in(folder)
        world.tape = Tape(ByTurns())

        def program(first, second):
            def run(_worker):
                for name in (first, second):
                    fcntl.flock(os.open(folder / name, os.O_CREAT | os.O_RDWR), fcntl.LOCK_EX)

            return run

        world.add("w1", program("a", "b"))
        world.add("w2", program("b", "a"))
        world.run()

        assert [worker.name for worker in world.deadlocked] == ["w1", "w2"]


class ByTurns:
    """Lets the other worker run whenever one could."""

    def choose(self, _kind, options):
        """Return the second option that runs a worker."""
        return 1 if len(options) > 1 and options[1].startswith("run ") else 0


def test_a_function_bound_before_is_a_point_too():
    """`from os import rename`, done long before, still stops at a point."""
    with scratch() as folder:
        world = world_in(folder)
        (folder / "old").touch()
        world.add("w1", lambda _worker: rename(folder / "old", folder / "new"))  # noqa: PTH104 - the point
        world.run()

        assert [(point.call, point.detail) for point in (passed.point for passed in world.trace)] == [
            ("os.rename", "old -> new")
        ]


def test_time_and_chance_are_the_worlds():
    """Sleeping takes no real time; clocks, pid and random bytes are the worker's own and repeat."""

    def seen():
        with scratch() as folder:
            world = world_in(folder)
            found = []

            def program(worker):
                started, sleep_virtually = time.monotonic(), time.sleep
                sleep_virtually(3600)
                found.append((worker.pid == os.getpid(), time.monotonic() - started, os.urandom(4)))

            world.add("w1", program)
            world.add("w2", program)
            world.run()
            return found

    first, second = seen()
    assert first[:2] == (True, 3600.0)
    assert first[2] != second[2]
    assert seen() == [first, second]


def test_code_outside_of_a_world_is_left_alone(tmp_path):
    """After installation, files, clocks and listings work as ever where nobody simulates."""
    interposition.install()
    (tmp_path / "b").write_text("text")
    (tmp_path / "a").mkdir()

    assert sorted(os.listdir(tmp_path)) == ["a", "b"]  # noqa: PTH208 - the point
    with os.scandir(tmp_path) as entries:
        assert {entry.name for entry in entries} == {"a", "b"}
    assert (tmp_path / "b").read_text() == "text"
    assert abs(time.time() - time.clock_gettime(time.CLOCK_REALTIME)) < 60


def test_what_a_dead_worker_buffered_never_reaches_another_file():
    """A file that outlives its killed worker flushes nothing into whatever has its descriptor by then."""
    kept = []
    with scratch() as folder:
        world = world_in(folder)

        def program(worker):
            kept.append((folder / "buffered").open("w"))
            kept[0].write("never flushed")
            worker.die()

        world.add("w1", program)
        world.run()
        descriptor = os.open(folder / "another's", os.O_CREAT | os.O_WRONLY)
        kept.clear()
        os.close(descriptor)

        assert (folder / "another's").stat().st_size == 0
        assert (folder / "buffered").stat().st_size == 0


def locked(folder, call=fcntl.flock, how=fcntl.LOCK_EX):
    """Open the lock file, lock it, and return the descriptor."""
    descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
    call(descriptor, how)
    return descriptor


@pytest.mark.parametrize("call", [fcntl.flock, fcntl.lockf])
def test_who_does_not_want_to_wait_is_refused(call):
    """A lock that another worker holds is refused at once, by flock and by a POSIX lock alike."""
    interposition.install()
    name = call.__name__
    with scratch() as folder:

        def holder(worker):
            locked(folder, getattr(fcntl, name))
            worker.sleep(10)

        def impatient(worker):
            worker.sleep(1)
            with pytest.raises(BlockingIOError):
                locked(folder, getattr(fcntl, name), fcntl.LOCK_EX | fcntl.LOCK_NB)

        world = together(folder, holder, impatient)

        assert world.time.now_ns >= 10_000_000_000


@pytest.mark.parametrize(("name", "is_kept"), [("flock", True), ("lockf", False)])
def test_closing_another_descriptor_frees_only_a_posix_lock(name, is_kept):
    """A POSIX lock goes with any descriptor of the file that its process closes; an flock does not."""
    interposition.install()
    with scratch() as folder:

        def holder(worker):
            locked(folder, getattr(fcntl, name))
            os.close(os.open(folder / "lock", os.O_RDWR))
            worker.sleep(10)

        def other(worker):
            worker.sleep(1)
            locked(folder, getattr(fcntl, name))
            taken_ns.append(worker.world.time.now_ns)

        taken_ns = []
        together(folder, holder, other)

        assert (taken_ns[0] >= 10_000_000_000) is is_kept


class SecondChoice:
    """Takes the second option where there is one."""

    def choose(self, _kind, options):
        """Return 1, or 0 where there is no choice."""
        return min(1, len(options) - 1)


@pytest.mark.parametrize(("strategy", "order"), [(PLAIN, ["a", "b"]), (SecondChoice(), ["b", "a"])])
def test_a_listing_comes_in_the_order_that_the_tape_chooses(strategy, order):
    """`listdir` and `scandir` give the names in one order or the other: both are legal."""
    interposition.install()
    with scratch() as root:
        folder = root / "inside"
        seen = []

        def program(_worker):
            for name in ("a", "b"):
                (folder / name).mkdir()
            seen.append(os.listdir(folder))  # noqa: PTH208 - the point
            with os.scandir(folder) as entries:
                seen.append([entry.name for entry in entries])

        folder.mkdir()
        together(root, program, strategy=strategy)

        assert seen == [order, order]
