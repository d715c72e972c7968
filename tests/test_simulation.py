"""Does the simulator run real code as processes would run it, repeatably, and does it find what is there?"""

import errno
import fcntl
import os
import sqlite3
import subprocess
import sys
import time
from os import rename
from pathlib import Path

import msgspec
import pytest

from ssq_verify import invariants, linearize
from ssq_verify.execution import scratch
from ssq_verify.repro import digest
from ssq_verify.scenario import NO_FAULTS, SETUP_WORKER, Faults, Scenario, Settings, Step, StepKind
from ssq_verify.simulation import interposition
from ssq_verify.simulation.point import NotSimulatable
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.strategies import AtRandom, Exhaustive, StrikeAt
from ssq_verify.simulation.tape import Replay, Tape
from ssq_verify.simulation.world import State, World
from ssq_verify.subject import Subject, load
from ssq_verify.verify import joined

SETTINGS = Settings(lease_ttl_seconds=60, max_clock_skew_seconds=2)
ONE_KILL = Faults(kills=1)
PLAIN = Replay(())


def enqueue(worker, job):
    """Return a step that adds a job."""
    return Step(do=StepKind.ENQUEUE, worker=worker, job=job, payload=f"payload of {job}")


def claim_and_ack(worker):
    """Return the steps of a worker that handles one job."""
    return (
        Step(do=StepKind.CLAIM, worker=worker, claim=f"{worker}'s"),
        Step(do=StepKind.ACK, worker=worker, claim=f"{worker}'s"),
    )


def scenario(*steps):
    """Return a scenario of these steps."""
    return Scenario(settings=SETTINGS, steps=steps)


ONE_JOB = scenario(enqueue(SETUP_WORKER, "j1"), *claim_and_ack("w1"))
TWO_WORKERS = scenario(enqueue(SETUP_WORKER, "j1"), *claim_and_ack("w1"), *claim_and_ack("w2"))
ENQUEUE_MEETS_CLAIM = scenario(enqueue("w1", "j1"), *claim_and_ack("w2"))


def simulated(what, subject, strategy, faults=NO_FAULTS):
    """Simulate one run in a folder of its own."""
    with scratch() as workdir:
        return simulate(msgspec.structs.replace(what, faults=faults), load(subject), strategy, workdir)


def swept(what, subject, fault="kill"):
    """Return the runs in which the fault struck at the first point, the second, and so on, to the last."""
    runs = []
    while True:
        strategy = StrikeAt(fault, len(runs) + 1)
        run = simulated(what, subject, strategy, faults=Faults(kills=1, errors=1))
        if not strategy.has_struck:
            return runs
        runs.append(run)


def every_schedule(what, subject, deviations_max, faults=NO_FAULTS):
    """Return the runs of all schedules with so many deviations from the plainest."""
    search = Exhaustive(deviations_max=deviations_max)
    return [simulated(what, subject, one, faults) for one in search.runs()]


def broken(runs):
    """Return the ids of the invariants that some run breaks."""
    history = joined([run.history for run in runs])
    by_query = {
        known.id for known in invariants.INVARIANTS if invariants.violations(history, known.id, limit=1)
    }
    return by_query | ({"linearizable"} if linearize.violations(history) else set())


def world_in(folder):
    """Return a world with nobody in it, whose choices are all the plainest."""
    interposition.install()
    return World(Tape(PLAIN), str(folder))


def test_a_kill_inside_a_claim_loses_a_job_of_the_naive_queue():
    """A worker killed between the two renames of a claim leaves a job that nobody finds again."""
    runs = swept(ONE_JOB, "naive-file")

    struck = {fault.operation for run in runs for fault in run.faults}
    assert {"claim", "ack"} <= struck
    assert "no-lost-job" in broken(runs)


def test_a_half_written_enqueue_loses_a_job_of_the_naive_queue_without_any_fault():
    """A claim that comes between the creation of a record and its content takes the job from the world."""
    runs = every_schedule(ENQUEUE_MEETS_CLAIM, "naive-file", 2)

    assert all(not run.faults for run in runs)
    assert "no-lost-job" in broken(runs)


@pytest.mark.parametrize("subject", ["file", "sqlite"])
def test_no_single_kill_breaks_our_queues(subject):
    """Whatever point a worker is killed at, the other promises hold and the job is handled in the end."""
    runs = swept(TWO_WORKERS, subject)

    assert {fault.operation for run in runs for fault in run.faults} >= {"claim", "ack"}
    assert broken(runs) == set()


@pytest.mark.parametrize("subject", ["file", "sqlite"])
@pytest.mark.parametrize("what", [TWO_WORKERS, ENQUEUE_MEETS_CLAIM], ids=["claims", "enqueue and claim"])
def test_no_single_preemption_breaks_our_queues(what, subject):
    """All schedules with one preemption, two workers and one job keep every promise."""
    runs = every_schedule(what, subject, 1)

    assert len(runs) > 1
    assert broken(runs) == set()


