"""How does a queue keep an instant, or a span, as a number? In whole microseconds, an instant since 1970."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(instant: datetime) -> int:
    """Return an aware instant in microseconds since 1970. Raises `ValueError` for one without a time zone."""
    if instant.tzinfo is None:
        raise ValueError(f"{instant}: it has no time zone; give an aware datetime, such as datetime.now(UTC)")
    return (instant - _EPOCH) // _MICROSECOND


def to_datetime(micros: int) -> datetime:
    """Return the instant that lies so many microseconds after the start of 1970."""
    return _EPOCH + timedelta(microseconds=micros)


def seconds_to_micros(seconds: float) -> int:
    """Return a span in the nearest number of microseconds."""
    return round(seconds * 1_000_000)


MICROS_MAX = to_micros(datetime.max.replace(tzinfo=UTC))
"""The last instant that Python knows."""
