"""Windows in units of themselves: a part of the network, which turns its own output back.

So the network reads and forecasts what every other one does, in training, in use, in ensembles and routes. Losses of
networks with different scalings compare.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops


class WindowUnits(NamedTuple):
    """Centre and unit (n, 1), in scaled units, in which the target of each window is read and forecast."""

    centre: Any
    unit: Any

    def restore(self, output: Any) -> Any:
        """Return the `output` (n, horizon) of a network in scaled units."""
        return output * self.unit + self.centre


def in_window_units(history: Any, scaling: str, spread: float) -> tuple[Any, WindowUnits]:
    """Return `history` (n, lookback, channels) with its target, channel 0, in units of each window, and these.

    - `mean`: in units of the window's mean absolute value; 1, the unit of the series, for a window of zeros.
    - `last`: the change from the last value, in units of the window's spread.
    - `standard`: around the mean, in the same units.

    The spread is the root of the window's variance plus the square of the usual `spread`, which keeps the noise of a
    window that hardly changes from being magnified.

    Source: Kim, Kim, Tae, Park, Choi, Choo (2022), "Reversible Instance Normalization for Accurate Time-Series
    Forecasting against Distribution Shift", without the affine part; the last value as in Zeng, Chen, Zhang, Xu (2023),
    "Are Transformers Effective for Time Series Forecasting?" (NLinear).
    """
    target = history[:, :, :1]
    mean = ops.mean(target, axis=1, keepdims=True)
    if scaling == "mean":
        level = ops.mean(ops.abs(target), axis=1, keepdims=True)
        centre, unit = mean * 0.0, ops.where(level > 0, level, 1.0)
    else:
        variance = ops.mean(ops.square(target - mean), axis=1, keepdims=True)
        centre, unit = target[:, -1:] if scaling == "last" else mean, ops.sqrt(variance + spread**2)
    scaled = (target - centre) / unit
    if history.shape[2] > 1:
        scaled = keras.layers.Concatenate(name="in_window_units")([scaled, history[:, :, 1:]])
    return scaled, WindowUnits(centre[:, 0], unit[:, 0])
