"""The recurrent forecaster: GRU or LSTM, stacked, bidirectional, with attention."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from gridcast.config import Configuration
from gridcast.models import cells, dropout
from gridcast.models.attention import AdditiveAttention, stock_attention

CELLS = {"GRU": cells.GRU, "LSTM": cells.LSTM}
STOCK = {"GRU": keras.layers.GRU, "LSTM": keras.layers.LSTM}


@dataclass(frozen=True)
class Shape:
    """Sizes of what goes in and out of a network; `categories` counts the codes of each static column."""

    lookback: int
    channels: int
    horizon: int
    ahead: int = 0
    series: int = 1
    categories: tuple[int, ...] = ()


def build(configuration: Configuration, shape: Shape, seed: int = 0, *, portable: bool = False) -> keras.Model:
    """An uncompiled network with inputs named after what they carry, and one output (n, horizon).

    history (n, lookback, channels) goes through the recurrent stack; the context joined with
    ahead (n, horizon, ahead), an embedding of series (n,) and of static (n, categories) goes
    through one Dense head. All values are scaled. `portable` builds the same network, with the
    same trainable weights in the same order, out of Keras's own layers only.

    Every layer draws from a number that follows from `seed`: Keras's default, Python's global
    generator, is shared with the other threads of a worker, which would change the draws.
    """
    draws = iter(np.random.SeedSequence(seed).generate_state(256).tolist())
    history = keras.Input((shape.lookback, shape.channels), name="history")
    inputs: dict[str, Any] = {"history": history}
    signal = history
    for depth in range(configuration.layers):
        last = depth == configuration.layers - 1
        layers = STOCK if portable else CELLS
        cell: Any = layers[configuration.layer](
            configuration.units,
            return_sequences=configuration.attention or not last,
            kernel_initializer=keras.initializers.GlorotUniform(next(draws)),
            recurrent_initializer=keras.initializers.Orthogonal(seed=next(draws)),
            seed=next(draws),
            name=f"recurrent_{depth + 1}",
        )
        if configuration.bidirectional:
            cell = keras.layers.Bidirectional(cell, name=f"bidirectional_{depth + 1}")
        signal = cell(signal)
        drop = keras.layers.Dropout if portable else dropout.Dropout
        signal = drop(configuration.dropout, seed=next(draws), name=f"dropout_{depth + 1}")(signal)
    if configuration.attention:
        units = configuration.units
        own = AdditiveAttention(units, seed=next(draws), name="attention")
        signal = stock_attention(signal, units) if portable else own(signal)
    parts = [signal]
    if shape.ahead:
        inputs["ahead"] = keras.Input((shape.horizon, shape.ahead), name="ahead")
        parts.append(keras.layers.Flatten(name="ahead_flat")(inputs["ahead"]))
    if shape.series > 1:
        inputs["series"] = keras.Input((), name="series", dtype="int32")
        parts.append(embedding(shape.series, next(draws), "series")(inputs["series"]))
    if shape.categories:
        inputs["static"] = keras.Input((len(shape.categories),), name="static", dtype="int32")
        for column, codes in enumerate(shape.categories):
            parts.append(embedding(codes, next(draws), f"static_{column + 1}")(inputs["static"][:, column]))
    joined = keras.layers.Concatenate(name="context")(parts) if len(parts) > 1 else parts[0]
    head = keras.layers.Dense(
        shape.horizon, kernel_initializer=keras.initializers.GlorotUniform(next(draws)), name="forecast"
    )
    return keras.Model(inputs, head(joined), name="forecaster")


def embedding(codes: int, seed: int, name: str) -> keras.layers.Layer:
    """A vector for each of so many codes, as wide as the root of their number."""
    width = min(16, math.ceil(math.sqrt(codes)))
    return keras.layers.Embedding(codes, width, keras.initializers.RandomUniform(seed=seed), name=f"{name}_embedding")
