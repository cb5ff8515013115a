"""Dropout whose rate is a value of the network, not a constant of its program."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="gridcast")
class Dropout(keras.layers.Layer):
    """Sets a share `rate` of its inputs to zero in training and scales the others by 1 / (1 - rate).

    Networks that differ in the rate alone share one compiled program. Source: Srivastava, Hinton,
    Krizhevsky, Sutskever, Salakhutdinov (2014), "Dropout: A Simple Way to Prevent Neural Networks
    from Overfitting".
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.share, self.seed = rate, seed
        self.generator = keras.random.SeedGenerator(seed)

    def build(self, _: Any) -> None:
        """The rate, as a variable that is not trained."""
        first = keras.initializers.Constant(self.share)
        self.rate = self.add_weight(shape=(), initializer=first, trainable=False, name="rate")
        self.built = True

    def call(self, values: Any, training: bool = False) -> Any:
        """Values of the same shape."""
        if not training:
            return values
        drawn = keras.random.uniform(ops.shape(values), seed=self.generator)
        return ops.where(drawn >= self.rate, values / (1 - self.rate), 0.0)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the inputs."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the settings that a saved file needs to build the layer again."""
        return {**super().get_config(), "rate": self.share, "seed": self.seed}
