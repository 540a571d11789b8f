"""Judges against people: how far a judge can be trusted, its numbers corrected, its biases probed."""

from __future__ import annotations

from tracekit_evaluators.calibration.applied import corrected_difference, corrected_mean
from tracekit_evaluators.calibration.bridges import bridge, bridge_of
from tracekit_evaluators.calibration.cards import card
from tracekit_evaluators.calibration.probes import probe, self_preference
from tracekit_evaluators.calibration.record import Calibration, calibrate, calibration_of, calibrations

__all__ = [
    "Calibration",
    "bridge",
    "bridge_of",
    "calibrate",
    "calibration_of",
    "calibrations",
    "card",
    "corrected_difference",
    "corrected_mean",
    "probe",
    "self_preference",
]
