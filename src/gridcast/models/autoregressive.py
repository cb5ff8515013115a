"""The network of a probabilistic forecast: GRU or LSTM over context and horizon, one distribution a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from gridcast.config import Configuration
from gridcast.models import dropout
from gridcast.models.recurrent import CELLS, STOCK, embedding


@dataclass(frozen=True)
class Shape:
    """Sizes: `features` of each step, `parameters` of a distribution; `categories` counts the codes of each static."""

    lookback: int
    horizon: int
    features: int
    parameters: int
    series: int = 1
    categories: tuple[int, ...] = ()


def build(configuration: Configuration, shape: Shape, seed: int = 0, *, portable: bool = False) -> keras.Model:
    """An uncompiled network from signal (n, lookback + horizon, features) to raw (n, lookback + horizon, parameters).

    The signal of each step is made by `data.lagged`: in training the lags of the horizon are those
    observed. series (n,) and static (n, categories) are embedded and join it at every step.
    `portable` is as in `recurrent.build`.

    Source: Salinas, Flunkert, Gasthaus, Januschowski (2020), "DeepAR". Departure: the head reads the
    signal beside the recurrent state, so that it can take over a lag as it stands.
    """
    draws = iter(np.random.SeedSequence(seed).generate_state(256).tolist())
    steps = shape.lookback + shape.horizon
    inputs: dict[str, Any] = {"signal": keras.Input((steps, shape.features), name="signal")}
    parts = [inputs["signal"]]
    codes: dict[str, tuple[int, Any]] = {}
    if shape.series > 1:
        inputs["series"] = keras.Input((), name="series", dtype="int32")
        codes["series"] = shape.series, inputs["series"]
    if shape.categories:
        inputs["static"] = keras.Input((len(shape.categories),), name="static", dtype="int32")
        for column, count in enumerate(shape.categories):
            codes[f"static_{column + 1}"] = count, inputs["static"][:, column]
    for name, (count, code) in codes.items():
        parts.append(keras.layers.RepeatVector(steps)(embedding(count, next(draws), name)(code)))
    joined = keras.layers.Concatenate(name="joined")(parts) if len(parts) > 1 else parts[0]
    state = joined
    for depth in range(configuration.layers):
        layers: dict[str, Any] = STOCK if portable else CELLS
        state = layers[configuration.layer](
            configuration.units,
            return_sequences=True,
            kernel_initializer=keras.initializers.GlorotUniform(next(draws)),
            recurrent_initializer=keras.initializers.Orthogonal(seed=next(draws)),
            seed=next(draws),
            name=f"recurrent_{depth + 1}",
        )(state)
        drop = keras.layers.Dropout if portable else dropout.Dropout
        state = drop(configuration.dropout, seed=next(draws), name=f"dropout_{depth + 1}")(state)
    head = keras.layers.Dense(
        shape.parameters, kernel_initializer=keras.initializers.GlorotUniform(next(draws)), name="parameters"
    )
    return keras.Model(inputs, head(keras.layers.Concatenate(name="seen")([state, joined])), name="forecaster")
