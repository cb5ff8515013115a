"""The layer `nhits`: blocks that read the past, and forecast, at coarser and finer steps."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from gridcast.config import Configuration
from gridcast.models.seeded_layers import SeededLayers, joined

MAX_POOLING, MAX_KNOT_STEPS = 16, 8
"""Most steps of the past that are pooled, and of the horizon from one knot of a forecast to the next."""


def stack_steps(lookback: int, horizon: int) -> tuple[tuple[int, int], ...]:
    """Return, for each stack from the coarsest to the finest, the steps that it pools and those between its knots."""
    pooling, knots = min(MAX_POOLING, max(1, lookback // 6)), min(MAX_KNOT_STEPS, max(1, horizon // 3))
    return (pooling, knots), (round(pooling**0.5), round(knots**0.5)), (1, 1)


def interpolation(horizon: int, step: int) -> np.ndarray:
    """Return the matrix (knots, horizon) that makes a path of values at every `step`-th step and the last one."""
    places = np.unique([*range(0, horizon, step), horizon - 1])
    unit = np.eye(len(places))
    return np.stack([np.interp(np.arange(horizon), places, row) for row in unit]).astype(np.float32)


def nhits_forecast(
    configuration: Configuration, past: Any, context: list[Any], size: tuple[int, int], layers: SeededLayers
) -> Any:
    """Return the forecast (n, horizon, outputs), of this `size`, from the `past` of the target (n, lookback).

    Each block reads the residual of the blocks before it, max-pooled, beside the `context`, vectors (n, width). It
    subtracts its own backcast from the residual, and adds to the forecast a path interpolated from values at few steps.
    There are three stacks of `layers` blocks, of two hidden layers of `units`.

    Source: Challu, Olivares, Oreshkin, Garza, Mergenthaler-Canseco, Dubrawski (2023), "N-HiTS: Neural Hierarchical
    Interpolation for Time Series Forecasting". Departures: the sizes follow from lookback and horizon, and a path is
    interpolated between its own first and last step.
    """
    lookback, (horizon, outputs) = past.shape[1], size
    rest, paths = past, []
    for stack, (pooling, step) in enumerate(stack_steps(lookback, horizon), start=1):
        matrix = interpolation(horizon, step)
        for depth in range(1, configuration.layers + 1):
            name = f"stack_{stack}_block_{depth}"
            hidden = joined([pooled(rest, pooling), *context], f"{name}_inputs")
            for number in (1, 2):
                hidden = layers.dense(hidden, configuration.units, f"{name}_hidden_{number}", "relu")
            hidden = layers.dropout(hidden, f"{name}_dropout")
            rest = rest - layers.dense(hidden, lookback, f"{name}_backcast")
            knots = layers.dense(hidden, outputs * len(matrix), f"{name}_knots", zeros=True)
            paths.append(ops.matmul(keras.layers.Reshape((outputs, len(matrix)))(knots), matrix))
    return keras.layers.Permute((2, 1), name="path")(keras.layers.Add(name="paths")(paths))


def pooled(values: Any, width: int) -> Any:
    """Return the largest of every `width` values (n, steps), counted from the last; the first few are left out."""
    steps = values.shape[1] // width
    if width == 1:
        return values
    grouped = keras.layers.Reshape((steps, width))(values[:, values.shape[1] - steps * width :])
    return ops.max(grouped, axis=2)
