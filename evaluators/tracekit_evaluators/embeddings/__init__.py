"""Texts as vectors: a small model that runs on numpy alone, or any function that gives vectors."""

from __future__ import annotations

from tracekit_evaluators.embeddings.embedder import Embedder, cosine, resolve

__all__ = ["Embedder", "cosine", "resolve"]
