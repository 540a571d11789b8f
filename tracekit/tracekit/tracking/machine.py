"""What this process takes of its machine, from `/proc` and the operating system's own counts."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

_before: tuple[float, float] | None = None


def sample() -> dict[str, float]:
    """What the process takes now: the share of a processor since the last sample, memory, threads.

    Returns:
        `system/cpu_percent` (100 is one processor; from the second sample on), `system/cpu_seconds`,
        `system/rss_mb`, `system/threads`; what the system does not tell is left out.
    """
    global _before  # noqa: PLW0603 - there is one process
    used, now = time.process_time(), time.monotonic()
    found = {"system/cpu_seconds": used, "system/threads": float(threading.active_count())}
    if _before is not None and now > _before[1]:
        found["system/cpu_percent"] = 100 * (used - _before[0]) / (now - _before[1])
    _before = (used, now)
    memory = _memory()
    if memory is not None:
        found["system/rss_mb"] = memory / (1 << 20)
    return found


def _memory() -> float | None:
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * float(os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, IndexError, AttributeError):
        pass
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most if sys.platform == "darwin" else most * 1024)
