"""The network that answers with quantiles of every step of the horizon at once."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from gridcast.config import Configuration
from gridcast.models.autoregressive import AutoregressiveShape, causal_stack, embed_static

CONTEXT_WIDTH = 8
"""Width of what each step of the horizon is told of the past by itself."""


def build_quantile_regression(
    configuration: Configuration, shape: AutoregressiveShape, unknown: int, seed: int = 0, *, portable: bool = False
) -> keras.Model:
    """An uncompiled network from signal (n, lookback + horizon, features) to raw (n, horizon, parameters).

    The recurrent stack reads the context alone. Each step of the horizon reads what it left, in a
    form of its own and as it is, beside the signal of that step but for its first `unknown`
    features, lags that reach into the horizon. `portable` is as in `recurrent.build`.

    Source: Wen, Torkkola, Narayanaswamy, Madeka (2017), "A Multi-Horizon Quantile Recurrent
    Forecaster". Departures: one window is one example, and the signal of a step goes around its
    hidden layer too.
    """
    draws = iter(np.random.SeedSequence(seed).generate_state(256).tolist())
    steps = shape.lookback + shape.horizon
    signal = keras.Input((steps, shape.features), name="signal")
    inputs, vectors = embed_static(shape, draws)
    past = [signal[:, : shape.lookback], *(keras.layers.RepeatVector(shape.lookback)(vector) for vector in vectors)]
    joined = keras.layers.Concatenate(name="joined")(past) if vectors else past[0]
    state = causal_stack(configuration, joined, draws, sequences=False, portable=portable)

    def dense(units: int, activation: str | None, name: str) -> Any:
        draw = keras.initializers.GlorotUniform(next(draws))
        return keras.layers.Dense(units, activation, kernel_initializer=draw, name=name)

    own = dense(shape.horizon * CONTEXT_WIDTH, "relu", "contexts")(state)
    own = keras.layers.Reshape((shape.horizon, CONTEXT_WIDTH))(own)
    whole = keras.layers.Concatenate(name="whole")([state, *vectors]) if vectors else state
    whole = keras.layers.RepeatVector(shape.horizon)(whole)
    ahead = signal[:, shape.lookback :, unknown:]
    seen = keras.layers.Concatenate(name="seen")([own, whole, ahead])
    hidden = dense(configuration.units, "relu", "hidden")(seen)
    raw = dense(shape.parameters, None, "parameters")(keras.layers.Concatenate(name="around")([hidden, ahead]))
    return keras.Model({"signal": signal, **inputs}, raw, name="forecaster")
