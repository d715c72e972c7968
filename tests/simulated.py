"""How does a test run programs as simulated workers? All in one thread, by the plainest schedule or any."""

import queue

import pytest

from ssq_verify.execution import scratch
from ssq_verify.simulation.tape import Replay, Tape
from ssq_verify.simulation.world import World

PLAIN = Replay(())


def together(folder, *programs, strategy=PLAIN):
    """Run these programs as w1, w2 and so on, and return the world. Raises what they raise."""
    world = World(Tape(strategy), str(folder))
    for number, program in enumerate(programs, start=1):
        world.add(f"w{number}", program)
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


def refused(call, *args, **kwargs):
    """Make a call that the system refuses, or that finds nothing."""
    with pytest.raises((OSError, queue.Empty)):
        call(*args, **kwargs)
