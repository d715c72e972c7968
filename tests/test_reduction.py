"""Does a search that leaves schedules out see all that a search of all schedules sees?

Programs of one line, for what needs no queue: each operation is a word and what it is about. Workers run them
in a folder with an empty folder `d`, a file `f`, a lock file `l` and, if any asks for it, an SQLite database.
What came of a run is what nobody could overlook: the answers that each worker got, the files at the end, and
whose answers had been given when something was called.
"""

# ruff: noqa: PTH102, PTH104, PTH106, PTH108, PTH116, PTH123, PTH208 - in the words of `os`, a call a point

import fcntl
import math
import os
import sqlite3
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from ssq_verify.execution import scratch
from ssq_verify.scenario import NO_FAULTS, Faults
from ssq_verify.simulation import exhaustive, footprints, interposition, point, reduction
from ssq_verify.simulation.disk import Disk
from ssq_verify.simulation.exhaustive import Bounds, Exhaustive
from ssq_verify.simulation.footprints import Footprints, Step
from ssq_verify.simulation.point import CALL, RETURN, Footprint, Point
from ssq_verify.simulation.surviving import Model
from ssq_verify.simulation.tape import Redundant, Tape, Untold
from ssq_verify.simulation.world import State, World

EVENTS = ("call", "return")


class Toy:
    """One run of some programs."""

    def __init__(self, root, programs, faults):
        self.root = str(root)
        self.events = []
        self.shared = []
        self.results = {}
        self.world = World(Untold(), self.root)
        self.world.events = self.events.__len__
        self.world.on_fault = self._struck
        self._make_files(uses_database=any("sql" in program for program in programs))
        for number, program in enumerate(programs, start=1):
            self.world.add(f"w{number}", self._doing(program.split(", ")))
        if faults.power_losses:
            self.world.disk, self.world.power_model = Disk(Path(root)), Model(faults.disk)
        self.world.faults = faults

    def run(self, strategy):
        """Run to the end and return what came of it."""
        self.world.tape = Tape(strategy)
        if hasattr(strategy, "attend"):
            strategy.attend(self.world)
        try:
            self.world.run()
            return self._outcome()
        finally:
            self.world.close()
            if self.world.disk is not None:
                self.world.disk.close()

    def _make_files(self, *, uses_database):
        os.mkdir(f"{self.root}/d")
        for name in ("f", "l"):
            Path(self.root, name).write_text("0")
        if uses_database:
            connection = sqlite3.connect(f"{self.root}/db", isolation_level=None)
            connection.execute("CREATE TABLE t (x)")
            connection.close()

    def _doing(self, operations):
        def program(worker):
            kept = {}
            results = self.results[worker.name] = []
            for operation in operations:
                word, *about = operation.split()
                try:
                    results.append((word, DO[word](self, worker, kept, *about)))
                except (OSError, sqlite3.Error) as error:
                    results.append((word, type(error).__name__))

        return program

    def _struck(self, fault, worker):
        if fault != "resume":
            self.record(worker.name, fault)
            self.results[worker.name].append((fault, None))

    def record(self, name, what):
        """Let an event take its time; return whose answers came before it, if it is a call."""
        self.world.time.tick()
        answered = Counter(who for who, kind in self.events if kind != "call" and who != name)
        self.events.append((name, what))
        return tuple(sorted(answered.items())) if what == "call" else None

    def _outcome(self):
        if any(worker.failure for worker in self.world.workers):
            raise next(worker.failure for worker in self.world.workers if worker.failure)
        has_lost_power = any(kind == "power loss" for _, kind in self.events)
        told = {
            worker.name: _told(self.results.get(worker.name, []))
            if has_lost_power or worker.state is State.DEAD
            else tuple(self.results[worker.name])
            for worker in self.world.workers
        }
        deadlocked = tuple(worker.name for worker in self.world.deadlocked)
        return tuple(told.items()), tuple(sorted(_files(self.root))), deadlocked, tuple(self.shared)


