"""A lease queue in a folder: a job is one entry, its name is its state, a transition is one rename of it.

A rename inside one folder is atomic even under loss of power, so a job is never nowhere and never in two
states, and whoever loses a race sees that the old name is gone. Only the job id's uniqueness needs a second
name (see `file_identity`). For each operation: its instant of effect, and what a kill leaves.

- `enqueue` draws its number, writes the record as a *pending* entry, links that to `ids/<key>`, and renames
  pending to queued: the effect. Killed before the link: an invisible file that nobody misses. Between link
  and rename: still invisible; the id's next enqueue finishes it. After: enqueued. To the disk go: content,
  then the identity, then the entry, so that an entry has its whole record and its identity whatever survives.
  Pending entries lie in the bucket itself, since a move between folders may survive in one and not in the
  other: an acked job could come back.
- `claim` reads and checks the record first, then renames to claimed, under a name that holds attempt, lease
  and a new nonce: the effect. Killed before: nothing. After: the lease ends and the job is claimed again, an
  attempt used. It syncs nothing: what a loss of power takes back, it takes from a holder that is gone too.
- `ack` unlinks the entry: the effect. Killed before: as claimed. After: the identity is stale; whoever comes
  to it first clears it (see `file_identity`). The bucket is synced before the identity goes.
- `release` renames to queued or dead: the effect; then lengthens `returns`. Killed between: other handles see
  the job when their view is used up or a lease old, instead of at once.
- `extend` renames to a later lease, the claim's nonce kept: the effect. It syncs nothing, like `claim`.
- `requeue_dead` renames dead to queued: the effect; then as `release`.

Many jobs in one call are many such operations, with their syncs put together. A claim lists no more than a
bucket now and then, and nothing while nothing changes (see `file_backlog`). A view may be used as long as no
claim made since it was taken can have expired: `lease_ttl - 2 * max_clock_skew`; so all handles must be
opened with the same settings. Links inside the folder are not followed where files are opened and buckets
listed; that the folders themselves are no links is checked at open, not at each step: whoever can replace
them owns the queue.
"""

import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime

from ssq_core import file_identity
from ssq_core.file_backlog import entries, find
from ssq_core.file_claiming import Claiming
from ssq_core.file_layout import Layout
from ssq_core.file_record import Entry, State, claimed_entry, entry_key
from ssq_core.file_waiting import WATCH_SECONDS_MAX, Bell
from ssq_core.filesystem import append_byte, refuse_network_filesystem
from ssq_core.microseconds import to_datetime, to_micros
from ssq_core.queue import (
    BATCH_MAX,
    Clock,
    DeadJob,
    Durability,
    LeaseLost,
    LeasesLost,
    QueueClaim,
    QueueIOError,
    QueueStats,
    RetryPolicy,
    checked_durability,
    checked_jobs,
    checked_lease_seconds,
    checked_limit,
    checked_skew_seconds,
    checked_wait_seconds,
    encoded_job_id,
    utc_now,
)

_DEFAULT_RETRY = RetryPolicy()
_MICROS = 1_000_000


