"""Programs of one line, for what needs no queue: each operation is a word and what it is about.

Workers run them in a folder with an empty folder `d`, a file `f`, a lock file `l` and, if any asks for it, an
SQLite database. What came of a run is what nobody could overlook: the answers that each worker got, the files
at the end, and which answers had been given when something was called.
"""

import fcntl
import os
import sqlite3
import time
from collections import Counter
from pathlib import Path

from ssq_verify.execution import scratch
from ssq_verify.scenario import NO_FAULTS
from ssq_verify.simulation import interposition
from ssq_verify.simulation.disk import Disk, Model
from ssq_verify.simulation.point import CALL, RETURN, Point
from ssq_verify.simulation.tape import Redundant, Tape, Untold
from ssq_verify.simulation.world import State, World

EVENTS = ("call", "return")
UNSEEN_UNLESS_TOLD = ("kill", "power loss")


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
        os.mkdir(f"{self.root}/d")  # noqa: PTH102 - quick
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
        with open(f"{toy.root}/{name}", mode) as file:  # noqa: PTH123 - quick
            file.write(worker.name)

    return do


def _read(toy, _worker, _kept, name):
    return Path(toy.root, name).read_text()


def _stat(toy, _worker, _kept, name):
    status = os.stat(f"{toy.root}/{name}")  # noqa: PTH116 - quick
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
    "lock": _lock(fcntl.LOCK_EX), "trylock": _lock(fcntl.LOCK_EX | fcntl.LOCK_NB), "unlock": _lock(fcntl.LOCK_UN),
    "closelock": _close_lock, "share": _share,
    "sleep": lambda _toy, _worker, _kept, seconds: time.sleep(float(seconds)),
    "look": lambda _toy, _worker, _kept: time.time_ns(),
    "sqlinsert": _sql("INSERT INTO t VALUES ('{}')"), "sqlselect": _sql("SELECT x FROM t"),
    "sqlbegin": _sql("BEGIN IMMEDIATE"), "sqlcommit": _sql("COMMIT"), "sqlrollback": _sql("ROLLBACK"),
}  # fmt: skip


def outcomes(programs, search, faults=NO_FAULTS):
    """Return what can come of some programs, by all schedules of a search."""
    interposition.install()
    found = set()
    for strategy in search.runs():
        with scratch() as root:
            try:
                found.add(Toy(root, programs, faults).run(strategy))
            except Redundant:
                continue
    return found
