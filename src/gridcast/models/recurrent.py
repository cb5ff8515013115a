"""The recurrent forecaster: GRU or LSTM, stacked, bidirectional, with attention."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from gridcast.config import Configuration
from gridcast.models import cells, dropout
from gridcast.models.attention import AdditiveAttention, stock_attention

FAST_LAYERS = {"GRU": cells.GRU, "LSTM": cells.LSTM}
STOCK_LAYERS = {"GRU": keras.layers.GRU, "LSTM": keras.layers.LSTM}


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of what goes in and out of a network; `categories` counts the codes of each static column."""

    lookback: int
    channels: int
    horizon: int
    ahead: int = 0
    series: int = 1
    categories: tuple[int, ...] = ()


def build_recurrent(
    configuration: Configuration, shape: NetworkShape, seed: int = 0, *, portable: bool = False
) -> keras.Model:
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
    signal = recurrent_stack(configuration, history, draws, sequences=configuration.attention, portable=portable)
    if configuration.attention:
        signal = attention_context(configuration, signal, draws, portable=portable)
    parts = [signal]
    if shape.ahead:
        inputs["ahead"] = keras.Input((shape.horizon, shape.ahead), name="ahead")
        parts.append(keras.layers.Flatten(name="ahead_flat")(inputs["ahead"]))
    if shape.series > 1:
        inputs["series"] = keras.Input((), name="series", dtype="int32")
        parts.append(embedding_layer(shape.series, next(draws), "series")(inputs["series"]))
    if shape.categories:
        inputs["static"] = keras.Input((len(shape.categories),), name="static", dtype="int32")
        for column, codes in enumerate(shape.categories):
            parts.append(embedding_layer(codes, next(draws), f"static_{column + 1}")(inputs["static"][:, column]))
    joined = keras.layers.Concatenate(name="context")(parts) if len(parts) > 1 else parts[0]
    head = keras.layers.Dense(
        shape.horizon, kernel_initializer=keras.initializers.GlorotUniform(next(draws)), name="forecast"
    )
    return keras.Model(inputs, head(joined), name="forecaster")


def recurrent_stack(
    configuration: Configuration,
    signal: Any,
    draws: Iterator[int],
    *,
    sequences: bool,
    portable: bool,
    prefix: str = "",
) -> Any:
    """The outputs of the recurrent layers over `signal`: at every step where `sequences`, else at the last one."""
    layers: dict[str, Any] = STOCK_LAYERS if portable else FAST_LAYERS
    drop = keras.layers.Dropout if portable else dropout.Dropout
    for depth in range(configuration.layers):
        cell: Any = layers[configuration.layer](
            configuration.units,
            return_sequences=sequences or depth < configuration.layers - 1,
            kernel_initializer=keras.initializers.GlorotUniform(next(draws)),
            recurrent_initializer=keras.initializers.Orthogonal(seed=next(draws)),
            seed=next(draws),
            name=f"{prefix}recurrent_{depth + 1}",
        )
        if configuration.bidirectional:
            cell = keras.layers.Bidirectional(cell, name=f"{prefix}bidirectional_{depth + 1}")
        signal = cell(signal)
        signal = drop(configuration.dropout, seed=next(draws), name=f"{prefix}dropout_{depth + 1}")(signal)
    return signal


def attention_context(configuration: Configuration, signal: Any, draws: Iterator[int], *, portable: bool) -> Any:
    """The context vector (n, features) of the steps of `signal`."""
    own = AdditiveAttention(configuration.units, seed=next(draws), name="attention")
    return stock_attention(signal, configuration.units) if portable else own(signal)


def embedding_layer(codes: int, seed: int, name: str) -> keras.layers.Layer:
    """A vector for each of so many codes, as wide as the root of their number."""
    width = min(16, math.ceil(math.sqrt(codes)))
    return keras.layers.Embedding(codes, width, keras.initializers.RandomUniform(seed=seed), name=f"{name}_embedding")
