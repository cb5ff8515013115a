"""Networks that forecast all steps of the horizon at once from the past of the target: `linear` and `nhits`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from gridcast.config import Configuration
from gridcast.models.autoregressive import AutoregressiveShape, embed_static
from gridcast.models.nhits import nhits_forecast
from gridcast.models.recurrent import NetworkShape, embed_codes
from gridcast.models.seeded_layers import SeededLayers, joined
from gridcast.models.window_scaling import in_window_units

CONTEXT_FEATURES = 4
"""Features of a step known ahead that the blocks of `nhits` read at most."""


@dataclass(frozen=True)
class DirectInputs:
    """Tensors that a forecast is made of.

    `target` (n, lookback) is the past of the target; `known` (n, lookback + horizon, features) is known in advance of
    each step, None if nothing is; `vectors` (n, width) belong to the whole window: embeddings, last values.
    """

    target: Any
    known: Any | None
    vectors: list[Any]


def build_direct(
    configuration: Configuration, shape: NetworkShape, seed: int = 0, *, portable: bool = False
) -> keras.Model:
    """Return the uncompiled network of a point forecast, with the inputs and the output of `build_recurrent`."""
    layers = SeededLayers.of(seed, configuration.dropout, portable=portable)
    history = keras.Input((shape.lookback, shape.channels), name="history")
    inputs: dict[str, Any] = {"history": history}
    first_known, known = shape.channels - shape.ahead, None
    read, units = history, None
    if configuration.window_scaling != "none":
        read, units = in_window_units(history, configuration.window_scaling, shape.spread)
    if shape.ahead:
        inputs["ahead"] = keras.Input((shape.horizon, shape.ahead), name="ahead")
        known = keras.layers.Concatenate(axis=1, name="known")([history[:, :, first_known:], inputs["ahead"]])
    coded, vectors = embed_codes(shape, layers.seeds)
    vectors += [history[:, -1, 1:first_known]] if first_known > 1 else []
    forecast = direct_forecast(configuration, DirectInputs(read[:, :, 0], known, vectors), (shape.horizon, 1), layers)
    output = keras.layers.Reshape((shape.horizon,), name="forecast")(forecast)
    output = output if units is None else units.restore(output)
    return keras.Model(inputs | coded, output, name="forecaster")


def build_direct_quantiles(
    configuration: Configuration,
    shape: AutoregressiveShape,
    seed: int = 0,
    *,
    unknown_features: int,
    portable: bool = False,
) -> keras.Model:
    """Return the uncompiled network of a quantile forecast, with inputs and output of `build_quantile_regression`."""
    layers = SeededLayers.of(seed, configuration.dropout, portable=portable)
    signal = keras.Input((shape.lookback + shape.horizon, shape.features), name="signal")
    inputs, vectors = embed_static(shape, layers.seeds)
    target = signal[:, 1 : shape.lookback + 1, 0]  # the first feature of a step is the target one step before
    known = DirectInputs(target, signal[:, :, unknown_features:], vectors)
    raw = direct_forecast(configuration, known, (shape.horizon, shape.parameters), layers)
    return keras.Model({"signal": signal, **inputs}, raw + initial_quantiles(shape.parameters), name="forecaster")


def initial_quantiles(levels: int) -> np.ndarray:
    """Return the raw quantiles (levels,) that training starts with, see `increasing_quantiles`: evenly from -1 to 1."""
    if levels == 1:
        return np.zeros(1, np.float32)
    return np.array([-1.0] + [math.log(math.expm1(2 / (levels - 1)))] * (levels - 1), np.float32)


def direct_forecast(
    configuration: Configuration, inputs: DirectInputs, size: tuple[int, int], layers: SeededLayers
) -> Any:
    """Return the forecast (n, horizon, outputs), of this `size`; its first output is a value of the target.

    The features known ahead have an effect on the target of their step, by one function for past and horizon. The past
    less these effects is forecast as a distance from its last value, so that a new level only shifts the forecast.
    Before training the forecast is the last value.

    Source: Zeng, Chen, Zhang, Xu (2023), "Are Transformers Effective for Time Series Forecasting?" (NLinear).
    Departure: the effects of known features; together it is a regression whose errors are forecast.
    """
    (horizon, outputs), lookback, target = size, inputs.target.shape[1], inputs.target
    effects = None
    if inputs.known is not None:
        length = lookback + horizon
        repeated = [keras.layers.RepeatVector(length)(vector) for vector in inputs.vectors]
        hidden = layers.dense(joined([inputs.known, *repeated], "step"), configuration.units, "hidden", "relu")
        hidden = layers.dropout(hidden, "hidden_dropout")
        effects = layers.dense(hidden, outputs, "effects", zeros=True)
        target = target - effects[:, :lookback, 0]
    last = target[:, -1:]
    block = {"linear": linear_forecast, "nhits": nhits_forecast}[configuration.layer]
    forecast = block(configuration, target - last, _context(configuration, inputs, layers), size, layers)
    if effects is not None:
        forecast = forecast + effects[:, lookback:]
    level = keras.layers.RepeatVector(horizon, name="level")(last)
    if outputs == 1:
        return forecast + level
    return joined([forecast[..., :1] + level, forecast[..., 1:]], "outputs")


def linear_forecast(
    _: Configuration, past: Any, context: list[Any], size: tuple[int, int], layers: SeededLayers
) -> Any:
    """Return the forecast (n, horizon, outputs), of this `size`: one linear map of the `past` (n, lookback)."""
    read = joined([layers.dropout(past, "past_dropout"), *context], "past_and_context")
    return keras.layers.Reshape(size)(layers.dense(read, math.prod(size), "linear", zeros=True))


def _context(configuration: Configuration, inputs: DirectInputs, layers: SeededLayers) -> list[Any]:
    """Vectors (n, width) that the block reads beside the past; those of `nhits` include the features known ahead."""
    if inputs.known is None or configuration.layer == "linear":
        return inputs.vectors
    features = inputs.known
    if features.shape[-1] > CONTEXT_FEATURES:
        features = layers.dense(features, CONTEXT_FEATURES, "known_features", "relu")
    return [*inputs.vectors, keras.layers.Flatten(name="known_flat")(features)]
