"""What do the options of a choice mean?

Those of a "next" choice are, in this order: the running worker, the other workers that could run, the passing
of time, the faults that could strike.
"""

from collections.abc import Sequence

RUN = "run "
TIME = "let time pass"


def is_fault(option: str) -> bool:
    """Whether an option of a "next" choice is a fault."""
    return not option.startswith(RUN) and option != TIME


def faults_of(options: Sequence[str]) -> list[int]:
    """Return which options of a "next" choice are faults."""
    return [index for index, option in enumerate(options) if is_fault(option)]
