"""Statistics of a detector's errors, and of its encoder's output, in normal operation."""

from __future__ import annotations

import numpy as np

from gridcast.runtime.detector import Detector
from gridcast.runtime.normal_statistics import MIN_VARIANCE, NormalStatistics, whiten_by_sensor

MAX_WHITENING_WINDOWS = 4000
"""Most windows that the statistics are estimated from; more cost time and change little."""


def fit_whitening(vectors: np.ndarray) -> NormalStatistics:
    """Return mean and whitening matrix of `vectors` (n, dims), their correlations shrunk as a small n requires.

    Sources: Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices", for
    the correlations; Kessy, Lewin and Strimmer (2018), "Optimal whitening and decorrelation" (ZCA-cor).
    """
    from sklearn.covariance import ledoit_wolf

    mean, spread = vectors.mean(axis=0), np.sqrt(vectors.var(axis=0) + MIN_VARIANCE)
    shrunk, _ = ledoit_wolf((vectors - mean) / spread, assume_centered=True)
    values, axes = np.linalg.eigh(shrunk + np.diag(MIN_VARIANCE / spread**2))
    return NormalStatistics(mean, axes / np.sqrt(values) @ axes.T / spread)


def error_statistics(detector: Detector, values: np.ndarray) -> tuple[NormalStatistics, ...]:
    """Return the normal statistics of the windows of `values` (steps, sensors), in the order of `Detector.usual`.

    Of the errors of each sensor, of the errors of all sensors at a step, and of the encoder's output. At most
    `MAX_WHITENING_WINDOWS` windows go in, evenly spaced.
    """
    ends = detector.window_ends(values)
    spacing = -(-len(ends) // MAX_WHITENING_WINDOWS)
    _, batches, encoded = zip(*detector.errors(values, ends[::spacing]), strict=True)
    errors = np.concatenate(batches, dtype=float)
    by_sensor = [fit_whitening(errors[:, :, k]) for k in range(errors.shape[2])]
    across_sensors = fit_whitening(whiten_by_sensor(by_sensor, errors).reshape(-1, len(by_sensor)))
    return (*by_sensor, across_sensors, fit_whitening(np.concatenate(encoded, dtype=float)))
