"""Example requests for the HTTP service, made from the end of the data."""

from __future__ import annotations

from typing import Any

import numpy as np

from gridcast.data.panel import Panel
from gridcast.evaluation.forecast_table import RECENT_STEPS
from gridcast.runtime.preprocessing import Preprocessing

MAX_EXAMPLES = 12
"""Series of which an example is kept."""


def request_examples(panel: Panel, own: Preprocessing, lookback: int) -> list[dict[str, Any]]:
    """The last history of some series as the service is asked with it, for models that read `lookback` steps.

    Where the future columns of later steps are not known, it ends a horizon before the data do.
    """
    ahead = own.horizon if own.future_columns else 0
    reads = max(RECENT_STEPS, lookback + max(own.lags, default=0) + max(own.zero_run_limits, default=0))
    end = len(panel.times) - ahead
    begin = max(0, end - reads)
    given = [f"{time:%Y-%m-%d}" if time == time.normalize() else time.isoformat() for time in panel.times[begin:]]
    past, target = panel.past[..., : len(own.past)], panel.target
    kept = []
    for row in np.flatnonzero(np.isfinite(target[:, end - lookback :]).all(axis=1))[:MAX_EXAMPLES]:
        covariates = np.concatenate([past[row], panel.future[row]], axis=1)
        names = (*own.past, *own.future_columns)
        history = [
            {"time": given[step - begin], "value": target[row, step]}
            | dict(zip(names, map(float, covariates[step]), strict=True))
            for step in range(begin, end)
            if np.isfinite(target[row, step])
        ]
        future = [
            {"time": given[step - begin]}
            | dict(zip(own.future_columns, map(float, panel.future[row, step]), strict=True))
            for step in range(end, end + ahead)
        ]
        kept.append({"id": panel.series[row], "history": history} | ({"future": future} if future else {}))
    return kept
