"""What do real losses of power add to a stress run? They strike everybody at once, and come after its rounds.

The verdict `durable` rests on them, and every other promise as well: what is left must be a queue.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace
from rich.text import Text

from ssq_stress.faults import POWER_LOSS, Fault
from ssq_stress.judging import told_shortest
from ssq_stress.nemesis import power_loss
from ssq_stress.power.losses import Losses, lose_power
from ssq_stress.power.resident import resident
from ssq_verify import history as histories
from ssq_verify import judge
from ssq_verify.subject import Subject
from ssq_verify.verdict import Evidence, Finding, Verdict

DURABLE = "durable"
HISTORY = "power-loss.jsonl"
COUNTS = {"ci": 5, "nightly": 50}
"""How many losses, by profile."""
LOSS_SECONDS = 1.0
"""About how long one takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """What came of the losses of power in a run."""

    count: int = 0
    evidence: tuple[Evidence, ...] = ()
    story: tuple[Text, ...] = ()
    reason: str | None = None
    """Why this machine can't do it, if it was to be done."""

    def reasons(self, not_available: Mapping[Fault, str]) -> dict[str, str]:
        """Return why faults could not strike, this one among them."""
        reasons = {fault.value: reason for fault, reason in not_available.items()}
        return reasons if self.reason is None else reasons | {POWER_LOSS: self.reason}


def unavailable(subject: Subject, *, is_given: bool) -> str | None:
    """Return why a subject's power can't be taken away, or None; a given server is somebody else's."""
    if is_given:
        return f"{subject.reference} lives in a server that was given, with a disk of its own"
    return power_loss.unavailable()


def losses(
    subject: Subject,
    asked: Losses,
    *,
    out: Path,
    width: int,
    is_given: bool,
    tell: Callable[[int], None] = lambda _: None,
) -> Lost:
    """Take the power away, write the history in `out`, and return what it shows; tell how often it failed.

    Of a queue that does not promise to survive it nothing is to be seen. Raises `SubjectFailed`,
    `WorkerFailed`, and `ServerFailed` if the subject's server does not start on what is left.
    """
    if subject.promises.durability != POWER_LOSS:
        return Lost()
    reason = unavailable(subject, is_given=is_given)
    if reason is not None:
        return Lost(reason=reason)
    folder = out / "rounds" / POWER_LOSS
    folder.mkdir(parents=True)
    history = lose_power(subject, asked, folder, resident(subject), tell=tell)
    histories.write(history, out / HISTORY)
    shutil.rmtree(folder)
    found = judge.evidence(history)
    return Lost(count=asked.count, evidence=found, story=tuple(told_shortest(history, found, width)))


def resting(verdict: Verdict, count: int, reasons: Mapping[str, str]) -> Verdict:
    """Return the verdict, saying what of real losses of power it rests on, if it is the one on those."""
    if verdict.invariant != DURABLE:
        return verdict
    if verdict.verdict is Finding.HOLDS and count:
        return replace(verdict, sentence=f"{verdict.sentence}; real losses of power: {count}")
    if verdict.verdict is not Finding.VACUOUS:
        return verdict
    why = "no fault of this run takes the power away"
    if POWER_LOSS in reasons:
        why = f"{POWER_LOSS} is not available: {reasons[POWER_LOSS]}"
    return replace(verdict, needs="simulation", sentence=why)
