"""Do faults strike when the seed says, and at the step that they name?"""

import errno
import multiprocessing
import os
import sqlite3
import sys
from itertools import islice
from pathlib import Path

import pytest

from ssq_core.queue import QueueIOError, RetryPolicy, utc_now
from ssq_core.sqlite import SqliteWorkerQueue
from ssq_stress import runner, side_verdicts
from ssq_stress.coverage import applicable
from ssq_stress.faults import Fault, Order, Phase
from ssq_stress.nemesis import Victim, disk_full, io_error, kill, phases, skew, timetable
from ssq_stress.plan import Plan
from ssq_stress.processes.board import Board, Field
from ssq_stress.processes.log import EventLog, events
from ssq_stress.processes.points import Striker, Watched
from ssq_stress.record import Record
from ssq_verify.history import EventType, History, Terms
from ssq_verify.subject import load

SPAWN = multiprocessing.get_context("spawn")
SKEW_SECONDS = 0.2
TERMS = Terms(max_clock_skew_seconds=SKEW_SECONDS)


def drawn(seed, faults=frozenset(Fault), count=200):
    """Return the beginning of a timetable."""
    return list(islice(timetable(seed, applicable(faults, TERMS), terms=TERMS, workers=10), count))


@pytest.mark.scenario("stress/the-same-seed")
def test_a_seed_means_one_timetable():
    """The same seed gives the same strikes, another seed gives others."""
    assert drawn("7/0") == drawn("7/0")
    assert drawn("7/0") != drawn("8/0")


def test_a_timetable_is_in_order_and_loses_nothing_to_another_fault():
    """Strikes come in the order of their times; what one fault does is the same whatever else strikes."""
    together = [strike.at_seconds for strike in drawn("7/0")]
    of_pauses = [strike for strike in drawn("7/0") if strike.order.fault is Fault.PAUSE]
    with_kills = drawn("7/0", {Fault.PAUSE, Fault.KILL})

    assert together == sorted(together)
    assert of_pauses == [each for each in with_kills if each.order.fault is Fault.PAUSE][: len(of_pauses)]


@pytest.mark.scenario("stress/all-phases-have-their-turn")
@pytest.mark.parametrize("fault", Fault)
def test_no_phase_waits_for_another_round(fault):
    """Of as many strikes as there are phases, each has one."""
    places = phases(fault, TERMS, chosen=[fault])
    struck = [strike.order.phase for strike in drawn("1/0", {fault}, len(places))]

    assert sorted(struck) == sorted(places)


class Writer:
    """A queue of two steps, and no more."""

    def __init__(self, folder):
        self.folder = folder

    def enqueue(self, job_id, *, payload=b""):
        """Write a file, then rename it."""
        fd = os.open(self.folder / "draft", os.O_CREAT | os.O_WRONLY)
        try:
            os.write(fd, payload)
        finally:
            os.close(fd)
        (self.folder / "draft").rename(self.folder / job_id)


class Bench:
    """A worker's place, with an order on its board."""

    def __init__(self, folder, order):
        board = Board.made(folder / "board", slots=1)
        self.slot = board.slot(0)
        self.slot.give(order)
        self.striker = Striker(board, self.slot, recovers=False)
        self.victim = Victim(
            name="w1",
            slot=self.slot,
            log=EventLog(folder / "events.jsonl"),
            clock_limit_ns=skew.limit_ns(SKEW_SECONDS),
            disk=None,
            failing=self.striker.fail,
        )

    def use(self, act):
        """Let orders be carried out so."""
        self.striker.act = lambda order, where: act(self.victim, order, where)


def struck(folder, order):
    """Enqueue once in a process that counts its steps, and is to strike itself."""
    os.setpgid(0, 0)
    bench = Bench(folder, order)
    bench.use(kill.from_inside)
    bench.striker.install()
    Watched(Writer(folder), bench.striker).enqueue("j1", payload=b"whole")


@pytest.mark.scenario("stress/killed-before-a-rename")
@pytest.mark.parametrize(
    ("point", "left", "step"),
    [(1, set(), "open"), (2, {"draft"}, "os.write"), (3, {"draft"}, "os.rename"), (9, {"j1"}, "return")],
)
def test_a_kill_comes_before_its_step(tmp_path, point, left, step):
    """A worker dies before the step that was named, and leaves what the steps before it left."""
    order = Order(fault=Fault.KILL, phase=Phase.ENQUEUE, point=point)
    process = SPAWN.Process(target=struck, args=(tmp_path, order))
    process.start()
    process.join()
    found = {path.name for path in tmp_path.iterdir()} - {"board", "events.jsonl"}

    assert process.exitcode == -9
    assert found == left
    assert Board(tmp_path / "board").slot(0).told().startswith(step)
    assert all((tmp_path / name).read_bytes() == (b"whole" if point > 2 else b"") for name in left)


@pytest.fixture
def stepping(tmp_path, monkeypatch):
    """Count the steps of this process by its wrapped calls alone, and no longer than the test lasts."""
    monkeypatch.setattr(sys, "addaudithook", lambda _: None)
    for name in ("write", "pwrite", "writev", "fsync", "fdatasync"):
        monkeypatch.setattr(os, name, getattr(os, name))
    monkeypatch.setattr(sqlite3, "connect", sqlite3.connect)
    monkeypatch.setattr(sqlite3.dbapi2, "connect", sqlite3.connect)

    def made(order, act):
        bench = Bench(tmp_path, order)
        bench.use(act)
        bench.striker.install()
        return bench

    return made


