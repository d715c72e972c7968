"""How does the file queue write a job down? As one record that never changes, and as the name of its entry.

The name is the job's state, so that one rename is one transition:
`{sequence}.{key}.{state}.{attempt}.{micros}.{nonce}`. Names are made from numbers and digests only: a job id
is never part of a path.
"""

import json
import os
import re
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple, Self

from ssq_core.microseconds import MICROS_MAX, to_micros
from ssq_core.queue import InvalidJobId, LeaseLost, QueueClaim, QueueDataCorruptedError, encoded_job_id

RECORD_VERSION = 1
BUCKET_SIZE = 1024
"""Entries in one folder: few enough to list in about a millisecond, enough to be listed seldom."""
ABREAST = 4
"""Buckets that are filled at the same time: whoever renames in a folder keeps others waiting that do, too."""
FRESH = ".q.0.0.-"
"""How the name ends of an entry that was never claimed, as most of a backlog."""
FRESH_LENGTH = 16 + 1 + 32 + len(FRESH)
HEADER_BYTES_MAX = 2048
"""A header is shorter: 200 control characters take 1,200 bytes in JSON, all the rest below 300."""
NO_NONCE = "-"

_CHECKSUM_DIGITS = 32
_STEM_LENGTH = len("/") + 16 + len(".") + 32 + len(".")
"""Of what stays in a name for all the job's life: sequence number and key."""
_RAW_DECODE = json.JSONDecoder().raw_decode
_NONCE = re.compile(r"[0-9a-f]{16}")
_SEQUENCES = 1 << 64
_NAME = re.compile(r"([0-9a-f]{16})\.([0-9a-f]{32})\.([tqcd])\.(\d{1,9})\.(-?\d{1,18})\.(-|[0-9a-f]{16})")
_CLAIM_ID = re.compile(r"(0|[1-9a-f][0-9a-f]{0,15})-([0-9a-f]{16})")


class State(StrEnum):
    """Where a job stands, as one letter of its entry's name."""

    PENDING = "t"
    """Written, but not yet enqueued: no claim looks at it."""
    QUEUED = "q"
    CLAIMED = "c"
    DEAD = "d"


_STATES = {str(state): state for state in State}


class Entry(NamedTuple):
    """One job's state. A tuple, since a look makes a thousand of them and sorts them by sequence number."""

    sequence: int
    key: str
    """Stands for the job id: 32 hexadecimal digits."""
    state: State
    attempt: int
    micros: int
    """Available from (queued), lease ends (claimed), died at (dead): microseconds since 1970."""
    nonce: str
    """Of the record while pending, of the claim while claimed."""

    @property
    def name(self) -> str:
        """The entry's file name."""
        return f"{self.sequence:016x}.{self.key}.{self.state}.{self.attempt:d}.{self.micros:d}.{self.nonce}"

    def queued(self, *, available_at_micros: int) -> Self:
        """Return the same job, given back."""
        return self._replace(state=State.QUEUED, micros=available_at_micros, nonce=NO_NONCE)

    def dead(self, *, died_at_micros: int) -> Self:
        """Return the same job, out of attempts."""
        return self._replace(state=State.DEAD, micros=died_at_micros, nonce=NO_NONCE)


class Header(NamedTuple):
    """What a record says about itself before its payload. A tuple, as each claim makes one."""

    job_id: str
    key: str
    """Stands for the job id: 32 hexadecimal digits."""
    sequence: int
    nonce: str
    payload_bytes: int

    @property
    def pending(self) -> Entry:
        """The entry under which the record is written, known to whoever has the header."""
        return Entry(self.sequence, self.key, State.PENDING, 0, 0, self.nonce)

    @property
    def enqueued(self) -> Entry:
        """The entry that makes the job claimable."""
        return self.pending.queued(available_at_micros=0)


def new_nonce() -> str:
    """Return 16 random hexadecimal digits, which nobody draws twice."""
    return os.urandom(8).hex()


