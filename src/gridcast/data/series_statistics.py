"""The period at which series repeat."""

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


def find_period(training: np.ndarray, frequency: str) -> int | None:
    """The usual period of `frequency` at which the series (series, steps) repeat most, if at any.

    Judged by the autocorrelation, averaged over the series, of one-step differences (a trend
    correlates at every lag); at least two standard errors, else None.
    """
    steps = training.shape[1]
    values = np.diff(training, axis=1)
    known = np.isfinite(values)
    means = np.sum(values, axis=1, where=known) / np.maximum(known.sum(axis=1), 1)
    centred = np.where(known, values - means[:, None], 0.0)
    power = np.sum(centred**2, axis=1)
    alive = power > 0
    best: tuple[float, int] | None = None
    for period in PERIODS_BY_FREQUENCY.get(frequency, ()):
        if steps < 3 * period or not alive.any():
            continue
        products = np.sum(centred[alive, period:] * centred[alive, :-period], axis=1) / power[alive]
        correlation = float(products.mean())
        if correlation > 2 / np.sqrt(steps) and (best is None or correlation > best[0]):
            best = correlation, period
    return best[1] if best else None


def naive_scale(training: np.ndarray) -> np.ndarray:
    """Mean absolute one-step difference of each series (series,) over the training span (series, steps).

    Steps whose value or the one before is NaN, since it was not observed, do not count; 0 where none does.
    """
    steps = np.abs(np.diff(training, axis=1))
    known = np.isfinite(steps)
    return np.sum(steps, axis=1, where=known) / np.maximum(known.sum(axis=1), 1)


MAD_TO_STD = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation."""
