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
# The lake's library brings a heap of its own, which else has eight parts that each keep what they once needed.
_DELTALAKE = "narenas:1,dirty_decay_ms:1000,muzzy_decay_ms:0"


def keep_small() -> None:
    """Have this process keep little of what it frees; to be called before pyarrow is imported and threads start."""
    forgo("pandas", "numpy")
    use_few_heaps()


def use_few_heaps() -> None:
    """As `keep_small`, for a process that may have use for pandas."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    os.environ.setdefault("_RJEM_MALLOC_CONF", _DELTALAKE)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
            library = ctypes.CDLL(None)
            library.mallopt(_ARENA_MAX, _ARENAS)
            library.mallopt(_TRIM_THRESHOLD, _KEPT_FREE)


def give_back() -> None:
    """Give free memory back to the system, also where it lies between what is in use."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def spared() -> Iterator[None]:
    """Have the garbage collector leave alone what is there now, until the end."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def child_code(module: str) -> str:
    """What a child process of ours runs, for `python -c`: a module's `serve`, in little memory.

    The path is handed on, so that a child finds what its parent found, whatever the folder it runs in.

    Args:
        module: The module's name.
    """
    return (
        f"import sys; sys.path[:] = {sys.path!r}; from tracekit_collector._heap import forgo; "
        f"forgo('pandas', 'numpy'); from {module} import serve; serve()"
    )


def forgo(*names: str) -> None:
    """Say that there is no such package, so that pyarrow does without it.

    It would load all of pandas, 35 MB, to see that no value is of its types, and of numpy, 12 MB, for arrays that
    nobody asks for.

    Args:
        names: Of packages that nothing in this process needs.
    """
    sys.meta_path.insert(0, _Forgone(names))


class _Forgone:
    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        del path, target
        if name in self._names:
            raise ModuleNotFoundError(f"this process has no use for {name}", name=name)
