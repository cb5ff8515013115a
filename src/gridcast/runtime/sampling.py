"""Sample paths of an autoregressive network, drawn step by step in numpy: the same on every backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .likelihoods import Likelihood

MAX_PATHS_AT_ONCE = 4096
"""Paths that are stepped at once: so many fit into a processor's cache."""


@dataclass(frozen=True)
class RecurrentLayer:
    """A recurrent layer; what goes through a sigmoid is halved, for σ(x) = (1 + tanh(x / 2)) / 2: one tanh for all."""

    kernel: np.ndarray
    bias: np.ndarray
    recurrent: np.ndarray
    inner: np.ndarray

    @classmethod
    def of(cls, kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> RecurrentLayer:
        """That of a Keras GRU or LSTM with these weights."""
        units = recurrent.shape[0]
        gated = kernel.shape[1] == 3 * units
        half = np.repeat(np.array([0.5, 0.5, 1] if gated else [0.5, 0.5, 1, 0.5], np.float32), units)
        outer, inner = bias if gated else (bias, np.zeros_like(bias))
        return cls(kernel * half, outer * half, recurrent * half, inner * half)

    @property
    def gated(self) -> bool:
        """Whether it is a GRU, with three gates; an LSTM has four and a memory."""
        return self.kernel.shape[1] == 3 * self.recurrent.shape[0]

    def start(self, rows: int) -> tuple[np.ndarray, ...]:
        """The state of `rows` sequences before their first step."""
        return (np.zeros((rows, self.recurrent.shape[0]), np.float32),) * (1 if self.gated else 2)

    def step(self, gates: np.ndarray, state: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """The next state, its first part the output, from inputs already multiplied: (rows, units · gates)."""
        inner = state[0] @ self.recurrent
        if self.gated:
            inner += self.inner
            hidden, units = state[0], self.recurrent.shape[0]
            both = 1 + np.tanh(gates[:, : 2 * units] + inner[:, : 2 * units])
            new = np.tanh(gates[:, 2 * units :] + 0.5 * both[:, units:] * inner[:, 2 * units :])
            return (new + 0.5 * both[:, :units] * (hidden - new),)
        inner += gates
        enter, forget, new, leave = np.split(np.tanh(inner, out=inner), 4, axis=1)
        carry = 0.5 * ((1 + forget) * state[1] + (1 + enter) * new)
        return 0.5 * (1 + leave) * np.tanh(carry), carry


@dataclass(frozen=True)
class NetworkWeights:
    """The weights of a network that `autoregressive.build` made."""

    embeddings: tuple[np.ndarray, ...]
    layers: tuple[RecurrentLayer, ...]
    head: np.ndarray
    bias: np.ndarray

    @classmethod
    def of(cls, network: Any) -> NetworkWeights:
        """Those of a Keras `network`."""
        found = {layer.name: [np.asarray(w) for w in layer.get_weights()] for layer in network.layers}
        layers = [RecurrentLayer.of(*own) for name, own in found.items() if name.startswith("recurrent_")]
        embeddings = tuple(own[0] for name, own in found.items() if name.endswith("_embedding"))
        head, bias = found["parameters"]
        return cls(embeddings, tuple(layers), head, bias)

    def embedded(self, read: Mapping[str, np.ndarray]) -> np.ndarray:
        """The embeddings (n, width) of the codes that `read` holds."""
        codes = read["static"].T if "static" in read else ()
        parts = [table[code] for table, code in zip(self.embeddings, codes, strict=True)]
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(read["signal"]), 0), np.float32)

    def step(
        self, common: np.ndarray, recent: np.ndarray, states: list[tuple[np.ndarray, ...]]
    ) -> tuple[np.ndarray, list[tuple[np.ndarray, ...]]]:
        """Raw parameters (rows, parameters) and states after a step of rows = n · count sequences.

        `common` (n, width) is what the paths of a window share, its first columns replaced by
        `recent` (rows, columns).
        """
        rows, columns = recent.shape
        count = rows // len(common)

        def times(matrix: np.ndarray, bias: np.ndarray) -> np.ndarray:
            shared = np.repeat(common[:, columns:] @ matrix[columns:] + bias, count, axis=0)
            return shared + recent @ matrix[:columns] if columns else shared

        after, output = [], np.zeros((0, 0), np.float32)
        for depth, (layer, state) in enumerate(zip(self.layers, states, strict=True)):
            gates = output @ layer.kernel + layer.bias if depth else times(layer.kernel, layer.bias)
            after.append(layer.step(gates, state))
            output = after[-1][0]
        units = output.shape[1]
        return output @ self.head[:units] + times(self.head[units:], self.bias), after


def sample_paths(
    network: Any,
    likelihood: Likelihood,
    read: Mapping[str, np.ndarray],
    scale: np.ndarray,
    lags: tuple[int, ...],
    lookback: int,
    count: int,
    seed: int,
) -> np.ndarray:
    """Sample paths (n, count, horizon) around the windows' centres: each step is drawn, and is a lag of those after it.

    `read` holds the inputs of the network by name for n windows, their signal (n, lookback + horizon,
    features) with the `lags` first; those that reach into the horizon are not looked at. `scale`
    (n,) is that of each window in data units. The same seed draws the same paths. `network` is one of
    Keras, or the `Weights` of one.

    Source: Salinas et al. (2020), section 3.2.
    """
    weights = network if isinstance(network, NetworkWeights) else NetworkWeights.of(network)
    generator = np.random.default_rng(seed)
    signal = read["signal"]
    whole = np.concatenate(
        [signal, np.repeat(weights.embedded(read)[:, None], signal.shape[1], axis=1)], axis=2, dtype=np.float32
    )
    at_once = max(1, MAX_PATHS_AT_ONCE // count)
    found = [
        _chunk(weights, likelihood, whole[k : k + at_once], scale[k : k + at_once], lags, lookback, count, generator)
        for k in range(0, len(whole), at_once)
    ]
    return np.concatenate(found) if found else np.zeros((0, count, signal.shape[1] - lookback))


def _chunk(
    weights: NetworkWeights,
    likelihood: Likelihood,
    whole: np.ndarray,
    scale: np.ndarray,
    lags: tuple[int, ...],
    lookback: int,
    count: int,
    generator: np.random.Generator,
) -> np.ndarray:
    n, horizon = len(whole), whole.shape[1] - lookback
    states = [layer.start(n) for layer in weights.layers]
    nothing = np.zeros((n, 0), np.float32)
    for step in range(lookback):
        _, states = weights.step(whole[:, step], nothing, states)
    states = [tuple(np.repeat(part, count, axis=0) for part in state) for state in states]
    scales = np.repeat(scale, count)
    drawn = np.zeros((horizon, n * count))
    scaled = np.zeros((horizon, n * count), np.float32)
    for step in range(horizon):
        reached = [lag for lag in lags if lag <= step]
        recent = np.stack([scaled[step - lag] for lag in reached], axis=1) if reached else np.zeros((n * count, 0))
        raw, states = weights.step(whole[:, lookback + step], recent.astype(np.float32), states)
        drawn[step] = likelihood.draw(raw.astype(float), scales, generator)
        scaled[step] = drawn[step] / scales
    return np.moveaxis(drawn.reshape(horizon, n, count), 0, 2)
