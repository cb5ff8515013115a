"""Batches of windows for Keras, all of one size."""

from __future__ import annotations

import math

import keras
import numpy as np

from gridcast.config.grid import Run
from gridcast.data.dataset import Dataset
from gridcast.training import objectives


class WindowBatches(keras.utils.PyDataset):
    """Windows gathered batch by batch, every batch of one size so that one compiled program serves all.

    The last batch is padded with windows of weight zero. `exact` weighs the others so that the
    mean over batches is the mean over windows (validation); else each batch is its own mean, as
    Keras has it for a short last batch (training). Of those there are `steps` at most, of an order
    that is drawn anew for each epoch.
    """

    def __init__(
        self,
        dataset: Dataset,
        index: np.ndarray,
        run: Run,
        size: int,
        *,
        exact: bool,
        shuffle: int | None,
    ) -> None:
        super().__init__()
        self.index, self.size, self.exact = index, size, exact
        self.most = None if exact else dataset.training.steps
        self.objective, self.data = objectives.objective_of(dataset, run), objectives.panel_arrays(dataset)
        self.order = np.arange(len(index))
        self.generator = None if shuffle is None else np.random.default_rng(shuffle)
        self.on_epoch_end()

    def __len__(self) -> int:
        """How many batches make an epoch."""
        whole = math.ceil(len(self.index) / self.size)
        return min(whole, self.most or whole)

    def __getitem__(self, number: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Inputs, targets (size, ...) and weights (size,) of batch `number`."""
        part = self.order[number * self.size : (number + 1) * self.size]
        real = len(part)
        index = self.index[np.resize(part, self.size)]
        weight = len(self) * self.size / len(self.index) if self.exact else self.size / real
        weights = np.where(np.arange(self.size) < real, weight, 0.0).astype(np.float32)
        return *self.objective.read(self.data, index, context=not self.exact), weights

    def on_epoch_end(self) -> None:
        """A new order for the next epoch, from the run's own seed."""
        if self.generator is not None:
            self.generator.shuffle(self.order)
