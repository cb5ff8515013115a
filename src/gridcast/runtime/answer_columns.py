"""Columns of a table of forecasts, beside those of the experiment."""

from __future__ import annotations

FORECAST, ROLLED_FORWARD, ANSWERING_MODEL = "forecast", "rolled_forward", "model"
PROBLEM = "problem"
"""Only where some series have no forecast: the reason."""


def quantile_column(level: float) -> str:
    """Return the name of the column of forecasts at `level`, such as `q0.1`."""
    return f"q{level:g}"