def entry_key(encoded: bytes) -> str:
    """Return the digest that stands for a job id, given in UTF-8, in every name."""
    return blake2b(encoded, digest_size=16).hexdigest()


def parse_name(name: str) -> Entry | None:
    """Return the entry that a file name states, or None if no queue wrote that name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    sequence, key, state, attempt, micros, nonce = match.groups()
    if abs(int(micros)) > MICROS_MAX:
        return None
    return Entry(int(sequence, 16), key, _STATES[state], int(attempt), int(micros), nonce)


def claim_id(sequence: int, nonce: str) -> str:
    """Return what names a claim to its holder, and leads any process back to the entry."""
    return f"{sequence:x}-{nonce}"


def claimed_path(path: str, attempt: int, micros: int, nonce: str) -> str:
    """Return where an entry is once it is claimed: most of the path stays."""
    return f"{path[: path.rindex('/') + _STEM_LENGTH]}{State.CLAIMED.value}.{attempt}.{micros}.{nonce}"


def claimed_entry(claim: QueueClaim) -> Entry:
    """Return the entry that a claim was given for. Raises `LeaseLost` for one that this queue never gave."""
    try:
        match = _CLAIM_ID.fullmatch(claim.claim_id)
        if match is None:
            raise LeaseLost(claim.job_id, claim.claim_id)
        return Entry(
            sequence=int(match[1], 16),
            key=entry_key(encoded_job_id(claim.job_id)),
            state=State.CLAIMED,
            attempt=int(claim.attempt),
            micros=to_micros(claim.lease_expires_at),
            nonce=match[2],
        )
    except (InvalidJobId, TypeError, ValueError, OverflowError):
        raise LeaseLost(claim.job_id, claim.claim_id) from None


def encode(header: Header, payload: bytes) -> bytes:
    """Return the record: checksum, header as one line of JSON, payload."""
    fields = {
        "version": RECORD_VERSION,
        "job_id": header.job_id,
        "sequence": header.sequence,
        "nonce": header.nonce,
        "payload_bytes": header.payload_bytes,
    }
    checked = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" + payload
    return _checksum(checked) + b" " + checked


def decode(content: bytes, path: str) -> tuple[Header, bytes]:
    """Return a record's header and payload, every byte checked. Raises `QueueDataCorruptedError`."""
    checked = content[_CHECKSUM_DIGITS + 1 :]
    if content[: _CHECKSUM_DIGITS + 1] != _checksum(checked) + b" ":
        raise QueueDataCorruptedError(path, f"the checksum of its {len(content)} bytes is wrong")
    header = decode_header(content, path)
    payload = checked.partition(b"\n")[2]
    if len(payload) != header.payload_bytes:
        raise QueueDataCorruptedError(
            path, f"it has {len(payload)} bytes of payload, not {header.payload_bytes}"
        )
    return header, payload


def decode_header(content: bytes, path: str) -> Header:
    """Return a record's header, read from its first bytes, unchecked. Raises `QueueDataCorruptedError`."""
    line = content.partition(b"\n")[0][_CHECKSUM_DIGITS + 1 :]
    try:
        # Half as long as `json.loads`, which guesses an encoding and looks for blanks.
        fields, _ = _RAW_DECODE(line.decode())
        if fields["version"] != RECORD_VERSION:
            raise QueueDataCorruptedError(path, f"its version is {fields['version']!r}")
        job_id, sequence, nonce = fields["job_id"], fields["sequence"], fields["nonce"]
        # Paths are made of these: nothing else may stand in them.
        if not (type(sequence) is int and 0 <= sequence < _SEQUENCES and _NONCE.fullmatch(nonce)):
            raise QueueDataCorruptedError(path, "its header states no entry")
        return Header(job_id, entry_key(job_id.encode()), sequence, nonce, fields["payload_bytes"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise QueueDataCorruptedError(path, "its header can not be read") from None


def _checksum(checked: bytes) -> bytes:
    return blake2b(checked, digest_size=_CHECKSUM_DIGITS // 2).hexdigest().encode()
