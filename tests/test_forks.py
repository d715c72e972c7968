"""What has a worker that begins as the child of another? A copy of its handle, and all else of its own."""

import os
import threading
import time

import pytest

from ssq_verify.execution import execute, scratch
from ssq_verify.history import INHERITED
from ssq_verify.programs import NotScriptable, race
from ssq_verify.scenario import SETUP_WORKER, Scenario, Step, StepKind
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.tape import Replay
from ssq_verify.subject import Promises, Subject, SubjectFailed

CHILDREN = Scenario(
    steps=(
        Step(do=StepKind.ENQUEUE, worker=SETUP_WORKER, job="j1"),
        Step(do=StepKind.CLOCK, worker="w1", seconds=5.0),
        Step(do=StepKind.FORK, worker="w1"),
        Step(do=StepKind.ENQUEUE, worker="w1", job="j2"),
        Step(do=StepKind.ENQUEUE, worker="w1", job="j3"),
        Step(do=StepKind.FORK, worker="w2"),
        Step(do=StepKind.ENQUEUE, worker="w2", job="j4"),
    )
)
TOLD = []
"""What each enqueue saw; a list of the module's, which all simulated workers share."""


class Counting:
    """A handle that counts its enqueues, remembers who opened it, and keeps no job."""

    def __init__(self, workdir, policy):
        self.folder, self.clock = workdir, policy.clock
        self.opener, self.enqueues, self.lock = os.getpid(), 0, threading.Lock()

    def enqueue(self, job_id):
        """Tell what the handle and its process know."""
        with self.lock:
            self.enqueues += 1
        is_openers = self.opener == os.getpid()
        TOLD.append((job_id, self.enqueues, is_openers, round(self.clock().timestamp() - time.monotonic())))

    def claim(self, *, worker_id):
        """Find nothing."""

    def ack(self, *, claim):
        """Do nothing."""


class KeepsAFile(Counting):
    """Has a file open."""

    def __init__(self, workdir, policy):
        super().__init__(workdir, policy)
        self.fd = os.open(workdir / "log", os.O_CREAT | os.O_RDWR)


class KeepsWhatNobodyCopies(Counting):
    """Holds an object that can not be copied."""

    def __init__(self, workdir, policy):
        super().__init__(workdir, policy)
        self.reentrant = threading.RLock()


def simulated(factory):
    """Return the plainest run of the children of a handle."""
    subject = Subject(reference="here", factory=factory, promises=Promises(forks=True))
    with scratch() as workdir:
        return simulate(CHILDREN, subject, Replay(()), workdir)


@pytest.mark.scenario("simulation/children-begin-with-what-their-parent-had")
def test_a_child_has_what_its_parent_had_and_goes_on_by_itself():
    """Both count on from the parent's number, were opened by another process, and read their own clocks."""
    TOLD.clear()
    history = simulated(Counting).history
    begun = TOLD[0][3]

    assert [told[:3] for told in TOLD] == [
        ("j1", 1, True),
        ("j2", 2, False),
        ("j3", 3, False),
        ("j4", 2, False),
    ]
    assert [told[3] - begun for told in TOLD] == [0, 5, 5, 0]
    assert [event.worker for event in history.events if event.value == INHERITED] == ["w1", "w2"]


@pytest.mark.scenario("simulation/what-no-copy-is-to-be-had-of")
@pytest.mark.parametrize(
    ("queue", "reason"), [(KeepsAFile, "keeps files open"), (KeepsWhatNobodyCopies, "can not be copied")]
)
def test_what_a_fork_would_share_is_refused(queue, reason):
    """One line says of which queue, why, and what to leave out."""
    with pytest.raises(SubjectFailed, match=f"^here: its handle {reason}.*leave `forks` out"):
        simulated(queue)


def test_in_turns_a_child_opens_a_handle_of_its_own():
    """One after the other, with no memory of their own, workers are no forks of each other."""
    TOLD.clear()
    subject = Subject(reference="here", factory=Counting, promises=Promises(forks=True))
    with scratch() as workdir:
        execute(CHILDREN, subject, workdir)

    assert [told[:2] for told in TOLD] == [("j1", 1), ("j2", 1), ("j3", 2), ("j4", 1)]


@pytest.mark.scenario("simulation/a-run-that-no-script-shows")
def test_no_script_shows_a_fork():
    """Its workers share one memory, and the reason is told."""
    run = simulated(Counting)

    with pytest.raises(NotScriptable, match="copy of its parent's memory"):
        race(CHILDREN, run.history, run)
