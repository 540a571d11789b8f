"""Which functions have been decorated: their source is part of what `agent_version="auto"` is derived from.

Code objects are kept, not functions, so that nothing that a closure holds is kept alive with it.
"""

from __future__ import annotations

import types
from typing import Any

_MOST = 10_000

codes: dict[str, types.CodeType] = {}
"""The code of every decorated function by module and qualified name, the last one of a name."""


def note(function: Any) -> None:
    """Remember a function that is being decorated; what has no Python code is passed over.

    Args:
        function: A function, a method, or an object that can be called.
    """
    plain = getattr(function, "__func__", function)
    if not isinstance(plain, types.FunctionType):
        plain = type(plain).__call__
    if isinstance(plain, types.FunctionType) and len(codes) < _MOST:
        codes[f"{plain.__module__}.{plain.__qualname__}"] = plain.__code__
