"""Judges against people: how far a judge can be trusted, its numbers corrected, its biases probed."""

from __future__ import annotations
