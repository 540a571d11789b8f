"""Begins tracing before a program's first line; Python imports a module of this name at its start.

The program stays the main one: its `__main__`, arguments, search path, tracebacks and exit code are Python's own. Only
the process that `tracekit run` has become is traced, what it forks, and its `multiprocessing` workers; other Python
programs that it starts find this module too, and are left alone.
"""

from __future__ import annotations

import importlib
import os
import sys

VARIABLE = "TRACEKIT_RUN"
_WORKERS = ("from multiprocessing.spawn import", "from multiprocessing.forkserver import")


def _step_aside() -> None:
    """Leave the search path, and let the `sitecustomize` that would be found without us run."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - a program that starts pays for pathlib
    sys.path[:] = [place for place in sys.path if os.path.abspath(place or ".") != here]  # noqa: PTH100 - as above
    ours = sys.modules.pop("sitecustomize", None)
    try:
        importlib.import_module("sitecustomize")  # the next one on the path
    except ModuleNotFoundError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        if ours is not None:
            sys.modules.setdefault("sitecustomize", ours)


def _is_traced() -> bool:
    return os.environ.get(VARIABLE) == str(os.getpid()) or any(
        word.startswith(_WORKERS) for word in getattr(sys, "orig_argv", ())[1:]
    )


def _begin() -> None:
    try:
        import tracekit  # noqa: PLC0415 - this module is found by interpreters that have none
    except ImportError:
        return  # another environment's Python
    try:
        tracekit.init(store=os.environ.get("TRACEKIT_RUN_STORE") or None)
    except Exception as error:  # noqa: BLE001 - the program is to run, traced or not
        sys.stderr.write(f"tracekit: the program runs untraced: {error}\n")


if VARIABLE in os.environ:
    _step_aside()
    if _is_traced():
        _begin()