class FileWorkerQueue:
    """A lease queue in a folder on a local disk, for any number of processes and threads.

    `durability="power-loss"`: an enqueue, ack, release or requeue that returned survives loss of power; a
    claim or an extension may be taken back by it, with its attempt. `"process-crash"`: nothing is synced; all
    survives the death of any process, but not loss of power. Handles keep no file open, may be shared by
    threads, and survive a fork. All handles of one queue must be opened with the same settings. Every method
    raises `QueueIOError` when the file system refuses.
    """

    def __init__(
        self,
        queue_dir: str | os.PathLike[str],
        *,
        lease_ttl_seconds: float = 60,
        clock: Clock = utc_now,
        retry: RetryPolicy = _DEFAULT_RETRY,
        max_clock_skew_seconds: float = 0.0,
        durability: Durability = "power-loss",
    ) -> None:
        """Open the queue in a folder, made if it is missing.

        Raises `UnsupportedFilesystem`, `UnsupportedSchema`, `QueueDataCorruptedError`, `QueueIOError`, and
        `ValueError` for a lease or a skew that no queue could keep.
        """
        self._clock = clock
        self._retry = retry
        self._lease_micros = max(1, round(checked_lease_seconds(lease_ttl_seconds) * _MICROS))
        self._skew_micros = math.ceil(checked_skew_seconds(max_clock_skew_seconds) * _MICROS)
        root = os.path.realpath(queue_dir)
        refuse_network_filesystem(root)
        self._layout = Layout(root, durable=checked_durability(durability) == "power-loss")
        self._acked = file_identity.Acked(self._layout)
        self._claiming = Claiming(
            self._layout,
            lease_micros=self._lease_micros,
            skew_micros=self._skew_micros,
            attempts_max=retry.max_attempts,
        )
        try:
            self._layout.open()
        except OSError as error:
            raise self._io_error("open", error) from error

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Add a job; of a job that is queued, claimed or dead, change nothing.

        Raises `InvalidJobId`, `TypeError` for a payload that is not bytes, `QueueIOError`. After a
        `QueueIOError` the job may or may not have been added, and the next enqueue of its id makes sure that
        it is: an earlier call that got as far as the job's identity then counts, with its payload.
        """
        self.enqueue_many([(job_id, payload)])

    def enqueue_many(self, jobs: Iterable[tuple[str, bytes]]) -> None:
        """Add jobs in this order, each as `enqueue` would: with fewer syncs, and not all at one instant."""
        checked = checked_jobs(jobs)
        try:
            for start in range(0, len(checked), BATCH_MAX):
                file_identity.add(self._layout, checked[start : start + BATCH_MAX])
        except OSError as error:
            raise self._io_error("enqueue", error) from error

    def claim(self, *, worker_id: str) -> QueueClaim | None:
        """Take the oldest available job, or None if none was available at some instant of the call.

        The lease runs from before the call's first step, by this handle's clock. Raises `QueueIOError`.
        """
        claims = self.claim_many(1, worker_id=worker_id)
        return claims[0] if claims else None

    def claim_many(self, limit: int, *, worker_id: str) -> list[QueueClaim]:
        """Take the oldest available jobs, one after the other, with one lease from before the first.

        Raises `ValueError` for a limit below 1 or over `BATCH_MAX`. Raises `QueueIOError` if the first could
        not be taken; later the jobs that were taken are returned, and the next call shows what is wrong.
        """
        checked_limit(limit)
        now = self._utc()
        claims: list[QueueClaim] = []
        try:
            while len(claims) < limit and (claim := self._claiming.claim(worker_id, now)):
                claims.append(claim)
            if not claims:
                self._tidy()
        except OSError as error:
            if not claims:
                raise self._io_error("claim", error) from error
        return claims

    def ack(self, *, claim: QueueClaim) -> None:
        """Finish the claimed job for good. Raises `LeaseLost` if the claim is not current, `QueueIOError`."""
        if self._lost((claim,)):
            raise LeaseLost(claim.job_id, claim.claim_id)

    def ack_many(self, *, claims: Iterable[QueueClaim]) -> None:
        """Finish all claimed jobs whose claims are current, with one sync for those of a bucket.

        Raises `LeasesLost` for the others, `QueueIOError`.
        """
        if lost := self._lost(claims):
            raise LeasesLost(lost)

    def release(self, *, claim: QueueClaim) -> None:
        """Give the job back: queued again after its back-off, or dead after its last attempt.

        Raises `LeaseLost` if the claim is no longer current, `QueueIOError`.
        """
        now = self._now()
        try:
            held = self._leave(claim, lambda entry: self._rename(entry, self._released(entry, now)))
            self._returned(held.sequence)
        except OSError as error:
            raise self._io_error("release", error) from error

    def extend(self, *, claim: QueueClaim) -> QueueClaim:
        """Start the lease anew from now (a heartbeat), under the same claim id.

        Raises `LeaseLost` if the claim is no longer current, `QueueIOError`.
        """
        expires = self._now() + self._lease_micros
        extended = replace(claim, lease_expires_at=to_datetime(expires))
        try:
            self._leave(claim, lambda entry: self._rename(entry, entry._replace(micros=expires)))
        except OSError as error:
            raise self._io_error("extend", error) from error
        return extended

    def stats(self) -> QueueStats:
        """Count the jobs by state; reads the names of the whole queue. Raises `QueueIOError`.

        A job whose last lease has ended counts as expired until a claim comes by and buries it.
        """
        now = self._now()
        counts = dict.fromkeys(("queued", "delayed", "claimed", "expired", "dead"), 0)
        try:
            for entry in entries(self._layout):
                if entry.state is not State.PENDING:
                    counts[self._standing(entry, now)] += 1
            return QueueStats(**counts, damaged=len(os.listdir(self._layout.damaged)))
        except OSError as error:
            raise self._io_error("stats", error) from error

    def dead(self) -> list[DeadJob]:
        """Return the dead letters, oldest job first; reads all names of the queue. Raises `QueueIOError`."""
        try:
            buried = [entry for entry in entries(self._layout) if entry.state is State.DEAD]
            return [job for entry in buried if (job := self._dead_job(entry)) is not None]
        except OSError as error:
            raise self._io_error("dead", error) from error

    def requeue_dead(self, job_id: str) -> bool:
        """Give a dead job a new incarnation with all its attempts, in its old place; False if it is not dead.

        Raises `InvalidJobId`, `QueueIOError`.
        """
        key = entry_key(encoded_job_id(job_id))
        try:
            return self._requeue_dead(key)
        except OSError as error:
            raise self._io_error("requeue_dead", error) from error

    def wait(self, *, seconds: float) -> bool:
        """Return True as soon as a job may be available, False after so many seconds.

        Raises `ValueError` for less than no time, `QueueIOError`.
        """
        until = time.monotonic() + checked_wait_seconds(seconds)
        try:
            with Bell(self._layout) as bell:
                while True:
                    bell.listen()
                    next_seconds = self._claiming.seconds_to_next(self._utc())
                    left_seconds = until - time.monotonic()
                    if next_seconds == 0 or left_seconds <= 0:
                        return next_seconds == 0
                    bell.wait(min(next_seconds, left_seconds, WATCH_SECONDS_MAX))
        except OSError as error:
            raise self._io_error("wait", error) from error

    def close(self) -> None:
        """Free the ids of acked jobs, if that was left for later; the handle stays usable."""
        self._acked.clear()

    def _utc(self) -> datetime:
        now = self._clock()
        return now if now.tzinfo is UTC else to_datetime(to_micros(now))

    def _lost(self, claims: Iterable[QueueClaim]) -> list[QueueClaim]:
        """Ack what is current, and return the rest."""
        held, lost = [], []
        try:
            for claim in claims:
                try:
                    held.append(self._leave(claim, self._unlink))
                except LeaseLost:
                    lost.append(claim)
            self._layout.sync_buckets(entry.sequence for entry in held)
        except OSError as error:
            raise self._io_error("ack", error) from error
        for entry in held:
            self._acked.add(entry.key, entry.sequence)
        return lost

    def _tidy(self) -> None:
        self._acked.clear()
        if self._claiming.is_drained:
            self._acked.sweep()

    def _dead_job(self, entry: Entry) -> DeadJob | None:
        try:
            record = self._claiming.read(self._layout.entry(entry), entry)
        except FileNotFoundError:  # requeued meanwhile
            return None
        if record is None:
            return None
        header, payload = record
        died_at = to_datetime(entry.micros)
        return DeadJob(job_id=header.job_id, attempts=entry.attempt, died_at=died_at, payload=payload)

    def _leave(self, claim: QueueClaim, step: Callable[[Entry], None]) -> Entry:
        """Take a step from the entry of a current claim, and return that entry. Raises `LeaseLost`.

        The claim names the entry, unless it was extended since: then the entry is looked for by its nonce.
        """
        held: Entry | None = claimed_entry(claim)
        while held is not None:
            try:
                step(held)
            except FileNotFoundError:
                prefix = f"{held.sequence:016x}.{held.key}.{State.CLAIMED}."
                held = find(self._layout, held.sequence, prefix=prefix, suffix=f".{held.nonce}")
            else:
                return held
        raise LeaseLost(claim.job_id, claim.claim_id)

    def _released(self, entry: Entry, now: int) -> Entry:
        if entry.attempt >= self._retry.max_attempts:
            return entry.dead(died_at_micros=now)
        rest = math.ceil(self._retry.backoff_seconds(entry.attempt) * _MICROS)
        # Without back-off, at once for everyone, whatever their clocks say.
        return entry.queued(available_at_micros=now + rest if rest else 0)

    def _requeue_dead(self, key: str) -> bool:
        header = file_identity.read_header(self._layout, key)
        if header is None:
            return False
        entry = find(self._layout, header.sequence, prefix=f"{header.sequence:016x}.{key}.{State.DEAD}.")
        if entry is None:
            return False
        try:
            self._rename(entry, header.enqueued)
        except FileNotFoundError:
            return False
        self._returned(entry.sequence)
        return True

    def _returned(self, sequence: int) -> None:
        append_byte(self._layout.returns)
        self._layout.sync(self._layout.bucket(sequence))

    def _unlink(self, entry: Entry) -> None:
        os.unlink(self._layout.entry(entry))

    def _rename(self, entry: Entry, successor: Entry) -> None:
        os.rename(self._layout.entry(entry), self._layout.entry(successor))

    def _standing(self, entry: Entry, now: int) -> str:
        if entry.state is State.QUEUED:
            return "queued" if entry.micros <= now else "delayed"
        if entry.state is State.CLAIMED:
            return "expired" if entry.micros + self._skew_micros < now else "claimed"
        return "dead"

    def _now(self) -> int:
        return to_micros(self._clock())

    def _io_error(self, operation: str, error: OSError) -> QueueIOError:
        path = error.filename if isinstance(error.filename, str) else self._layout.root
        return QueueIOError(operation, path, error.strerror or str(error))
