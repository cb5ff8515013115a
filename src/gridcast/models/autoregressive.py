"""The network of a probabilistic forecast: GRU or LSTM over context and horizon, a distribution for each step."""

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
    """Sizes of the inputs and outputs of a network.

    `features` is the number of inputs of each step, `parameters` that of the parameters of a distribution, `categories`
    the number of codes of each static column.
    """

    lookback: int
    horizon: int
    features: int
    parameters: int
    categories: tuple[int, ...] = ()


def build_autoregressive(
    configuration: Configuration, shape: AutoregressiveShape, seed: int = 0, *, portable: bool = False
) -> keras.Model:
    """Return an uncompiled network from signal to raw parameters of a distribution for each step.

    (n, lookback + horizon, features) -> (n, lookback + horizon, parameters). The signal of each step is made by
    `lag_features`; in training, lags within the horizon are observed values. The input static (n, categories) is
    embedded and joins it at every step. `portable` is as in `build_recurrent`.

    Source: Salinas, Flunkert, Gasthaus, Januschowski (2020), "DeepAR". Departures: the head reads the signal beside the
    recurrent state, so that it can pass a lag on unchanged; and the series themselves are not embedded, as a network
    that identifies each series memorises its level rather than learning its dynamics.
    """
    seeds = iter(np.random.SeedSequence(seed).generate_state(256).tolist())
    steps = shape.lookback + shape.horizon
    signal = keras.Input((steps, shape.features), name="signal")
    inputs, vectors = embed_static(shape, seeds)
    parts = [signal, *(keras.layers.RepeatVector(steps)(vector) for vector in vectors)]
    joined = keras.layers.Concatenate(name="joined")(parts) if vectors else signal
    state = causal_stack(configuration, joined, seeds, sequences=True, portable=portable)
    head = keras.layers.Dense(
        shape.parameters, kernel_initializer=keras.initializers.GlorotUniform(next(seeds)), name="parameters"
    )
    raw = head(keras.layers.Concatenate(name="seen")([state, joined]))
    return keras.Model({"signal": signal, **inputs}, raw, name="forecaster")


def embed_static(shape: AutoregressiveShape, seeds: Iterator[int]) -> tuple[dict[str, Any], list[Any]]:
    """Return the input of static codes by name, if there are any, and a vector (n, width) for each static column."""
    inputs: dict[str, Any] = {}
    vectors = []
    if shape.categories:
        inputs["static"] = keras.Input((len(shape.categories),), name="static", dtype="int32")
        for column, codes in enumerate(shape.categories):
            vectors.append(embedding_layer(codes, next(seeds), f"static_{column + 1}")(inputs["static"][:, column]))
    return inputs, vectors


def causal_stack(
    configuration: Configuration, signal: Any, seeds: Iterator[int], *, sequences: bool, portable: bool
) -> Any:
    """Return the outputs of the recurrent layers over `signal`: of every step if `sequences`, else of the last one.

    Unlike `recurrent_stack` it reads forwards only, so that no step depends on a later one. With several layers,
    dropout acts between them and not after the last one: the head would take its noise for that of the series.
    """
    layers: dict[str, Any] = STOCK_LAYERS if portable else FAST_LAYERS
    dropout_layer = keras.layers.Dropout if portable else dropout.Dropout
    for depth in range(configuration.layers):
        signal = layers[configuration.layer](
            configuration.units,
            return_sequences=sequences or depth < configuration.layers - 1,
            kernel_initializer=keras.initializers.GlorotUniform(next(seeds)),
            recurrent_initializer=keras.initializers.Orthogonal(seed=next(seeds)),
            seed=next(seeds),
            name=f"recurrent_{depth + 1}",
        )(signal)
        if depth < configuration.layers - 1 or configuration.layers == 1:
            signal = dropout_layer(configuration.dropout, seed=next(seeds), name=f"dropout_{depth + 1}")(signal)
    return signal
