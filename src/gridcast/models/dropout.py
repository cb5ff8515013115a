"""Dropout whose rate is a weight of the network rather than a constant of the compiled program."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="gridcast")
class Dropout(keras.layers.Layer):
    """Sets a share `rate` of its inputs to zero in training and scales the others by 1 / (1 - rate).

    Networks that differ only in the rate share one compiled program.

    Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014), "Dropout: A Simple Way to Prevent Neural
    Networks from Overfitting".
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial_rate, self.seed = rate, seed
        self.generator = keras.random.SeedGenerator(seed)

    def build(self, _: Any) -> None:
        """Create the rate, a weight that is not trained."""
        initializer = keras.initializers.Constant(self.initial_rate)
        self.rate = self.add_weight(shape=(), initializer=initializer, trainable=False, name="rate")
        self.built = True

    def call(self, values: Any, training: bool = False) -> Any:
        """Return values of the same shape; unchanged unless `training`."""
        if not training:
            return values
        noise = keras.random.uniform(ops.shape(values), seed=self.generator)
        return ops.where(noise >= self.rate, values / (1 - self.rate), 0.0)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the inputs."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the settings that a saved file needs to build the layer again."""
        return {**super().get_config(), "rate": self.initial_rate, "seed": self.seed}
