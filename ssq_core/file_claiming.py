"""How does a handle of the file queue take the next job? It reads an entry's record, then renames the entry.

Every worker goes this way for each job, so nothing is worked out twice on it: an entry comes as its path, and
what stays of the path is cut from it. Where several workers have the same view, most of what each of them
tries was taken by another; that costs the opening of a file that is not there.
"""

import logging
import os
from datetime import datetime, timedelta

from ssq_core import file_identity
from ssq_core.file_backlog import View, look, set_aside_strange
from ssq_core.file_layout import Layout
from ssq_core.file_record import Entry, Header, claim_id, claimed_path, decode, new_nonce
from ssq_core.filesystem import PASSED_OVER, length_of, read_at_once, read_regular
from ssq_core.microseconds import to_micros
from ssq_core.queue import QueueClaim, QueueDataCorruptedError, printable_path

logger = logging.getLogger(__name__)


class Claiming:
    """What a handle knows of the backlog, and the terms on which it takes jobs from it."""

    def __init__(self, layout: Layout, *, lease_micros: int, skew_micros: int, attempts_max: int) -> None:
        self._layout = layout
        self._lease = timedelta(microseconds=lease_micros)
        self._view_micros = lease_micros - 2 * skew_micros
        self._lease_micros, self._skew_micros = lease_micros, skew_micros
        self._attempts_max = attempts_max
        self._view: View | None = None

    @property
    def is_drained(self) -> bool:
        """Whether the last look found no job at all."""
        return self._view is not None and self._view.is_drained

    def claim(self, worker_id: str, now: datetime) -> QueueClaim | None:
        """Take the oldest available job, None if there is none. Raises `OSError`."""
        now_micros = to_micros(now)
        passed_over: set[str] = set()
        view = self._current_view(now_micros)
        while True:
            if view is None:
                view = self._view = self._looked(now_micros, passed_over)
                if not view.has_available:
                    return None
            path = view.take(now_micros)
            if path is None:
                if view.is_still_so():
                    return None
                view = None
                continue
            try:
                claim = self._take(path, worker_id, now, passed_over)
            except FileNotFoundError as error:
                # Of a rename there are two names.
                view.pass_taken(was_close=error.filename2 is not None)
            else:
                if claim is not None:
                    return claim

    def seconds_to_next(self, now: datetime) -> float:
        """Return in how many seconds a job will be available, 0 if one is; as far as is known by now."""
        now_micros = to_micros(now)
        view = self._current_view(now_micros)
        if view is None or not view.is_still_so() or view.seconds_to_next(now_micros) == 0:
            view = self._view = self._looked(now_micros, set())
        return view.seconds_to_next(now_micros)

    def read(self, path: str, entry: Entry) -> tuple[Header, bytes] | None:
        """Return an entry's record; None if it was set aside or is unreadable. Raises `FileNotFoundError`."""
        try:
            return _checked(entry, read_at_once(path), path)
        except FileNotFoundError:
            raise
        except (QueueDataCorruptedError, OSError):
            # Too large, or cut short; or wrong indeed.
            return self._looked_into(path, entry)

    def _current_view(self, now_micros: int) -> View | None:
        view = self._view
        if view is None or view.returns != length_of(self._layout.returns):
            return None
        # Not younger than nothing (the clock was set back), nor so old that a claim it has not seen has
        # expired.
        view.begin()
        return view if 0 <= now_micros - view.looked_at_micros < self._view_micros else None

    def _looked(self, now_micros: int, passed_over: set[str]) -> View:
        return look(
            self._layout,
            now_micros=now_micros,
            skew_micros=self._skew_micros,
            before=self._view,
            passed_over=passed_over,
        )

    def _take(self, path: str, worker_id: str, now: datetime, passed_over: set[str]) -> QueueClaim | None:
        """Claim one entry; None if another was quicker, or if it is out of attempts or unreadable."""
        entry = self._layout.entry_at(path)
        if entry is None:
            set_aside_strange(self._layout, path)
            return None
        if entry.attempt >= self._attempts_max:
            os.rename(path, self._layout.entry(entry.dead(died_at_micros=to_micros(now))))
            return None
        record = self.read(path, entry)
        if record is None:
            passed_over.add(path)
            return None
        return self._taken(path, entry, record, worker_id, now)

    def _taken(
        self, path: str, entry: Entry, record: tuple[Header, bytes], worker_id: str, now: datetime
    ) -> QueueClaim:
        header, payload = record
        nonce, attempt = new_nonce(), entry.attempt + 1
        claim = QueueClaim(
            job_id=header.job_id,
            claim_id=claim_id(entry.sequence, nonce),
            worker_id=worker_id,
            attempt=attempt,
            claimed_at=now,
            lease_expires_at=now + self._lease,
            payload=payload,
        )
        os.rename(path, claimed_path(path, attempt, to_micros(now) + self._lease_micros, nonce))
        return claim

    def _looked_into(self, path: str, entry: Entry) -> tuple[Header, bytes] | None:
        try:
            return _checked(entry, read_regular(path), path)
        except QueueDataCorruptedError as error:
            file_identity.set_aside(self._layout, path, error)
            return None
        except OSError as error:
            if error.errno not in PASSED_OVER:
                raise
            logger.warning("passing over %s: %s", printable_path(path), error.strerror)
            return None


def _checked(entry: Entry, content: bytes, path: str) -> tuple[Header, bytes]:
    header, payload = decode(content, path)
    if (header.key, header.sequence) != (entry.key, entry.sequence):
        raise QueueDataCorruptedError(path, "it is the record of another job")
    return header, payload
