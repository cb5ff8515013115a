"""Plug-ins for gridcast: three networks, a baseline, a metric and a callback of one's own, in one file.

    gridcast run experiments/plugins/retail.yaml --plugin experiments/plugins/networks.py

An encoder is a function of a sequence, a Keras tensor (n, lookback, channels), and the configuration of a run. It
returns features (n, features), from which gridcast makes the forecast. Its keyword arguments with defaults are axes of
the grid that only this network has. The file needs nothing of gridcast.
"""

import keras
import numpy as np
from keras import layers, ops


def tcn(sequence, configuration, *, kernel=3, levels=2):
    """Temporal convolutional network: causal convolutions with dilations 1, 2, 4, ..., each pair with a shortcut.

    Source: Bai, Kolter, Koltun (2018), "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for
    Sequence Modeling".
    """
    signal = sequence
    for level in range(levels):
        hidden = signal
        for _ in range(2):
            hidden = layers.Conv1D(
                configuration.units, kernel, padding="causal", dilation_rate=2**level, activation="relu"
            )(hidden)
            hidden = layers.SpatialDropout1D(configuration.dropout)(hidden)
        if signal.shape[-1] != configuration.units:
            signal = layers.Conv1D(configuration.units, 1)(signal)
        signal = layers.ReLU()(layers.Add()([signal, hidden]))
    return signal[:, -1]


def positions(steps, width):
    """Return the code of each step (steps, width): sines and cosines of falling frequency."""
    angles = np.arange(steps)[:, None] / 10000 ** (2 * (np.arange(width) // 2) / width)
    return np.where(np.arange(width) % 2, np.cos(angles), np.sin(angles)).astype("float32")


def transformer(sequence, configuration, *, heads=2, blocks=1):
    """Transformer encoder with normalisation before each part, and the mean over the steps.

    Source: Vaswani et al. (2017), "Attention Is All You Need".
    """
    units, dropout = configuration.units, configuration.dropout
    signal = layers.Dense(units)(sequence) + positions(sequence.shape[1], units)
    for _ in range(blocks):
        normal = layers.LayerNormalization()(signal)
        attended = layers.MultiHeadAttention(heads, max(1, units // heads), dropout=dropout)(normal, normal)
        signal = layers.Add()([signal, attended])
        hidden = layers.Dense(2 * units, activation="gelu")(layers.LayerNormalization()(signal))
        signal = layers.Add()([signal, layers.Dropout(dropout)(layers.Dense(units)(hidden))])
    return layers.GlobalAveragePooling1D()(layers.LayerNormalization()(signal))


def nhits(sequence, configuration, *, pool=2, stacks=2):
    """Blocks that read the sequence at coarser and finer steps, each what the blocks before it have left unexplained.

    Source: Challu, Olivares, Oreshkin, Garza, Mergenthaler-Canseco, Dubrawski (2023), "N-HiTS: Neural Hierarchical
    Interpolation for Time Series Forecasting". Departure: a block returns features of the forecast, not the forecast.
    """
    steps, channels = sequence.shape[1:]
    rest, forecasts = sequence, []
    for stack in reversed(range(stacks)):
        width = min(pool**stack, steps)
        pooled = layers.MaxPooling1D(width, padding="same")(rest)
        hidden = layers.Dense(configuration.units, activation="relu")(layers.Flatten()(pooled))
        hidden = layers.Dropout(configuration.dropout)(hidden)
        hidden = layers.Dense(configuration.units, activation="relu")(hidden)
        knots = layers.Reshape((-(-steps // width), channels))(layers.Dense(-(-steps // width) * channels)(hidden))
        explained = ops.repeat(knots, width, axis=1)[:, :steps]
        rest = layers.Subtract()([rest, explained])
        forecasts.append(layers.Dense(configuration.units)(hidden))
    return layers.Add()(forecasts) if stacks > 1 else forecasts[0]


def drift(task):
    """Forecast the last value plus the mean step of the lookback: (n, horizon), in data units.

    `task` is the same as gridcast's own baselines get: `task.target` (series, steps), `task.index` (n, 2) with the
    series and the first step of each forecast.
    """
    series, origin = task.index.T
    last = task.target[series, origin - 1]
    first = task.target[series, origin - task.lookback]
    slope = (last - first) / max(1, task.lookback - 1)
    return last[:, None] + slope[:, None] * np.arange(1, task.horizon + 1)


def overstock(actual, forecast):
    """Return by how much the forecasts exceed the actual values on average: a metric, of which lower is better."""
    return float(np.mean(np.maximum(forecast - actual, 0)))


def halve_on_plateau(configuration):
    """Halve the learning rate where the validation loss has not fallen for three epochs: a Keras callback."""
    smallest = configuration.learning_rate / 100
    return keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=3, min_lr=smallest)


NETWORKS = {"TCN": tcn, "Transformer": transformer, "N-HiTS": nhits}
BASELINES = {"drift": drift}
METRICS = {"overstock": overstock}
CALLBACKS = {"halve on plateau": halve_on_plateau}
