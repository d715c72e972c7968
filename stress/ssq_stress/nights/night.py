"""Does a queue keep its promises all night? Watch after watch, whatever breaks, until the time is up.

A violation ends nothing: it is kept, and the next watch begins. What ends a night, be it the power, leaves a
ledger from which the next call goes on. Histories are kept of what broke, and of the last watch; the disk
and the memory that a night takes do not grow with its length.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec

from ssq_stress.following import Stressed, Stressing
from ssq_stress.nights import watches
from ssq_stress.nights.ledger import Ledger, Watch, asked
from ssq_stress.nights.ranking import worth_keeping
from ssq_stress.nights.standing import Standing, after
from ssq_stress.plan import Plan
from ssq_stress.runner import Progress, Tell
from ssq_stress.servers import Server
from ssq_verify.subject import Subject

FOLDER = "watches"
KEPT_BYTES_MAX = 4 << 30
"""Of histories, all together."""
LEFT_SHARE_MIN = 0.5
"""A watch is begun if there is time for so much of it."""
FAILED_IN_A_ROW_MAX = 3
"""More would only say the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Night:
    """All that a night is given."""

    subject: Subject
    plan: Plan
    out: Path
    serve: Callable[[], AbstractContextManager[Server | None]]
    """Has the subject's server up for a watch: each has a fresh one, or its data would grow all night."""
    processes: int
    unsearched: str | None = None
    """Why nothing is searched for in simulation, if it is not."""
    tell: Tell = lambda _: None
    resumed: Callable[[Standing, bool], None] = lambda _standing, _was_cut: None
    """Called if there are watches of an earlier call; the last of them may have been cut."""
    ended: Callable[[Standing], None] = lambda _: None
    """Called when a watch is over and written down."""
    kept_bytes_max: int = KEPT_BYTES_MAX


def stand(night: Night) -> Standing:
    """Keep watch until the time is up, or somebody ends it, and return what that came to.

    Raises `NotThisNight`; what the first watch of this call raises, or three in a row do; `KeyboardInterrupt`
    if no watch is over by then.
    """
    with closing(Ledger.opened(night.out, asked(night.subject, night.plan))) as ledger:
        return _Vigil(night=night, ledger=ledger).to_its_end()


def standing(ledger: Ledger) -> Standing:
    """Return what all watches that are written down come to."""
    total = Standing()
    for watch in ledger.watches():
        total = after(total, watch)
    return msgspec.structs.replace(total, interrupted=None, in_a_row=0)


@dataclass(kw_only=True, slots=True)
class _Vigil:
    night: Night
    ledger: Ledger
    standing: Standing = field(default_factory=Standing)

    def to_its_end(self) -> Standing:
        self.standing = standing(self.ledger)
        self._tidy()
        if self.standing.watches:
            self.night.resumed(self.standing, self.ledger.was_cut)
        try:
            for watch in self._watches():
                self.ledger.append(watch)
                self.standing = after(self.standing, watch)
                self._tidy()
                self.night.ended(self.standing)
        except KeyboardInterrupt:
            # What was not written down is removed, now or by the next call.
            self._tidy()
            if not self.standing.watches:
                raise
            ended = f"watch {self.standing.watches + 1}, which is left out"
            return msgspec.structs.replace(self.standing, interrupted=ended)
        return self.standing

    def _watches(self) -> Iterator[Watch]:
        least, is_first = LEFT_SHARE_MIN * watches.seconds(self.night.plan), True
        while self.night.plan.seconds - self.standing.seconds >= least or not self.standing.watches:
            begun = time.monotonic()
            try:
                yield self._watch(begun)
            except Exception as error:  # a night goes on
                if is_first or self.standing.in_a_row + 1 >= FAILED_IN_A_ROW_MAX:
                    raise
                yield self._failed(error, begun)
            if self.standing.interrupted is not None:
                return
            is_first = False

    def _watch(self, begun: float) -> Watch:
        number = self.standing.watches + 1
        plan = watches.watch(self.night.plan, number)
        folder = self._folder(number)
        folder.mkdir(parents=True)
        with self.night.serve() as server:
            plan = replace(plan, is_served=self.night.subject.server is not None and server is None)
            stressed = self._stressing(number, server).run(plan, folder, known=self.standing.known)
        return _over(number, plan, stressed, seconds=time.monotonic() - begun)

    def _stressing(self, number: int, server: Server | None) -> Stressing:
        return Stressing(
            subject=self.night.subject,
            out=self.night.out,
            processes=self.night.processes,
            server=server,
            tell=partial(self._tell, number),
            unsearched=self.night.unsearched,
        )

    def _failed(self, error: Exception, begun: float) -> Watch:
        number = self.standing.watches + 1
        return Watch(
            number=number,
            seed=watches.seed(self.night.plan.seed, number),
            conditions=watches.conditions(number).name,
            seconds=round(time.monotonic() - begun, 3),
            failed=" ".join(f"{type(error).__name__}: {error}".split()),
        )

    def _tell(self, number: int, progress: Progress) -> None:
        of, name = watches.count(self.night.plan), watches.conditions(number).name
        what = f"watch {number} of about {max(of, number)}: {name}"
        self.night.tell(msgspec.structs.replace(progress, watch=f"{what} {progress.watch}".rstrip()))

    def _tidy(self) -> None:
        """Keep the histories of what broke and of the last watch; a half-done one goes with the others."""
        sizes = {number: _bytes(self._folder(number)) for number in self._there()}
        kept = worth_keeping(self.standing.failures, sizes, bytes_max=self.night.kept_bytes_max)
        kept.add(self.standing.watches)
        for number in set(sizes) - kept:
            shutil.rmtree(self._folder(number))

    def _there(self) -> list[int]:
        return [int(path.name) for path in (self.night.out / FOLDER).glob("[0-9]*")]

    def _folder(self, number: int) -> Path:
        return self.night.out / FOLDER / f"{number:04d}"


def _over(number: int, plan: Plan, stressed: Stressed, *, seconds: float) -> Watch:
    return Watch(
        number=number,
        seed=plan.seed,
        conditions=watches.conditions(number).name,
        seconds=round(seconds, 3),
        record=stressed.seen.record,
        repros=stressed.sought.repros,
        sought=tuple(sorted({*stressed.sought.repros, *stressed.sought.missing})),
        again=stressed.again,
        interrupted=stressed.interrupted,
    )


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
