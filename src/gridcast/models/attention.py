"""Additive attention over time steps: a layer, and the same computation made of stock layers."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="gridcast")
class AdditiveAttention(keras.layers.Layer):
    """Weighs the time steps of a sequence and returns their weighted mean, the context vector.

    score(h) = vᵀ tanh(W h + b), weights = softmax over time, context = Σ weights · h
    (n, lookback, features) -> (n, features)

    Source: Bahdanau, Cho, Bengio (2015), "Neural Machine Translation by Jointly Learning to Align
    and Translate", equations 5 and 6. A forecast has no decoder state to compare with, so the
    query is left out, as in Yang et al. (2016), "Hierarchical Attention Networks".
    """

    def __init__(self, units: int, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.seed = units, seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights W (features, units), b (units) and v (units, 1)."""
        glorot = keras.initializers.GlorotUniform
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), initializer=glorot(self.seed), name="kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")
        score_seed = None if self.seed is None else self.seed + 1
        self.score = self.add_weight(shape=(self.units, 1), initializer=glorot(score_seed), name="score")

    def weights_of(self, sequence: Any) -> Any:
        """Return the share of each time step (n, lookback); each row adds up to 1."""
        scores = ops.matmul(ops.tanh(ops.matmul(sequence, self.kernel) + self.bias), self.score)
        return ops.softmax(ops.squeeze(scores, axis=-1), axis=-1)

    def call(self, sequence: Any) -> Any:
        """Return the context vector (n, features)."""
        return ops.sum(sequence * ops.expand_dims(self.weights_of(sequence), axis=-1), axis=1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """(n, lookback, features) -> (n, features)."""
        return (input_shape[0], input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Return the settings that a saved file needs to build the layer again."""
        return {**super().get_config(), "units": self.units, "seed": self.seed}


def stock_attention(sequence: Any, units: int) -> Any:
    """Return the context vector (n, features) of `sequence` (n, lookback, features), computed by stock Keras layers.

    A file that names only stock layers loads wherever Keras is installed, without gridcast. The weights have the order
    and shapes of those of `AdditiveAttention`; the layer named `attention_weights` returns the shares (n, lookback, 1).
    """
    hidden = keras.layers.Dense(units, activation="tanh", name="attention_hidden")(sequence)
    scores = keras.layers.Dense(1, use_bias=False, name="attention_scores")(hidden)
    shares = keras.layers.Softmax(axis=1, name="attention_weights")(scores)
    context = keras.layers.Dot(axes=1, name="attention_context")([shares, sequence])
    return keras.layers.Reshape((sequence.shape[-1],), name="attention")(context)
