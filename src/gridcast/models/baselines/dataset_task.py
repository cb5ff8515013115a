"""The task of a baseline on a dataset."""

from __future__ import annotations

import numpy as np

from gridcast.data.dataset import Dataset
from gridcast.runtime.baselines.task import BaselineTask


def baseline_task(dataset: Dataset, lookback: int, *spans: str) -> BaselineTask:
    """Return the task to forecast the windows of `spans`, one after the other, that read `lookback` steps."""
    preprocessing = dataset.preprocessing
    return BaselineTask(
        target=dataset.target,
        observed=dataset.observed,
        channels=dataset.channels,
        times=dataset.times,
        train=dataset.training_end,
        lookback=lookback,
        horizon=preprocessing.horizon,
        period=dataset.period,
        training_index=dataset.origins("train", lookback),
        index=np.concatenate([dataset.origins(span, lookback) for span in spans or ("test",)]),
        inverse=preprocessing.target_scaler.inverse,
        first_known_ahead=preprocessing.first_known_ahead,
        categories=preprocessing.category_codes,
        codes=dataset.series_codes,
        lags=preprocessing.lags,
        levels=dataset.levels,
    )
