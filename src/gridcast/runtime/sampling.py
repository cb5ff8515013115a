"""Sample paths of an autoregressive network, drawn step by step in numpy: the same on every backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .likelihoods import Likelihood
from .windows import WindowInputs

MAX_PATHS_AT_ONCE = 4096
"""Paths that are advanced together: their states fit into a processor's cache."""

State = tuple[np.ndarray, ...]
"""Of a recurrent layer: its output (rows, units), and for an LSTM its memory (rows, units)."""


@dataclass(frozen=True)
class RecurrentLayer:
    """The weights of a recurrent layer, those of its sigmoid gates halved.

    As sigmoid(x) = (1 + tanh(x / 2)) / 2, one call of tanh then serves all gates. Shapes, with g = 3 gates (GRU) or 4
    (LSTM): `kernel` (inputs, units · g), `recurrent` (units, units · g), `bias` and `recurrent_bias` (units · g,).
    """

    kernel: np.ndarray
    bias: np.ndarray
    recurrent: np.ndarray
    recurrent_bias: np.ndarray

    @classmethod
    def of(cls, kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> RecurrentLayer:
        """Return the layer with the weights of a Keras GRU (update, reset, new) or LSTM (in, forget, new, out)."""
        units = recurrent.shape[0]
        is_gru = kernel.shape[1] == 3 * units
        halves = np.repeat(np.array([0.5, 0.5, 1] if is_gru else [0.5, 0.5, 1, 0.5], np.float32), units)
        input_bias, recurrent_bias = bias if is_gru else (bias, np.zeros_like(bias))
        return cls(kernel * halves, input_bias * halves, recurrent * halves, recurrent_bias * halves)

    @property
    def is_gru(self) -> bool:
        """Whether it is a GRU, with three gates; an LSTM has four and a memory."""
        return self.kernel.shape[1] == 3 * self.recurrent.shape[0]

    def start(self, rows: int) -> State:
        """Return the state of `rows` sequences before their first step."""
        return (np.zeros((rows, self.recurrent.shape[0]), np.float32),) * (1 if self.is_gru else 2)

    def step(self, gates: np.ndarray, state: State) -> State:
        """Return the next state; `gates` (rows, units · g) are the inputs times the kernel, plus the bias."""
        recurrent = state[0] @ self.recurrent
        if self.is_gru:
            recurrent += self.recurrent_bias
            output, units = state[0], self.recurrent.shape[0]
            update_reset = 1 + np.tanh(gates[:, : 2 * units] + recurrent[:, : 2 * units])  # twice the sigmoids
            new = np.tanh(gates[:, 2 * units :] + 0.5 * update_reset[:, units:] * recurrent[:, 2 * units :])
            return (new + 0.5 * update_reset[:, :units] * (output - new),)
        recurrent += gates
        enter, forget, new, leave = np.split(np.tanh(recurrent, out=recurrent), 4, axis=1)
        memory = 0.5 * ((1 + forget) * state[1] + (1 + enter) * new)
        return 0.5 * (1 + leave) * np.tanh(memory), memory


@dataclass(frozen=True)
class NetworkWeights:
    """The weights of a network that `models.autoregressive` built: embeddings, recurrent layers and the head.

    The head's `head` (units + inputs, parameters) and `bias` (parameters,) give the raw parameters of a step.
    """

    embeddings: tuple[np.ndarray, ...]
    layers: tuple[RecurrentLayer, ...]
    head: np.ndarray
    bias: np.ndarray

    @classmethod
    def of(cls, network: Any) -> NetworkWeights:
        """Return the weights of a Keras `network`."""
        weights = {layer.name: [np.asarray(w) for w in layer.get_weights()] for layer in network.layers}
        layers = [RecurrentLayer.of(*arrays) for name, arrays in weights.items() if name.startswith("recurrent_")]
        embeddings = tuple(arrays[0] for name, arrays in weights.items() if name.endswith("_embedding"))
        head, bias = weights["parameters"]
        return cls(embeddings, tuple(layers), head, bias)

    def embedded(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the embeddings (n, width) of the category codes among the network's input `arrays`."""
        codes = arrays["static"].T if "static" in arrays else ()
        parts = [table[code] for table, code in zip(self.embeddings, codes, strict=True)]
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(arrays["signal"]), 0), np.float32)

    def step(self, common: np.ndarray, recent: np.ndarray, states: list[State]) -> tuple[np.ndarray, list[State]]:
        """Return raw parameters (rows, parameters) and states after a step of n windows with rows / n paths each.

        `common` (n, inputs) is what the paths of a window share; its first columns give way to `recent`
        (rows, columns), the lags that differ between paths.
        """
        rows, columns = recent.shape
        paths = rows // len(common)

        def multiplied(matrix: np.ndarray, bias: np.ndarray) -> np.ndarray:
            # The common part is multiplied once for a window, not once for each of its paths.
            shared = np.repeat(common[:, columns:] @ matrix[columns:] + bias, paths, axis=0)
            return shared + recent @ matrix[:columns] if columns else shared

        new_states, output = [], np.zeros((0, 0), np.float32)
        for depth, (layer, state) in enumerate(zip(self.layers, states, strict=True)):
            gates = output @ layer.kernel + layer.bias if depth else multiplied(layer.kernel, layer.bias)
            new_states.append(layer.step(gates, state))
            output = new_states[-1][0]
        units = output.shape[1]
        return output @ self.head[:units] + multiplied(self.head[units:], self.bias), new_states


