"""The network of gridcast in plain Keras, as a tutorial would write it."""

from __future__ import annotations

import math
from typing import Any

import keras

CELLS = {"GRU": keras.layers.GRU, "LSTM": keras.layers.LSTM}


def build(
    sizes: dict[str, int], *, layer: str, units: int, dropout: float, learning_rate: float, attention: bool
) -> keras.Model:
    """A compiled network for windows of these `sizes`: history, ahead and series in, (n, horizon) scaled values out."""
    history = keras.Input((sizes["lookback"], sizes["channels"]), name="history")
    ahead = keras.Input((sizes["horizon"], sizes["ahead"]), name="ahead")
    series = keras.Input((), name="series", dtype="int32")
    signal = CELLS[layer](units, return_sequences=attention)(history)
    signal = keras.layers.Dropout(dropout)(signal)
    if attention:
        signal = attend(signal, units)
    width = min(16, math.ceil(math.sqrt(sizes["series"])))
    known = keras.layers.Flatten()(ahead)
    embedded = keras.layers.Embedding(sizes["series"], width)(series)
    context = keras.layers.Concatenate()([signal, known, embedded])
    forecast = keras.layers.Dense(sizes["horizon"])(context)
    model = keras.Model({"history": history, "ahead": ahead, "series": series}, forecast)
    model.compile(optimizer=keras.optimizers.Adam(learning_rate), loss="mse", metrics=["mae"])
    return model


def attend(sequence: Any, units: int) -> Any:
    """Additive attention (Bahdanau et al. 2015) without a query: (n, lookback, features) -> (n, features)."""
    hidden = keras.layers.Dense(units, activation="tanh")(sequence)
    scores = keras.layers.Dense(1, use_bias=False)(hidden)
    shares = keras.layers.Softmax(axis=1)(scores)
    context = keras.layers.Dot(axes=1)([shares, sequence])
    return keras.layers.Flatten()(context)
