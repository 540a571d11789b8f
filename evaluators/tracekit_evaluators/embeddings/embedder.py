"""What judges ask for vectors, and how alike two of them are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from tracekit import plugins
from tracekit.errors import PluginError, UsageError
from tracekit_evaluators._digest import code_digest

Vectors = npt.NDArray[np.float32]


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors."""

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """What decides the vectors."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row for each text."""


class _Function:
    def __init__(self, function: Callable[[Sequence[str]], object]) -> None:
        self._function = function

    @property
    def fingerprint(self) -> Mapping[str, object]:
        return {"embedder": code_digest(self._function)}

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.asarray(self._function(texts), dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise PluginError(f"the embedder gave {vectors.shape} for {len(texts)} texts; it gives one vector a text")
        return vectors


def resolve(embedder: object = None) -> Embedder:
    """The embedder that a judge's `embedder` parameter means.

    Args:
        embedder: An `Embedder`; a function from texts to vectors, or its `package.module:function`; `minilm` or `None`
            for the model all-MiniLM-L6-v2, which the extra `embeddings` brings.

    Raises:
        PluginError: It is none of these.
        UsageError: The extra is not installed.
    """
    if embedder is None or embedder == "minilm":
        return _minilm()
    if isinstance(embedder, Embedder):
        return embedder
    if isinstance(embedder, str) and ":" in embedder:
        return _Function(cast("Callable[[Sequence[str]], object]", plugins.find("tracekit.models", embedder)))
    if callable(embedder):
        return _Function(embedder)
    raise PluginError(f"{embedder!r} is no embedder; give minilm, a function or package.module:function")


def cosine(one: Vectors, other: Vectors) -> float:
    """The cosine of the angle between two vectors, from -1 to 1; 0 where one of them is nothing.

    Example:
        >>> cosine(np.array([1, 0], dtype=np.float32), np.array([1, 0], dtype=np.float32))
        1.0
    """
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    if lengths == 0:
        return 0.0
    return max(-1.0, min(1.0, float(one @ other) / lengths))


@lru_cache(maxsize=1)
def _minilm() -> Embedder:
    try:
        from tracekit_evaluators.embeddings.minilm import MiniLM  # noqa: PLC0415 - an extra

        return MiniLM()
    except ImportError as error:
        raise UsageError(f"the model MiniLM is not installed ({error}); pip install 'tracekit[embeddings]'") from None
