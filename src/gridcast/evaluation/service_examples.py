"""Example requests for the HTTP service, made from the end of the data."""

from __future__ import annotations

from typing import Any

import numpy as np

from gridcast.data.panel import Panel
from gridcast.evaluation.forecast_table import RECENT_STEPS
from gridcast.runtime.preprocessing import Preprocessing

MAX_EXAMPLES = 12
"""Most series of which an example is kept."""


def request_examples(panel: Panel, preprocessing: Preprocessing, lookback: int) -> list[dict[str, Any]]:
    """Return the last history of some series in the form of a request, for models that read `lookback` steps.

    Where the future columns of later steps are not known, it ends a horizon before the data do.
    """
    steps_ahead = preprocessing.horizon if preprocessing.future_columns else 0
    furthest_lag, longest_run = max(preprocessing.lags, default=0), max(preprocessing.zero_run_limits, default=0)
    end = len(panel.times) - steps_ahead
    begin = max(0, end - max(RECENT_STEPS, lookback + furthest_lag + longest_run))
    stamps = preprocessing.with_zone(panel.times[begin:])
    times = [
        f"{time:%Y-%m-%d}" if time == time.normalize() and time.tz is None else time.isoformat() for time in stamps
    ]
    past = panel.past[..., : len(preprocessing.past)]
    column_names = (*preprocessing.past, *preprocessing.future_columns)
    complete = np.isfinite(panel.target[:, end - lookback :]).all(axis=1)
    examples = []
    for row in np.flatnonzero(complete)[:MAX_EXAMPLES]:
        target = panel.target[row]
        covariates = np.concatenate([past[row], panel.future[row]], axis=1)
        history = [
            {"time": times[step - begin], "value": target[step]}
            | dict(zip(column_names, map(float, covariates[step]), strict=True))
            for step in range(begin, end)
            if np.isfinite(target[step])
        ]
        future = [
            {"time": times[step - begin]}
            | dict(zip(preprocessing.future_columns, map(float, panel.future[row, step]), strict=True))
            for step in range(end, end + steps_ahead)
        ]
        examples.append({"id": panel.series[row], "history": history} | ({"future": future} if future else {}))
    return examples
