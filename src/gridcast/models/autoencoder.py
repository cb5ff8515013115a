"""The network of a detector: it rebuilds a window of sensors from few numbers, predicts the step after it, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from gridcast.config import Configuration
from gridcast.models.recurrent import attention_context, recurrent_stack


@dataclass(frozen=True)
class AutoencoderShape:
    """Sizes of a window."""

    lookback: int
    sensors: int


def build_autoencoder(
    configuration: Configuration, shape: AutoencoderShape, seed: int = 0, *, portable: bool = False
) -> keras.Model:
    """An uncompiled network from history (n, lookback, sensors) to what its detector wants of it.

    The recurrent stack, with attention where asked, ends in `latent` numbers. A `reconstruction` (n, lookback,
    sensors) is what a second stack makes of these at every step; a `prediction` (n, 1, sensors) follows from them
    at once; `both` are (n, lookback + 1, sensors), the prediction last. All values are scaled. `portable` is as in
    `recurrent.build`.

    Source: Malhotra, Ramakrishnan, Anand, Vig, Agarwal, Shroff (2016), "LSTM-based Encoder-Decoder for
    Multi-sensor Anomaly Detection". Departures: the decoder reads the same numbers at each step in place of the
    value before, so that training and use are the same; and these numbers are fewer than the units. The two errors
    together: Zhao et al. (2020), "Multivariate Time-series Anomaly Detection via Graph Attention Network".
    """
    draws = iter(np.random.SeedSequence(seed).generate_state(256).tolist())
    history = keras.Input((shape.lookback, shape.sensors), name="history")
    signal = recurrent_stack(configuration, history, draws, sequences=configuration.attention, portable=portable)
    if configuration.attention:
        signal = attention_context(configuration, signal, draws, portable=portable)

    def dense(units: int, name: str) -> Any:
        draw = keras.initializers.GlorotUniform(next(draws))
        return keras.layers.Dense(units, kernel_initializer=draw, name=name)

    assert configuration.latent is not None
    latent, parts = dense(configuration.latent, "latent")(signal), []
    if configuration.detector != "prediction":
        repeated = keras.layers.RepeatVector(shape.lookback, name="repeated")(latent)
        decoded = recurrent_stack(configuration, repeated, draws, sequences=True, portable=portable, prefix="decoder_")
        parts.append(dense(shape.sensors, "reconstruction")(decoded))
    if configuration.detector != "reconstruction":
        ahead = dense(shape.sensors, "prediction")(latent)
        parts.append(keras.layers.Reshape((1, shape.sensors), name="step")(ahead))
    output = keras.layers.Concatenate(axis=1, name="both")(parts) if len(parts) > 1 else parts[0]
    return keras.Model({"history": history}, output, name="detector")
