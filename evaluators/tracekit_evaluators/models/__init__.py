"""Language models that judges ask: requests in, completions out, and what can go wrong between."""

from __future__ import annotations

from tracekit_evaluators.models.chat import ChatModel, Completion, ModelUnavailable, Request, resolve

__all__ = ["ChatModel", "Completion", "ModelUnavailable", "Request", "resolve"]
