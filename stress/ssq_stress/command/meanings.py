"""What does each fault of `ssq stress` do, and to whom? A sentence or two, for `ssq explain`."""

from collections.abc import Mapping
from types import MappingProxyType

from ssq_stress.faults import POWER_LOSS, Fault

MEANINGS: Mapping[str, str] = MappingProxyType({
    Fault.KILL: "A worker is ended by SIGKILL, at any moment or before an exact step of an operation; "
    "another takes its place.",
    Fault.PAUSE: "A worker is stopped by SIGSTOP for a part of its lease, or for longer, and goes on "
    "as if nothing had been.",
    Fault.SKEW: "A worker's clock jumps and then runs fast or slow, within the difference that the "
    "queue promises to bear; an hour either way where the server keeps the time.",
    Fault.IO_ERROR: "A step of an operation fails with EIO or ENOSPC, as if the disk had refused it.",
    Fault.DISK_FULL: "The small file system that the queue lies on is filled before a step, and freed a "
    "moment later.",
    Fault.SERVER_KILL: "All processes of the queue's server are ended by SIGKILL, while a worker is inside "
    "an operation or at any moment; it is started again on the data that it has. Only a "
    "server that ssq started itself.",
    Fault.SERVER_PAUSE: "All processes of the queue's server stand still for a moment, or for about a lease. "
    "Only a server that ssq started itself.",
    Fault.CONNECTION_CUT: "Of a worker's conversation with the server a request is lost, or the reply to one "
    "that the server has done, or the connection is reset; between two operations it is "
    "closed. Workers then reach the server through a program of ssq's, which costs some "
    "speed. Only a server that ssq started itself.",
    POWER_LOSS: "After the rounds, the disk of a queue of its own, with its server if it has one, is "
    "cut off as by a loss of power, and what had been acknowledged is looked for. As "
    "root.",
})  # fmt: skip
