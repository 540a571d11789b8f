"""Keeping a long-lived process small: few heaps, that give back what is free."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Iterator

_TRIM_THRESHOLD, _ARENA_MAX = -1, -8  # of malloc.h
_ARENAS = 2
_KEPT_FREE = 8 << 20


def keep_small() -> None:
    """Have this process keep little of what it frees; to be called before pyarrow is imported and threads start."""
    forgo_pandas()
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
            library = ctypes.CDLL(None)
            library.mallopt(_ARENA_MAX, _ARENAS)
            library.mallopt(_TRIM_THRESHOLD, _KEPT_FREE)


@contextlib.contextmanager
def spared() -> Iterator[None]:
    """Have the garbage collector leave alone what is there now, until the end."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def forgo_pandas() -> None:
    """Say that there is no pandas: pyarrow would load all of it, 35 MB, to see that no value is of its types."""
    if _NoPandas not in sys.meta_path:
        sys.meta_path.insert(0, _NoPandas)


class _NoPandas:
    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        del path, target
        if name == "pandas":
            raise ModuleNotFoundError("this process has no use for pandas", name=name)
