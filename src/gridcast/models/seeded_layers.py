"""Dense and dropout layers of a network, each with a seed of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from gridcast.models import dropout


@dataclass(frozen=True)
class SeededLayers:
    """Makes the layers of one network, whose dropout `rate` is a constant if the network is `portable`."""

    seeds: Iterator[int]
    rate: float
    portable: bool

    @classmethod
    def of(cls, seed: int, rate: float, *, portable: bool) -> SeededLayers:
        """Return the maker of a network's layers, all drawn from `seed`."""
        return cls(iter(np.random.SeedSequence(seed).generate_state(256).tolist()), rate, portable)

    def dense(self, values: Any, units: int, name: str, activation: str | None = None, *, zeros: bool = False) -> Any:
        """Return `units` linear maps of the last axis of `values`, all 0 before training with `zeros`."""
        initializer = "zeros" if zeros else keras.initializers.GlorotUniform(next(self.seeds))
        return keras.layers.Dense(units, activation, kernel_initializer=initializer, name=name)(values)

    def dropout(self, values: Any, name: str) -> Any:
        """Return `values`, of which training leaves out a share."""
        layer = keras.layers.Dropout if self.portable else dropout.Dropout
        return layer(self.rate, seed=next(self.seeds), name=name)(values)


def joined(parts: list[Any], name: str) -> Any:
    """Return tensors joined along their last axis."""
    return keras.layers.Concatenate(name=name)(parts) if len(parts) > 1 else parts[0]
