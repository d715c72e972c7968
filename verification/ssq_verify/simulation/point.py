"""What is a worker about to do, that another worker, or a crash, could observe?"""

from typing import NamedTuple

CALL = "call"
"""The point before an operation is called: whatever others finish here, it comes after."""
RETURN = "return"
"""The point between an operation's last effect and its answer: unseen by others, and a crash may strike."""


class Point(NamedTuple):
    """One thing that a worker is about to do; two points commute unless they touch the same thing."""

    call: str
    """The operation's name, as the program called it: `os.rename`, `fcntl.flock`, `sqlite`."""
    detail: str
    """For people: the paths within the working folder, or the statement."""
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    """What it may observe and change: `entry:PATH`, `folder:PATH`, `file:INODE`, `lock:INODE`, `database`."""
    may_fail: bool = False
    """Whether an I/O error can be injected here."""

    def commutes_with(self, other: "Point") -> bool:
        """Whether the order of the two can't be told by anyone."""
        return not (self.writes & other.writes or self.writes & other.reads or self.reads & other.writes)


class NotSimulatable(Exception):  # noqa: N818 - it names what can not be done
    """The subject does what the simulator can't control; only stress with real processes can judge it."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} at {where} can not be simulated; the subject rests on stress alone")
        self.what = what
        self.where = where


class Killed(BaseException):
    """Raised into a dead worker that would act while its frames are torn down; nothing takes effect."""
