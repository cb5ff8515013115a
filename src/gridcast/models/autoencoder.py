"""The network of a detector: it reconstructs a window of sensors, predicts the step after it, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from gridcast.config import Configuration, Plugin
from gridcast.models.recurrent import encode, recurrent_stack


@dataclass(frozen=True)
class AutoencoderShape:
    """Sizes of a window (lookback, sensors)."""

    lookback: int
    sensors: int


def build_autoencoder(
    configuration: Configuration,
    shape: AutoencoderShape,
    seed: int = 0,
    *,
    plugin: Plugin | None = None,
    portable: bool = False,
) -> keras.Model:
    """Return an uncompiled network from history (n, lookback, sensors) to the output of its kind of detector.

    The recurrent stack, with attention if configured, encodes the window in `latent` numbers. A second stack decodes
    them into a `reconstruction` (n, lookback, sensors); a Dense layer makes a `prediction` (n, 1, sensors) of them;
    `both` is (n, lookback + 1, sensors), the prediction last. All values are scaled. A `plugin` encodes in place of the
    recurrent stack; what it encodes is decoded by two Dense layers. `portable` is as in `build_recurrent`.

    Source: Malhotra, Ramakrishnan, Anand, Vig, Agarwal, Shroff (2016), "LSTM-based Encoder-Decoder for
    Multi-sensor Anomaly Detection". Departures: the decoder reads the same numbers at each step rather than the value
    before, so that training and use are the same; and these numbers are fewer than the units. For the sum of both
    errors: Zhao et al. (2020), "Multivariate Time-series Anomaly Detection via Graph Attention Network".
    """
    seeds = iter(np.random.SeedSequence(seed).generate_state(256).tolist())
    history = keras.Input((shape.lookback, shape.sensors), name="history")
    signal = encode(configuration, history, seeds, plugin=plugin, portable=portable)

    def dense(units: int, name: str, activation: str | None = None) -> Any:
        initializer = keras.initializers.GlorotUniform(next(seeds))
        return keras.layers.Dense(units, activation, kernel_initializer=initializer, name=name)

    assert configuration.latent is not None
    latent = dense(configuration.latent, "latent")(signal)
    outputs = []
    if configuration.detector != "prediction" and plugin is not None:
        decoded = dense(configuration.units, "decoder", "relu")(latent)
        flat = dense(shape.lookback * shape.sensors, "reconstruction")(decoded)
        outputs.append(keras.layers.Reshape((shape.lookback, shape.sensors), name="window")(flat))
    elif configuration.detector != "prediction":
        repeated = keras.layers.RepeatVector(shape.lookback, name="repeated")(latent)
        decoded = recurrent_stack(configuration, repeated, seeds, sequences=True, portable=portable, prefix="decoder_")
        outputs.append(dense(shape.sensors, "reconstruction")(decoded))
    if configuration.detector != "reconstruction":
        prediction = dense(shape.sensors, "prediction")(latent)
        outputs.append(keras.layers.Reshape((1, shape.sensors), name="step")(prediction))
    output = keras.layers.Concatenate(axis=1, name="both")(outputs) if len(outputs) > 1 else outputs[0]
    return keras.Model({"history": history}, output, name="detector")