@pytest.mark.parametrize("subject", ["naive-file", "file", "sqlite"])
def test_random_schedules_with_kills_keep_what_is_kept(subject):
    """Random schedules, some with a kill, make no sound queue break a promise; the naive one loses jobs."""
    runs = [simulated(TWO_WORKERS, subject, AtRandom(seed), ONE_KILL) for seed in range(60)]

    assert {len(run.faults) for run in runs} == {0, 1}
    assert ("no-lost-job" in broken(runs)) == (subject == "naive-file")


@pytest.mark.parametrize("subject", ["naive-file", "file", "sqlite"])
def test_a_tape_repeats_its_run(subject):
    """Replaying the tape of a random run gives the same history, byte for byte, in another folder."""
    found = simulated(TWO_WORKERS, subject, AtRandom(7), ONE_KILL)
    replayed = simulated(TWO_WORKERS, subject, Replay(found.tape), ONE_KILL)

    assert digest(replayed.history) == digest(found.history)
    assert replayed.trace == found.trace


@pytest.mark.scenario("simulation/a-tape-repeats-its-run")
def test_another_process_with_another_hash_seed_repeats_a_run():
    """The same seed gives the same history in two processes whose strings hash differently."""
    program = (
        "from test_simulation import *\n"
        "print(digest(simulated(TWO_WORKERS, 'file', AtRandom(3), ONE_KILL).history))\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parent,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }

    assert len(digests) == 1


def test_different_seeds_differ():
    """Ten seeds give more than one schedule."""
    assert len({digest(simulated(TWO_WORKERS, "file", AtRandom(seed)).history) for seed in range(10)}) > 1


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


@pytest.mark.parametrize("fault", ["ENOSPC", "EIO", "EMFILE"])
def test_no_single_io_error_breaks_the_file_queue(fault):
    """Whatever call fails, once, the file queue keeps its promises; the error strikes claims and acks."""
    runs = swept(TWO_WORKERS, "file", fault)

    struck = {struck.operation for run in runs for struck in run.faults if struck.fault == fault}
    told = {str(operation.error) for run in runs for operation in run.history.operations}
    assert {"claim", "ack"} <= struck
    assert any(os.strerror(getattr(errno, fault)) in error for error in told)
    assert broken(runs) == set()


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


def test_what_can_not_be_simulated_says_so():
    """A subject that starts a subprocess is named as resting on stress alone."""

    def factory(_workdir, _policy):
        subprocess.run(["true"], check=True)  # noqa: S607 - never runs

    subject = Subject(reference="forks", factory=factory)
    with scratch() as workdir, pytest.raises(NotSimulatable, match="a subprocess at "):
        simulate(ONE_JOB, subject, PLAIN, workdir)


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


def run_workers(folder, *programs, strategy=PLAIN):
    """Run these programs as w1, w2 and so on, and return the world when they have ended."""
    world = world_in(folder)
    world.tape = Tape(strategy)
    for number, program in enumerate(programs, start=1):
        world.add(f"w{number}", program)
    world.run()
    for worker in world.workers:
        if worker.failure is not None:
            raise worker.failure
    return world


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

        world = run_workers(folder, holder, impatient)

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
        run_workers(folder, holder, other)

        assert (taken_ns[0] >= 10_000_000_000) is is_kept


@pytest.mark.parametrize("pragma", ["", "PRAGMA busy_timeout = {}", "pragma main.busy_timeout({});"])
@pytest.mark.parametrize(("timeout", "is_refused"), [(5, False), (1, True)])
def test_a_busy_database_is_waited_for_in_virtual_time(pragma, timeout, is_refused):
    """A writer waits for another's transaction as long as its timeout says, and no real time passes."""
    interposition.install()
    with scratch() as folder:
        refused = []

        def writer(worker):
            connection = sqlite3.connect(folder / "db", isolation_level=None)
            connection.execute("CREATE TABLE t (x)")
            connection.execute("BEGIN IMMEDIATE")
            worker.sleep(3)
            connection.execute("COMMIT")

        def second(worker):
            worker.sleep(1)
            connected = 60 if pragma else timeout
            connection = sqlite3.connect(folder / "db", timeout=connected, isolation_level=None)
            if pragma:
                answer = connection.execute(pragma.format(timeout * 1000)).fetchone()
                assert answer == connection.execute("PRAGMA busy_timeout").fetchone() == (timeout * 1000,)
            try:
                connection.execute("INSERT INTO t VALUES (1)")
            except sqlite3.OperationalError as error:
                refused.append((str(error), worker.world.time.now_ns // 1_000_000_000))

        run_workers(folder, writer, second)

        assert refused == ([("database is locked", 2)] if is_refused else [])


def test_time_in_sql_is_the_workers():
    """`now` and CURRENT_TIMESTAMP show the worker's own clock, a day ahead if that is."""
    interposition.install()
    with scratch() as folder:
        told = []

        def program(worker):
            worker.clock.offset_seconds = 86_400
            query = "SELECT CURRENT_TIMESTAMP, datetime('now'), strftime('%Y-%m-%d')"
            told.extend(sqlite3.connect(folder / "db").execute(query).fetchone())
            told.append(f"{worker.clock():%Y-%m-%d %H:%M:%S}")

        run_workers(folder, program)

        assert told == [told[-1], told[-1], told[-1][:10], "2030-01-02 00:00:00"]


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
        run_workers(root, program, strategy=strategy)

        assert seen == [order, order]
