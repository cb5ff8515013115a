"""The network of a probabilistic forecast: GRU or LSTM over context and horizon, one distribution a step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from gridcast.config import Configuration
from gridcast.models import dropout
from gridcast.models.recurrent import FAST_LAYERS, STOCK_LAYERS, embedding_layer


@dataclass(frozen=True)
class AutoregressiveShape:
    """Sizes: `features` of each step, `parameters` of a distribution; `categories` counts the codes of each static."""

    lookback: int
    horizon: int
    features: int
    parameters: int
    categories: tuple[int, ...] = ()


def build_autoregressive(
    configuration: Configuration, shape: AutoregressiveShape, seed: int = 0, *, portable: bool = False
) -> keras.Model:
    """An uncompiled network from signal (n, lookback + horizon, features) to raw (n, lookback + horizon, parameters).

    The signal of each step is made by `data.lagged`: in training the lags of the horizon are those
    observed. static (n, categories) is embedded and joins it at every step.
    `portable` is as in `recurrent.build`.

    Source: Salinas, Flunkert, Gasthaus, Januschowski (2020), "DeepAR". Departures: the head reads the
    signal beside the recurrent state, so that it can take over a lag as it stands; and the series
    themselves are not embedded, for a network that knows each by its name learns where it was
    rather than where it goes.
    """
    draws = iter(np.random.SeedSequence(seed).generate_state(256).tolist())
    steps = shape.lookback + shape.horizon
    signal = keras.Input((steps, shape.features), name="signal")
    inputs, vectors = embed_static(shape, draws)
    parts = [signal, *(keras.layers.RepeatVector(steps)(vector) for vector in vectors)]
    joined = keras.layers.Concatenate(name="joined")(parts) if vectors else signal
    state = causal_stack(configuration, joined, draws, sequences=True, portable=portable)
    head = keras.layers.Dense(
        shape.parameters, kernel_initializer=keras.initializers.GlorotUniform(next(draws)), name="parameters"
    )
    raw = head(keras.layers.Concatenate(name="seen")([state, joined]))
    return keras.Model({"signal": signal, **inputs}, raw, name="forecaster")


def embed_static(shape: AutoregressiveShape, draws: Iterator[int]) -> tuple[dict[str, Any], list[Any]]:
    """Inputs for the codes that there are, and a vector (n, width) of each code."""
    inputs: dict[str, Any] = {}
    vectors = []
    if shape.categories:
        inputs["static"] = keras.Input((len(shape.categories),), name="static", dtype="int32")
        for column, codes in enumerate(shape.categories):
            vectors.append(embedding_layer(codes, next(draws), f"static_{column + 1}")(inputs["static"][:, column]))
    return inputs, vectors


def causal_stack(
    configuration: Configuration, signal: Any, draws: Iterator[int], *, sequences: bool, portable: bool
) -> Any:
    """The outputs of the recurrent stack over `signal`: at every step where `sequences`, else at the last one.

    Dropout acts between layers, if there are several: what a head reads with its noise, it takes for
    the noise of the series.
    """
    layers: dict[str, Any] = STOCK_LAYERS if portable else FAST_LAYERS
    drop = keras.layers.Dropout if portable else dropout.Dropout
    for depth in range(configuration.layers):
        signal = layers[configuration.layer](
            configuration.units,
            return_sequences=sequences or depth < configuration.layers - 1,
            kernel_initializer=keras.initializers.GlorotUniform(next(draws)),
            recurrent_initializer=keras.initializers.Orthogonal(seed=next(draws)),
            seed=next(draws),
            name=f"recurrent_{depth + 1}",
        )(signal)
        if depth < configuration.layers - 1 or configuration.layers == 1:
            signal = drop(configuration.dropout, seed=next(draws), name=f"dropout_{depth + 1}")(signal)
    return signal
