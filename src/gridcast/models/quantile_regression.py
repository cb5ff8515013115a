"""The network of a quantile forecast: quantiles of all steps of the horizon at once."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from gridcast.config import Configuration, Plugin
from gridcast.models.autoregressive import AutoregressiveShape, causal_stack, embed_static
from gridcast.models.plugin_network import plugin_features

CONTEXT_WIDTH = 8
"""Width of the context that each step of the horizon has of its own."""


def build_quantile_regression(
    configuration: Configuration,
    shape: AutoregressiveShape,
    seed: int = 0,
    *,
    unknown_features: int,
    plugin: Plugin | None = None,
    portable: bool = False,
) -> keras.Model:
    """Return an uncompiled network from signal to raw quantiles of each step of the horizon.

    (n, lookback + horizon, features) -> (n, horizon, parameters). The recurrent stack, or a `plugin`, reads the steps
    before the origin only. Each step of the horizon reads its last state, as it is and through a context of its own,
    beside the signal of that step without its first `unknown_features`: lags that reach into the horizon. `portable` is
    as in `build_recurrent`.

    Source: Wen, Torkkola, Narayanaswamy, Madeka (2017), "A Multi-Horizon Quantile Recurrent Forecaster". Departures:
    one window is one example, and the signal of a step also bypasses its hidden layer.
    """
    seeds = iter(np.random.SeedSequence(seed).generate_state(256).tolist())
    steps = shape.lookback + shape.horizon
    signal = keras.Input((steps, shape.features), name="signal")
    inputs, vectors = embed_static(shape, seeds)
    past = [signal[:, : shape.lookback], *(keras.layers.RepeatVector(shape.lookback)(vector) for vector in vectors)]
    joined = keras.layers.Concatenate(name="joined")(past) if vectors else past[0]
    if plugin is not None:
        state = plugin_features(plugin, configuration, joined, next(seeds))
    else:
        state = causal_stack(configuration, joined, seeds, sequences=False, portable=portable)

    def dense(units: int, activation: str | None, name: str) -> Any:
        initializer = keras.initializers.GlorotUniform(next(seeds))
        return keras.layers.Dense(units, activation, kernel_initializer=initializer, name=name)

    contexts = dense(shape.horizon * CONTEXT_WIDTH, "relu", "contexts")(state)
    contexts = keras.layers.Reshape((shape.horizon, CONTEXT_WIDTH))(contexts)
    shared = keras.layers.Concatenate(name="whole")([state, *vectors]) if vectors else state
    shared = keras.layers.RepeatVector(shape.horizon)(shared)
    ahead = signal[:, shape.lookback :, unknown_features:]
    features = keras.layers.Concatenate(name="seen")([contexts, shared, ahead])
    hidden = dense(configuration.units, "relu", "hidden")(features)
    raw = dense(shape.parameters, None, "parameters")(keras.layers.Concatenate(name="around")([hidden, ahead]))
    return keras.Model({"signal": signal, **inputs}, raw, name="forecaster")