@pytest.mark.scenario("stress/the-storage-refuses-a-step")
def test_a_refused_step_raises_once(tmp_path, stepping):
    """The step that was named raises, the next operation goes through, and the history tells of one error."""
    bench = stepping(Order(fault=Fault.IO_ERROR, phase=Phase.ENQUEUE, point=1), io_error.from_inside)
    queue = Watched(Writer(tmp_path), bench.striker)

    with pytest.raises(OSError, match=r"error|space") as refused:
        queue.enqueue("j1", payload=b"one")
    queue.enqueue("j2", payload=b"two")

    assert refused.value.errno in {errno.EIO, errno.ENOSPC}
    assert (tmp_path / "j2").read_bytes() == b"two"
    (told,) = events(tmp_path / "events.jsonl")
    assert (told.f, told.value) == (
        "io-error",
        f"{errno.errorcode[refused.value.errno]}|os.write (step 1 of enqueue)",
    )


def test_an_operation_with_fewer_steps_is_struck_at_its_last(tmp_path, stepping):
    """Storage can't fail on the way back: of too few steps, the next operation's last one fails."""
    bench = stepping(Order(fault=Fault.IO_ERROR, phase=Phase.ENQUEUE, point=8), io_error.from_inside)
    queue = Watched(Writer(tmp_path), bench.striker)
    queue.enqueue("j1", payload=b"one")

    with pytest.raises(OSError, match=r"error|space"):
        queue.enqueue("j2", payload=b"two")


@pytest.mark.scenario("stress/writes-inside-sqlite-fail")
def test_sqlite_meets_a_real_failed_write(tmp_path, stepping):
    """What SQLite writes in C fails, the queue says so in its own error, and goes on afterwards."""
    bench = stepping(Order(fault=Fault.IO_ERROR, phase=Phase.ENQUEUE, point=1), io_error.from_inside)
    inner = SqliteWorkerQueue(tmp_path / "q.db", retry=RetryPolicy(), clock=utc_now)
    queue = Watched(inner, bench.striker)

    with pytest.raises(QueueIOError):
        queue.enqueue("j1", payload=b"x" * 10_000)
    queue.enqueue("j2")

    assert inner.claim(worker_id="w1").job_id == "j2"
    inner.close()


@pytest.mark.scenario("stress/clocks-keep-to-the-bound")
@pytest.mark.parametrize("rate", [-0.5, 0.0, 0.5])
@pytest.mark.parametrize("seconds", [-9.0, -0.05, 0.08, 9.0])
def test_a_clock_never_leaves_its_half_of_the_bound(tmp_path, monkeypatch, seconds, rate):
    """However far a clock jumps and drifts, it stays in its half; both ends are told."""
    now = [1_000_000_000]
    monkeypatch.setattr(skew, "MONOTONIC_NS", lambda: now[0])
    bench = Bench(tmp_path, Order(fault=Fault.SKEW, phase=Phase.IDLE))
    clock = skew.WorkerClock(bench.slot, base_ns=0)
    skew.from_inside(bench.victim, Order(fault=Fault.SKEW, phase=Phase.IDLE, seconds=seconds, rate=rate), "")
    offsets = [clock.now_ns() - now[0]]
    for _ in range(50):
        now[0] += 100_000_000
        offsets.append(clock.now_ns() - now[0])
    told = [round(float(each.value) * 1e9) for each in events(tmp_path / "events.jsonl")]

    assert max(map(abs, offsets)) < SKEW_SECONDS / 2 * 1e9
    assert {offsets[0], offsets[-1]} == set(told)
    assert len({round(offset) for offset in offsets}) > 1 or rate == 0 or len(told) == 1


def test_a_clock_that_was_left_half_set_is_read_all_the_same(tmp_path):
    """A worker may die while it sets its clock; its replacement reads what is there."""
    bench = Bench(tmp_path, Order(fault=Fault.SKEW, phase=Phase.IDLE))
    bench.slot.set(Field.CLOCK_VERSION, 3)

    assert skew.WorkerClock(bench.slot, base_ns=0).now_ns() > 0


@pytest.mark.scenario("stress/nothing-may-be-mounted")
def test_what_can_not_be_done_is_said(tmp_path, monkeypatch):
    """Where nothing may be mounted, a full disk is not available, and the reason is in the verdict."""
    monkeypatch.setattr(disk_full, "MOUNT", ("false",))
    plan = Plan(faults=frozenset({Fault.DISK_FULL}))

    reasons = runner.unavailable(load("file"), plan, tmp_path)
    verdict = side_verdicts.coverage_verdict(Record(not_available=reasons), needed=1)

    assert "no small file system can be mounted" in reasons[Fault.DISK_FULL]
    assert verdict.verdict == "vacuous"
    assert "disk-full is not available" in verdict.sentence


@pytest.mark.scenario("stress/a-line-is-cut")
def test_a_cut_line_is_dropped_alone(tmp_path):
    """A line that a kill cut short is left out; the call before it stands, its outcome unknown."""
    path = tmp_path / "w1.jsonl"
    log = EventLog(path)
    log.record("w1", EventType.INVOKE, "claim")
    log.record("w1", EventType.OK, "claim", job_id="j1", claim_id="c1")
    path.write_bytes(path.read_bytes()[:-7])

    (operation,) = History(events=tuple(events(Path(path)))).operations

    assert (operation.f, operation.outcome) == ("claim", EventType.INFO)
