"""What settling brought, counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settled:
    """What settling brought into the lake.

    Args:
        requests: How many requests were new.
        repeated: How many requests were known already and left out.
        spans: How many spans they held.
        logs: How many log records.
        scores: How many scores.
        inferences: How many inference logs.
        metrics: How many data points of metrics.
        points: How many points of tracked runs.
        refused: How many spans could not be kept, because they had no valid id.
        quarantined: How many stretches of segments could not be read.
    """

    requests: int = 0
    repeated: int = 0
    spans: int = 0
    logs: int = 0
    scores: int = 0
    inferences: int = 0
    metrics: int = 0
    points: int = 0
    refused: int = 0
    quarantined: int = 0

    def __add__(self, other: Settled) -> Settled:
        names = self.__dataclass_fields__
        return Settled(**{name: getattr(self, name) + getattr(other, name) for name in names})
