"""What a detector's errors, and what its encoder leaves, are like in normal operation."""

from __future__ import annotations

import numpy as np

from gridcast.runtime.detector import MIN_VARIANCE, Detector, NormalStatistics, whiten_by_sensor

MAX_WHITENING_WINDOWS = 4000
"""Windows that what is usual is found from; more bring little but time."""


def fit_whitening(vectors: np.ndarray) -> NormalStatistics:
    """What is usual of `vectors` (n, dims), whose correlations are shrunk as far as so few of them ask for.

    Sources: Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices", of
    the correlations; Kessy, Lewin and Strimmer (2018), "Optimal whitening and decorrelation" (ZCA-cor).
    """
    from sklearn.covariance import ledoit_wolf

    mean, spread = vectors.mean(axis=0), np.sqrt(vectors.var(axis=0) + MIN_VARIANCE)
    shrunk, _ = ledoit_wolf((vectors - mean) / spread, assume_centered=True)
    values, axes = np.linalg.eigh(shrunk + np.diag(MIN_VARIANCE / spread**2))
    return NormalStatistics(mean, axes / np.sqrt(values) @ axes.T / spread)


def usual_errors(detector: Detector, values: np.ndarray) -> tuple[NormalStatistics, ...]:
    """What is usual in the windows of `values` (steps, sensors), `ROWS` of them at most, evenly spread."""
    ends = detector.window_ends(values)
    _, found, latent = zip(*detector.errors(values, ends[:: -(-len(ends) // MAX_WHITENING_WINDOWS)]), strict=True)
    errors = np.concatenate(found, dtype=float)
    each = [fit_whitening(errors[:, :, k]) for k in range(errors.shape[2])]
    beside = fit_whitening(whiten_by_sensor(each, errors).reshape(-1, len(each)))
    return (*each, beside, fit_whitening(np.concatenate(latent, dtype=float)))