def _told(results):
    """Return what a dead worker had told: up to its last event."""
    last = max((place for place, (word, _) in enumerate(results) if word in EVENTS), default=-1)
    return tuple(results[: last + 1]) + tuple(each for each in results[last + 1 :] if each[0] == "kill")


def _files(root):
    for folder, _, names in os.walk(root):
        yield folder.removeprefix(root), None
        for name in names:
            content = Path(folder, name).read_bytes() if not name.startswith("db") else _rows(folder)
            yield f"{folder}/{name}".removeprefix(root), content


def _rows(folder):
    connection = sqlite3.connect(f"{folder}/db")
    rows = connection.execute("SELECT x FROM t").fetchall()
    connection.close()
    return str(rows).encode()


def _at(word, reach):
    def do(toy, worker, _kept):
        worker.reach(Point(reach, ""))
        return toy.record(worker.name, word)

    return do


def _write(mode):
    def do(toy, worker, _kept, name):
        with open(f"{toy.root}/{name}", mode) as file:
            file.write(worker.name)

    return do


def _read(toy, _worker, _kept, name):
    return Path(toy.root, name).read_text()


def _stat(toy, _worker, _kept, name):
    status = os.stat(f"{toy.root}/{name}")
    return status.st_size if name == "f" else -1, status.st_nlink


def _held(toy, _worker, kept, name):
    """Look at a file that is kept open."""
    if "file" not in kept:
        kept["file"] = os.open(f"{toy.root}/{name}", os.O_RDONLY)
    status = os.fstat(kept["file"])
    return status.st_size, status.st_nlink


