"""Times as exports write them, in nanoseconds since 1970."""

from __future__ import annotations

import datetime
import re

_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?\s*(Z|UTC|[+-]\d\d:?\d\d)?$")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def time_ns(value: object) -> int | None:
    """A time in nanoseconds since 1970; `None` where it is none. A time without a zone is UTC.

    Args:
        value: ISO 8601 with a `T` or a space, a datetime (one of pandas too), or a number: seconds, milliseconds,
            microseconds or nanoseconds, told by its size.

    Example:
        >>> time_ns("2026-01-02T03:04:05.123456789Z"), time_ns(1767323045123), time_ns("soon")
        (1767323045123456789, 1767323045123000000, None)
    """
    if isinstance(value, datetime.datetime):
        zoned = value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)
        whole = (zoned - _EPOCH) // datetime.timedelta(microseconds=1) * 1_000
        return whole + int(getattr(value, "nanosecond", 0))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _scaled(value)
    read = _ISO.match(str(value).strip()) if value is not None else None
    if read is None:
        return None
    zone = (read[4] or "Z").replace("UTC", "Z").replace("Z", "+00:00")
    try:
        moment = datetime.datetime.fromisoformat(
            f"{read[1]}T{read[2]}{zone if ':' in zone else zone[:3] + ':' + zone[3:]}"
        )
    except ValueError:
        return None
    seconds = (moment - _EPOCH) // datetime.timedelta(seconds=1)
    return seconds * 1_000_000_000 + int((read[3] or "").ljust(9, "0"))


def _scaled(value: float) -> int | None:
    if not 0 <= value < 1 << 63:
        return None
    for most, factor in ((1e11, 1_000_000_000), (1e14, 1_000_000), (1e17, 1_000)):
        if value < most:
            return int(value * factor)
    return int(value)
