"""The network of a point forecast: GRU or LSTM, stacked, bidirectional, with attention."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from gridcast.config import Configuration, Plugin
from gridcast.models import cells, dropout
from gridcast.models.attention import AdditiveAttention, stock_attention
from gridcast.models.plugin_network import plugin_features
from gridcast.models.window_scaling import in_window_units

FAST_LAYERS = {"GRU": cells.GRU, "LSTM": cells.LSTM}
STOCK_LAYERS = {"GRU": keras.layers.GRU, "LSTM": keras.layers.LSTM}


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of the inputs and outputs of a network.

    `ahead` is the number of channels known over the horizon, `series` the number of series, `categories` the number of
    codes of each static column. `spread` is the usual spread of windows of the target, see `window_scaling`.
    """

    lookback: int
    channels: int
    horizon: int
    ahead: int = 0
    series: int = 1
    categories: tuple[int, ...] = ()
    spread: float = 1.0


def build_recurrent(
    configuration: Configuration,
    shape: NetworkShape,
    seed: int = 0,
    *,
    plugin: Plugin | None = None,
    portable: bool = False,
) -> keras.Model:
    """Return an uncompiled network with named inputs and one output (n, horizon).

    The input history (n, lookback, channels) goes through the recurrent stack, or through a `plugin`. Its context, the
    input ahead (n, horizon, ahead), and embeddings of the inputs series (n,) and static (n, categories) are joined and
    go through one Dense head. All values are scaled, those of the target within each window too if the configuration
    has a `window_scaling`. With `portable` the same network, with the same trainable weights
    in the same order, is made of stock Keras layers only.

    Every layer has a seed of its own, derived from `seed`: Keras's default generator is shared with other threads of a
    worker, whose draws would change the weights.
    """
    seeds = iter(np.random.SeedSequence(seed).generate_state(256).tolist())
    history = keras.Input((shape.lookback, shape.channels), name="history")
    inputs: dict[str, Any] = {"history": history}
    sequence, units = history, None
    if configuration.window_scaling != "none":
        sequence, units = in_window_units(history, configuration.window_scaling, shape.spread)
    parts = [encode(configuration, sequence, seeds, plugin=plugin, portable=portable)]
    if shape.ahead:
        inputs["ahead"] = keras.Input((shape.horizon, shape.ahead), name="ahead")
        parts.append(keras.layers.Flatten(name="ahead_flat")(inputs["ahead"]))
    coded, vectors = embed_codes(shape, seeds)
    inputs |= coded
    parts += vectors
    joined = keras.layers.Concatenate(name="context")(parts) if len(parts) > 1 else parts[0]
    head = keras.layers.Dense(
        shape.horizon, kernel_initializer=keras.initializers.GlorotUniform(next(seeds)), name="forecast"
    )
    output = head(joined) if units is None else units.restore(head(joined))
    return keras.Model(inputs, output, name="forecaster")


def embed_codes(shape: NetworkShape, seeds: Iterator[int]) -> tuple[dict[str, Any], list[Any]]:
    """Return the inputs series (n,) and static (n, categories), as far as there are any, and a vector of each code."""
    inputs: dict[str, Any] = {}
    vectors = []
    if shape.series > 1:
        inputs["series"] = keras.Input((), name="series", dtype="int32")
        vectors.append(embedding_layer(shape.series, next(seeds), "series")(inputs["series"]))
    if shape.categories:
        inputs["static"] = keras.Input((len(shape.categories),), name="static", dtype="int32")
        for column, codes in enumerate(shape.categories):
            vectors.append(embedding_layer(codes, next(seeds), f"static_{column + 1}")(inputs["static"][:, column]))
    return inputs, vectors


def encode(
    configuration: Configuration, sequence: Any, seeds: Iterator[int], *, plugin: Plugin | None, portable: bool
) -> Any:
    """Return the features (n, features) of `sequence` (n, lookback, channels): the encoder of every network.

    They come from the recurrent stack, with attention if configured, or from a `plugin`.
    """
    if plugin is not None:
        return plugin_features(plugin, configuration, sequence, next(seeds))
    signal = recurrent_stack(configuration, sequence, seeds, sequences=configuration.attention, portable=portable)
    return attention_context(configuration, signal, seeds, portable=portable) if configuration.attention else signal


def recurrent_stack(
    configuration: Configuration,
    signal: Any,
    seeds: Iterator[int],
    *,
    sequences: bool,
    portable: bool,
    prefix: str = "",
) -> Any:
    """Return the outputs of the recurrent layers over `signal`: of every step if `sequences`, else of the last one."""
    layers: dict[str, Any] = STOCK_LAYERS if portable else FAST_LAYERS
    dropout_layer = keras.layers.Dropout if portable else dropout.Dropout
    for depth in range(configuration.layers):
        cell: Any = layers[configuration.layer](
            configuration.units,
            return_sequences=sequences or depth < configuration.layers - 1,
            kernel_initializer=keras.initializers.GlorotUniform(next(seeds)),
            recurrent_initializer=keras.initializers.Orthogonal(seed=next(seeds)),
            seed=next(seeds),
            name=f"{prefix}recurrent_{depth + 1}",
        )
        if configuration.bidirectional:
            cell = keras.layers.Bidirectional(cell, name=f"{prefix}bidirectional_{depth + 1}")
        signal = cell(signal)
        signal = dropout_layer(configuration.dropout, seed=next(seeds), name=f"{prefix}dropout_{depth + 1}")(signal)
    return signal


def attention_context(configuration: Configuration, signal: Any, seeds: Iterator[int], *, portable: bool) -> Any:
    """Return the context vector (n, features) of the steps of `signal` (n, lookback, features)."""
    layer = AdditiveAttention(configuration.units, seed=next(seeds), name="attention")
    return stock_attention(signal, configuration.units) if portable else layer(signal)


def embedding_layer(codes: int, seed: int, name: str) -> keras.layers.Layer:
    """Return a layer with a vector for each of the `codes`, as wide as the root of their number."""
    width = min(16, math.ceil(math.sqrt(codes)))
    return keras.layers.Embedding(codes, width, keras.initializers.RandomUniform(seed=seed), name=f"{name}_embedding")