def sample_paths(network: Any, likelihood: Likelihood, windows: WindowInputs, *, count: int, seed: int) -> np.ndarray:
    """Return sample paths (n, count, horizon) of n windows, in data units around their centres.

    Each step is drawn, and then is a lag of the steps after it. The network's input "signal" is
    (n, lookback + horizon, features) with the lags first; values of lags that lie within the horizon are not read. The
    same seed draws the same paths. `network` is a Keras network or its `NetworkWeights`.

    Source: Salinas et al. (2020), section 3.2.
    """
    weights = network if isinstance(network, NetworkWeights) else NetworkWeights.of(network)
    generator = np.random.default_rng(seed)
    signal = windows.arrays["signal"]
    embedded = np.repeat(weights.embedded(windows.arrays)[:, None], signal.shape[1], axis=1)
    inputs = np.concatenate([signal, embedded], axis=2, dtype=np.float32)
    at_once = max(1, MAX_PATHS_AT_ONCE // count)
    chunks = []
    for start in range(0, len(inputs), at_once):
        rows = slice(start, start + at_once)
        chunks.append(
            _chunk(
                weights,
                likelihood,
                inputs[rows],
                windows.scale[rows],
                lookback=windows.lookback,
                lags=windows.lags,
                count=count,
                generator=generator,
            )
        )
    return np.concatenate(chunks) if chunks else np.zeros((0, count, signal.shape[1] - windows.lookback))


def _chunk(
    weights: NetworkWeights,
    likelihood: Likelihood,
    inputs: np.ndarray,
    scale: np.ndarray,
    *,
    lookback: int,
    lags: tuple[int, ...],
    count: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Sample paths (n, count, horizon) of the windows `inputs` (n, lookback + horizon, features)."""
    n, horizon = len(inputs), inputs.shape[1] - lookback
    states = [layer.start(n) for layer in weights.layers]
    no_lags = np.zeros((n, 0), np.float32)
    for step in range(lookback):  # all paths of a window share its past
        _, states = weights.step(inputs[:, step], no_lags, states)
    states = [tuple(np.repeat(part, count, axis=0) for part in state) for state in states]
    scales = np.repeat(scale, count)
    drawn = np.zeros((horizon, n * count))
    scaled = np.zeros((horizon, n * count), np.float32)
    for step in range(horizon):
        drawn_lags = [lag for lag in lags if lag <= step]  # the first columns, as lags are ascending
        recent = (
            np.stack([scaled[step - lag] for lag in drawn_lags], axis=1) if drawn_lags else np.zeros((n * count, 0))
        )
        raw, states = weights.step(inputs[:, lookback + step], recent.astype(np.float32), states)
        drawn[step] = likelihood.draw(raw.astype(float), scales, generator)
        scaled[step] = drawn[step] / scales
    return np.moveaxis(drawn.reshape(horizon, n, count), 0, 2)
