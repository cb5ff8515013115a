"""Whether the level of an unknown target wanders away from its training span, as prices do."""

from __future__ import annotations

import numpy as np

from gridcast.data.panel import Panel

MAX_SHARE = 1 / 3
"""Error of the value a horizon before, as a share of that of the mean of training, below which the level wanders.

On trending sets (daily closes, exchange rates, M4 weekly) it is 0.06 to 0.17, on weekly sales and their prices 0.38 to
1.1.
"""


def wandering(panel: Panel, horizon: int) -> float:
    """Return how many times nearer a value of the validation span is to that a `horizon` before than to the mean.

    The mean is that of the series over its training span; the result is the median over series. It is 0 where it is
    too little for the level to wander.
    """
    train, end = panel.spans.train, panel.spans.validation
    target = np.where(panel.observed, panel.target, np.nan)
    later, before = target[:, train:end], target[:, train - horizon : end - horizon]
    with np.errstate(invalid="ignore", divide="ignore"):
        from_before = _row_means(np.abs(later - before))
        from_mean = _row_means(np.abs(later - _row_means(target[:, :train])[:, None]))
        shares = from_before / from_mean
    shares = shares[np.isfinite(shares)]
    share = float(np.median(shares)) if len(shares) else 1.0
    return 1 / max(share, 1e-3) if share < MAX_SHARE else 0.0


def _row_means(values: np.ndarray) -> np.ndarray:
    """The mean (series,) of each row of `values` (series, steps), NaN left out."""
    is_finite = np.isfinite(values)
    return np.asarray(np.where(is_finite, values, 0.0).sum(axis=1) / is_finite.sum(axis=1))
