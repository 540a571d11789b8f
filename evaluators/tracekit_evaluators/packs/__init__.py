"""Model judges that ship with tracekit: each is a data file with a frozen prompt, read when its judge is first used.

`tracekit_evaluators.packs.faithfulness` is the factory of the judge in `rag/faithfulness.toml`. What a file may say is
in `tracekit_evaluators.packs.pack`; the examples of an area, good and bad ones, stand in its `examples.json`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from tracekit_evaluators.packs.pack import factory, files

if TYPE_CHECKING:
    from tracekit_evaluators.judge import JudgeFactory


@cache
def _factory(name: str) -> JudgeFactory[Any]:
    path = files().get(name)
    if path is None:
        raise AttributeError(f"no pack holds a judge called {name!r}")
    return factory(path)


def __getattr__(name: str) -> JudgeFactory[Any]:
    return _factory(name)
