"""How does a test lose the power? It does real calls, tells the disk of each, and tries what may be left."""

import os

import pytest

from ssq_verify.simulation.disk import Disk
from ssq_verify.simulation.surviving import Model

BOTH = pytest.mark.parametrize("model", list(Model))


class Program:
    """Does real calls and tells the disk of each."""

    def __init__(self, root):
        self.root = root
        self.disk = Disk(root)

    def write(self, name, data, *, how=os.O_CREAT | os.O_APPEND):
        """Open a file, creating it if need be, and write to it."""
        fd = os.open(self.root / name, os.O_WRONLY | how)
        self.disk.changed()
        os.write(fd, data)
        self.disk.changed(os.fstat(fd).st_ino)
        os.close(fd)

    def fsync(self, *names):
        """Sync files or folders."""
        for name in names:
            self.disk.synced((self.root / name).stat().st_ino)

    def call(self, call, *names):
        """Do one call on paths within the root."""
        call(*(self.root / name for name in names))
        self.disk.changed()

    def states(self, model):
        """Return all trees that a power loss may leave."""
        found = []
        for choose in tapes():
            tree = self.disk.lose(model, choose).tree()
            if tree not in found:
                found.append(tree)
        return found

    def lose(self, model, choose):
        """Take the power away."""
        self.disk.restore(self.disk.lose(model, choose))


def tapes():
    """Yield choosers that together give all sequences of answers."""
    prefix = []
    while prefix is not None:
        widths = []

        def choose(_kind, options, prefix=prefix, widths=widths):
            widths.append(len(options))
            return prefix[len(widths) - 1] if len(widths) <= len(prefix) else 0

        yield choose
        answers = [*prefix, *[0] * (len(widths) - len(prefix))]
        while answers and answers[-1] + 1 == widths[len(answers) - 1]:
            answers.pop()
        prefix = [*answers[:-1], answers[-1] + 1] if answers else None


def plainest(_kind, _options):
    """Answer 0."""
    return 0


def noting(asked, choose):
    """Return a chooser that notes what it is asked."""

    def note(kind, options):
        asked.append((kind, *options))
        return choose(kind, options)

    return note


def moved(program):
    """Move a durable file between two durable folders."""
    program.call(os.mkdir, "todo")
    program.call(os.mkdir, "done")
    program.write("todo/a", b"job")
    program.fsync("todo/a", "todo", "done", ".")
    program.call(os.rename, "todo/a", "done/a")
