"""How does a signal end a command? As Ctrl-C does: children, mounts and servers go, results are whole."""

import signal
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Who stops a service, or closes the terminal, sends these; unheeded, they would leave all that was made."""

_received: list[int] = []


def heed_signals() -> None:
    """Let the first of these signals interrupt the command; a further one does not interrupt its ending."""
    for number in ENDING:
        # `nohup` means it.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def exit_code() -> int:
    """Return what a shell reports of a command that such a signal, or Ctrl-C, ended."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    _received.append(number)
    raise KeyboardInterrupt
