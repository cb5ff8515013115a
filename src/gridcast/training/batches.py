"""Batches of windows for Keras, all of one size."""

from __future__ import annotations

import math

import keras
import numpy as np

from gridcast.config.grid import Run
from gridcast.data.dataset import Dataset
from gridcast.training import objectives


class WindowBatches(keras.utils.PyDataset):
    """The windows `index` (n, 2) in batches of one `size`, so that one compiled program serves all.

    The last batch is padded with windows of weight zero. For validation (`exact`), the weights make the mean over
    batches the mean over windows. For training each batch is its own mean, as Keras has it for a short last batch, and
    an epoch has at most the number of batches that the experiment allows; their order is drawn again for each epoch
    from the seed `shuffle`, or stays as it is if that is None.
    """

    def __init__(
        self,
        dataset: Dataset,
        index: np.ndarray,
        run: Run,
        *,
        size: int,
        exact: bool,
        shuffle: int | None,
    ) -> None:
        super().__init__()
        self.index, self.size, self.exact = index, size, exact
        self.max_batches = None if exact else dataset.training.steps
        self.objective, self.panel = objectives.objective_of(dataset, run), objectives.panel_arrays(dataset)
        self.order = np.arange(len(index))
        self.generator = None if shuffle is None else np.random.default_rng(shuffle)
        self.on_epoch_end()

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        batches = math.ceil(len(self.index) / self.size)
        return min(batches, self.max_batches or batches)

    def __getitem__(self, number: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Return inputs, targets (size, ...) and weights (size,) of batch `number`."""
        positions = self.order[number * self.size : (number + 1) * self.size]
        real = len(positions)
        index = self.index[np.resize(positions, self.size)]
        weight = len(self) * self.size / len(self.index) if self.exact else self.size / real
        weights = np.where(np.arange(self.size) < real, weight, 0.0).astype(np.float32)
        return *self.objective.read(self.panel, index, context=not self.exact), weights

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch from the run's own seed."""
        if self.generator is not None:
            self.generator.shuffle(self.order)
