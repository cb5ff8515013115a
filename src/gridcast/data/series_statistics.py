"""The seasonal period of the training span."""

from __future__ import annotations

import numpy as np

PERIODS_BY_FREQUENCY = {
    "D": (7, 6, 5),
    "B": (5,),
    "h": (24, 168),
    "min": (60, 1440),
    "W": (52,),
    "M": (12,),
    "MS": (12,),
    "ME": (12,),
    "Q": (4,),
}
"""Candidates for the period, in steps."""
MAD_TO_STD = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation."""


def find_period(training: np.ndarray, frequency: str) -> int | None:
    """Return the period of `frequency` at which the series (series, steps) repeat most, None if they do not.

    Judged by the autocorrelation, averaged over the series, of one-step differences (a trend correlates at every lag);
    it has to be at least two standard errors.
    """
    steps = training.shape[1]
    differences = np.diff(training, axis=1)
    is_finite = np.isfinite(differences)
    means = np.sum(differences, axis=1, where=is_finite) / np.maximum(is_finite.sum(axis=1), 1)
    centred = np.where(is_finite, differences - means[:, None], 0.0)
    power = np.sum(centred**2, axis=1)
    varies = power > 0
    best: tuple[float, int] | None = None
    for period in PERIODS_BY_FREQUENCY.get(frequency, ()):
        if steps < 3 * period or not varies.any():
            continue
        products = np.sum(centred[varies, period:] * centred[varies, :-period], axis=1) / power[varies]
        correlation = float(products.mean())
        if correlation > 2 / np.sqrt(steps) and (best is None or correlation > best[0]):
            best = correlation, period
    return best[1] if best else None
