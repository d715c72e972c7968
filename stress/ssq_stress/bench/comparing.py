"""Did it become slower? A gate on ratios: absolute figures differ from machine to machine, and hour to hour.

Each subject's speed is taken as a multiple of the first one's in the same run, and that against the same
multiple of an earlier run.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from ssq_stress.bench.series import Results, Series

SLOWER_MIN = 0.5
"""A ratio that fell to less than so much of what it was: noise does not do that to a median of five."""

Key = tuple[str, int, int, int, int]


class InvalidBaseline(Exception):  # noqa: N818 - it names what is invalid
    """A file that is no earlier run's document, or one with nothing to compare."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """How one subject's speed changed, relative to the first subject's."""

    subject: str
    backlog: int
    workers: int
    before: float
    now: float

    @property
    def factor(self) -> float:
        """What became of the ratio: 1 is unchanged, less is slower."""
        return self.now / self.before if self.before else 0.0

    @property
    def is_regression(self) -> bool:
        """Whether it fell further than noise does."""
        return self.factor < SLOWER_MIN


def read(path: Path) -> Results:
    """Read an earlier run's document. Raises `InvalidBaseline`, `OSError`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Results)
    except msgspec.MsgspecError as error:
        raise InvalidBaseline(f"it is not what `ssq bench --json` printed: {error}") from None


def changes(now: Results, before: Results) -> list[Change]:
    """Return how each subject that both runs timed under the same load has changed.

    Raises `InvalidBaseline` if there is none.
    """
    found = list(_changes(now, before))
    if not found:
        raise InvalidBaseline("it has none of these subjects under these loads; measure it anew")
    return found


def _changes(now: Results, before: Results) -> Iterator[Change]:
    """Yield a change for each but the first, to which they are held."""
    earlier = {_key(each): each for each in before.series}
    first, base = now.series[0].subject, before.series[0].subject
    for series in now.series:
        past = earlier.get(_key(series))
        if past is not None and series.subject != first and first == base:
            yield Change(
                subject=series.subject,
                backlog=series.backlog,
                workers=series.workers,
                before=past.times_first,
                now=series.times_first,
            )


def _key(series: Series) -> Key:
    return series.subject, series.backlog, series.workers, series.payload_bytes, series.batch
