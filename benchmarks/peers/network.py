"""The network of gridcast in plain Keras, as a tutorial would write it."""

from __future__ import annotations

import math
from typing import Any

import keras

CELLS = {"GRU": keras.layers.GRU, "LSTM": keras.layers.LSTM}


def build(
    sizes: dict[str, int],
    *,
    layer: str,
    bidirectional: bool,
    units: int,
    dropout: float,
    learning_rate: float,
    attention: bool,
) -> keras.Model:
    """Return a compiled network for windows of these `sizes`: history, ahead, series -> scaled values (n, horizon).

    A network of a single series has no series input.
    """
    history = keras.Input((sizes["lookback"], sizes["channels"]), name="history")
    ahead = keras.Input((sizes["horizon"], sizes["ahead"]), name="ahead")
    cell = CELLS[layer](units, return_sequences=attention)
    signal = (keras.layers.Bidirectional(cell) if bidirectional else cell)(history)
    signal = keras.layers.Dropout(dropout)(signal)
    if attention:
        signal = attend(signal, units)
    inputs, parts = {"history": history, "ahead": ahead}, [signal, keras.layers.Flatten()(ahead)]
    if sizes["series"] > 1:
        inputs["series"] = keras.Input((), name="series", dtype="int32")
        width = min(16, math.ceil(math.sqrt(sizes["series"])))
        parts.append(keras.layers.Embedding(sizes["series"], width)(inputs["series"]))
    forecast = keras.layers.Dense(sizes["horizon"])(keras.layers.Concatenate()(parts))
    model = keras.Model(inputs, forecast)
    model.compile(optimizer=keras.optimizers.Adam(learning_rate), loss="mse", metrics=["mae"])
    return model


def attend(sequence: Any, units: int) -> Any:
    """Apply additive attention (Bahdanau et al. 2015) without a query: (n, lookback, features) -> (n, features)."""
    hidden = keras.layers.Dense(units, activation="tanh")(sequence)
    scores = keras.layers.Dense(1, use_bias=False)(hidden)
    shares = keras.layers.Softmax(axis=1)(scores)
    context = keras.layers.Dot(axes=1)([shares, sequence])
    return keras.layers.Flatten()(context)