def _sync(toy, _worker, _kept, name):
    descriptor = os.open(f"{toy.root}/{name}", os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _lock(how):
    def do(toy, _worker, kept):
        if "lock" not in kept:
            kept["lock"] = os.open(f"{toy.root}/l", os.O_RDWR)
        fcntl.flock(kept["lock"], how)

    return do


def _close_lock(_toy, _worker, kept):
    if "lock" in kept:
        os.close(kept.pop("lock"))


def _sql(statement):
    def do(toy, worker, kept):
        if "sql" not in kept:
            kept["sql"] = sqlite3.connect(f"{toy.root}/db", isolation_level=None, timeout=3)
        return tuple(kept["sql"].execute(statement.format(worker.name)).fetchall())

    return do


def _share(toy, worker, _kept):
    toy.shared.append(worker.name)


DO = {
    "call": _at("call", CALL),
    "return": _at("return", RETURN),
    "mkdir": lambda toy, _worker, _kept, name: os.mkdir(f"{toy.root}/{name}"),
    "rmdir": lambda toy, _worker, _kept, name: os.rmdir(f"{toy.root}/{name}"),
    "unlink": lambda toy, _worker, _kept, name: os.unlink(f"{toy.root}/{name}"),
    "rename": lambda toy, _worker, _kept, old, new: os.rename(f"{toy.root}/{old}", f"{toy.root}/{new}"),
    "link": lambda toy, _worker, _kept, old, new: os.link(f"{toy.root}/{old}", f"{toy.root}/{new}"),
    "list": lambda toy, _worker, _kept, name: tuple(os.listdir(f"{toy.root}/{name}")),
    "stat": _stat, "fstat": _held, "read": _read, "write": _write("w"), "append": _write("a"), "sync": _sync,
    "lock": _lock(fcntl.LOCK_EX), "trylock": _lock(fcntl.LOCK_EX | fcntl.LOCK_NB),
    "unlock": _lock(fcntl.LOCK_UN), "closelock": _close_lock, "share": _share,
    "sleep": lambda _toy, worker, _kept, seconds: worker.sleep(float(seconds)),
    "look": lambda _toy, _worker, _kept: time.time_ns(),
    "sqlinsert": _sql("INSERT INTO t VALUES ('{}')"), "sqlselect": _sql("SELECT x FROM t"),
    "sqlbegin": _sql("BEGIN IMMEDIATE"), "sqlcommit": _sql("COMMIT"), "sqlrollback": _sql("ROLLBACK"),
}  # fmt: skip


def outcomes(programs, search, faults, schedules_max=math.inf):
    """Return what can come of some programs, by all schedules of a search; None if they are too many."""
    interposition.install()
    point.footprint.cache_clear()
    found = set()
    for strategy in search.runs():
        if search.schedules > schedules_max:
            return None
        with scratch() as root, suppress(Redundant):
            found.add(Toy(root, programs, faults).run(strategy))
    return found


ONE_KILL = Faults(kills=1)
ANY = Bounds()


def search_of_all(bounds):
    """Return a search that leaves nothing out."""
    return Exhaustive(bounds, reduces=False)


def without(place):
    """Return footprints of points as they would be if nobody saw these places."""
    real = point.footprint

    def of(at):
        touched = real(at)
        seen = (
            frozenset(name for name in names if not name.startswith(place))
            for names in (touched.reads, touched.changes, touched.writes)
        )
        return Footprint(*seen)

    return of


def after_without(place):
    """Return what the code after a point did, as if nobody saw this place."""
    real = Footprints._after

    def after(self, before, events):
        touched = real(self, before, events)
        return Footprint(touched.reads - {place}, touched.changes - {place}, touched.writes - {place})

    return after


def always_reserved(self, before):
    """Take everybody to be in a transaction of their own."""
    self._reserved.add(before.worker)


def asleep_after_a_fault(asleep, option, step):
    """Return what need not come after a step, a fault or not."""
    return {
        other: touched
        for other, touched in asleep.items()
        if other != option and touched.commutes_with(step.with_faults)
    }


BROKEN = {
    "entries": (footprints, "footprint", without("entry:")),
    "folders": (footprints, "footprint", without("folder:")),
    "content": (footprints, "footprint", without("file:")),
    "other names of a file": (Footprints, "_files_behind", lambda _self, _point: Footprint()),
    "folders above": (point, "_above", lambda _path: set()),
    "locks": (footprints, "footprint", without("lock of")),
    "what a close frees": (Footprints, "_held", lambda _self, _worker: frozenset()),
    "databases": (Footprints, "_statement", lambda _self, _worker, _point: Footprint()),
    "where transactions end": (Footprints, "_follow_transaction", always_reserved),
    "answers": (footprints, "footprint", without("answers")),
    "the time": (Footprints, "_after", after_without("time")),
    "shared memory": (Footprints, "_after", after_without("memory")),
    "the order of changes of a disk": (
        Footprints,
        "_touched_at",
        lambda self, _worker, at: footprints.footprint(at) | self._files_behind(at),
    ),
    "faults to come": (Footprints, "_if_struck", lambda _self, _worker: Footprint()),
    "that another's step disables a fault": (exhaustive, "still_asleep", asleep_after_a_fault),
    "whether a crash can strike later": (Step, "is_silent", property(lambda self: not self.own.writes)),
    "that a switch was free": (Exhaustive, "_may_sleep", lambda _self, choice: choice.is_next),
    "what a prefix cost": (reduction, "_is_no_more", lambda _one, _other: True),
}  # fmt: skip
"""Each rule of the reduction, and what to put in its place to break it."""

SENSITIVE = {
    "entries": (("rename f g", "read g"), NO_FAULTS, ANY),
    "folders": (("mkdir e", "list ."), NO_FAULTS, ANY),
    "content": (("write f", "read f"), NO_FAULTS, ANY),
    "other names of a file": (("link f g, fstat g", "unlink f"), NO_FAULTS, ANY),
    "folders above": (("mkdir d/a, stat d/a", "rename d e"), NO_FAULTS, ANY),
    "locks": (("trylock, mkdir e", "trylock"), NO_FAULTS, ANY),
    "what a close frees": (("lock, read f, closelock, mkdir e", "trylock"), NO_FAULTS, ANY),
    "databases": (("sqlselect", "sqlinsert"), NO_FAULTS, ANY),
    "where transactions end": (("sqlselect", "sqlinsert"), NO_FAULTS, ANY),
    "answers": (("return", "call, read f"), NO_FAULTS, ANY),
    "the time": (("look", "return", "call"), NO_FAULTS, ANY),
    "shared memory": (("call, share, return", "call, share, return"), NO_FAULTS, ANY),
    "the order of changes of a disk": (
        ("mkdir e, stat f, return", "mkdir d/a, stat f, return"), Faults(power_losses=1), Bounds(parts=1),
    ),
    "faults to come": (("lock, read f, mkdir e", "trylock"), ONE_KILL, ANY),
    "that another's step disables a fault": (("unlink f", "sync f", "rmdir d"), ONE_KILL, ANY),
    "whether a crash can strike later": (("sync d", "sync d, write f"), ONE_KILL, ANY),
    "that a switch was free": (("unlink f", "fstat f"), NO_FAULTS, Bounds(preemptions=0)),
    "what a prefix cost": (
        ("look, fstat f, link f g", "sync d, rename f d/f, append f"), NO_FAULTS, Bounds(preemptions=2),
    ),
}  # fmt: skip
"""For each rule, programs, faults and bounds in which it matters."""


@pytest.mark.parametrize("rule", BROKEN)
def test_no_rule_of_the_reduction_loses_an_outcome(rule):
    """What can come of these programs comes of the schedules that are left, too."""
    programs, faults, bounds = SENSITIVE[rule]

    assert outcomes(programs, Exhaustive(bounds), faults) == outcomes(programs, search_of_all(bounds), faults)


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_of_the_reduction_is_needed(rule, monkeypatch):
    """Were it not for the rule, an outcome would be lost: the test above can fail."""
    programs, faults, bounds = SENSITIVE[rule]
    expected = outcomes(programs, search_of_all(bounds), faults)

    def found():
        with monkeypatch.context() as patch:
            patch.setattr(*BROKEN[rule])
            return outcomes(programs, Exhaustive(bounds), faults)

    # Once is enough: in two whole runs of the tests, and never alone, a broken rule lost nothing.
    assert any(found() < expected for _ in range(3))


WORDS = [
    "mkdir d/a", "mkdir e", "rmdir d", "rename d e", "rename f g", "rename f d/f", "list .",
    "list d", "stat f", "stat d", "fstat f", "read f", "write f", "append f", "unlink f",
    "link f g", "sync f", "lock", "trylock", "unlock", "closelock", "look", "sleep 1", "call",
    "sqlinsert", "sqlselect", "sqlbegin", "sqlcommit",
]  # fmt: skip
SCHEDULES_MAX = 300
"""Programs with more are not compared: there are enough with less."""


def random_toy(chance):
    """Return some programs, faults and bounds."""
    is_sql = chance.random() < 0.2
    words = chance.sample([word for word in WORDS if word.startswith("sql") is is_sql], 4)
    programs = tuple(
        ", ".join([*chance.choices(words, k=chance.randint(1, 3)), "return"])
        for _ in range(chance.choice((2, 2, 2, 3)))
    )
    faults = chance.choice((NO_FAULTS, NO_FAULTS, ONE_KILL, Faults(errors=1), Faults(kills=1, errors=1)))
    preemptions = chance.choice((None, 0, 1, 2))
    bounds = Bounds(preemptions=preemptions, waits=chance.choice((0, 1)), orders=chance.choice((0, 1)))
    return programs, faults, bounds


@pytest.mark.scenario("simulation/what-is-left-out-shows-nothing")
def test_random_programs_come_to_the_same():
    """Of many random programs with random faults and bounds nothing is lost, and most runs are saved."""
    chance = Random("toys")  # noqa: S311 - no secret
    compared = all_schedules = run = 0
    while compared < 50:
        programs, faults, bounds = random_toy(chance)
        everything, reduced = search_of_all(bounds), Exhaustive(bounds)
        expected = outcomes(programs, everything, faults, SCHEDULES_MAX)
        if expected is None:
            continue
        assert outcomes(programs, reduced, faults) == expected, (programs, faults, bounds)
        compared += 1
        all_schedules += everything.schedules
        run += reduced.schedules

    assert run < all_schedules / 2
