"""The lists of the baselines that are compared with the networks; their code is in `runtime.baselines`."""

from __future__ import annotations

from gridcast.runtime.baselines import BASELINES

__all__ = ["BASELINES", "NAIVE_BASELINES", "SEASONAL_BASELINES", "VERSIONS"]

VERSIONS = {"ETS": 2, "Theta": 2, "ridge": 2, "trees": 3}
"""Versions of baselines whose forecasts changed: raise one with its forecasts, so that recorded ones are not reused.

2: ETS chooses its form; Theta finds the best smoothing constant of all; ridge and trees read what is known ahead, lags,
and categories. 3: trees read fewer columns, and the target one and two periods back.
"""
SEASONAL_BASELINES = ("seasonal naive", "ETS", "Theta", "trees", "relative trees", "AutoARIMA")
"""Baselines that use the period."""
NAIVE_BASELINES = ("last value", "seasonal naive", "training mean", "training median")
"""Baselines that fit no model: a network that loses to one of them is not promoted."""
