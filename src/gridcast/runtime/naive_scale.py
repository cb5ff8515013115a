"""The unit of errors that are compared between series."""

from __future__ import annotations

import numpy as np


def naive_scale(training: np.ndarray) -> np.ndarray:
    """Return the mean absolute one-step difference (series,) of each series of the training span (series, steps).

    Steps whose value or the one before is NaN, as it was not observed, do not count; 0 where none does.
    """
    changes = np.abs(np.diff(training, axis=1))
    is_finite = np.isfinite(changes)
    return np.sum(changes, axis=1, where=is_finite) / np.maximum(is_finite.sum(axis=1), 1)
