"""Statistics of a detector's errors and encodings in normal operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MIN_VARIANCE = 1e-6
"""Lower bound of variances and scores, in squared scaled units: keeps what is exact in training from dividing by 0."""


@dataclass(frozen=True)
class NormalStatistics:
    """Statistics of vectors in normal operation: `mean` (dims,) and `whitening` (dims, dims).

    Whitened vectors are uncorrelated with variance 1, and as close to the original ones as that allows.
    """

    mean: np.ndarray
    whitening: np.ndarray

    def whiten(self, vectors: np.ndarray) -> np.ndarray:
        """Return `vectors` (..., dims) minus the mean, whitened."""
        return np.asarray((vectors - self.mean) @ self.whitening.T)


def whiten_by_sensor(statistics: Sequence[NormalStatistics], errors: np.ndarray) -> np.ndarray:
    """Return `errors` (n, offsets, sensors) with those of each sensor whitened over the offsets.

    `statistics` (sensors,) are of vectors (offsets,).
    """
    return np.stack([one.whiten(errors[:, :, k]) for k, one in enumerate(statistics)], axis=2)
