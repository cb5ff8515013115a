"""Whether the level of an unknown target wanders away from its training span, as prices do."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gridcast.data.panel import Panel

MAX_SHARE = 0.4
"""Error of a window's mean, as a share of the error of the mean of training, below which the level wanders.

On trending sets (daily closes, exchange rates, M4 weekly) it is 0.08 to 0.21, on weekly sales and on their prices 0.66
to 1.15: in their validation spans.
"""
LEAST_SHARE = 1e-3


def wandering(panel: Panel, lookback: int, horizon: int) -> float:
    """Return how many times nearer the validation span is to the mean of each window than to that of training.

    A window ends a `horizon` before the value; the result is the median over series. 0 where it is too little for the
    level to wander.
    """
    train, end = panel.spans.train, panel.spans.validation
    values = pd.DataFrame(np.where(panel.observed, panel.target, np.nan).T)
    later = values.iloc[train:end]
    from_window = (later - values.rolling(lookback, min_periods=1).mean().shift(horizon).iloc[train:end]).abs().mean()
    from_training = (later - values.iloc[:train].mean()).abs().mean()
    shares = (from_window / from_training).to_numpy()
    shares = shares[np.isfinite(shares)]
    share = max(float(np.median(shares)), LEAST_SHARE) if len(shares) else 1.0
    return 1 / share if share < MAX_SHARE else 0.0
