"""The input and the output of a baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gridcast.data.dataset import Dataset


@dataclass(frozen=True)
class BaselineTask:
    """The input of a baseline: the past of each window, and channels (series, steps, channels) as networks read them.

    `target` is (series, steps) in data units, `observed` where it was not filled, `times` the stamps of
    the steps, `train` the number of training steps and `training_index` the windows within them;
    `levels` are the quantiles that are asked for.
    """

    target: np.ndarray
    observed: np.ndarray
    channels: np.ndarray
    times: pd.DatetimeIndex
    train: int
    lookback: int
    horizon: int
    period: int | None
    training_index: np.ndarray
    index: np.ndarray
    inverse: Callable[[np.ndarray, np.ndarray], np.ndarray]
    levels: tuple[float, ...] = ()

    @property
    def observed_target(self) -> np.ndarray:
        """The target (series, steps), NaN where it was not observed."""
        return np.where(self.observed, self.target, np.nan)


def baseline_task(dataset: Dataset, lookback: int, span: str = "test") -> BaselineTask:
    """Return what a baseline may know to forecast the windows of `span`."""
    return BaselineTask(
        target=dataset.target,
        observed=dataset.observed,
        channels=dataset.channels,
        times=dataset.times,
        train=dataset.spans.train,
        lookback=lookback,
        horizon=dataset.preprocessing.horizon,
        period=dataset.period,
        training_index=dataset.origins("train", lookback),
        index=dataset.origins(span, lookback),
        inverse=dataset.preprocessing.target_scaler.inverse,
        levels=dataset.levels,
    )


@dataclass(frozen=True)
class BaselineForecast:
    """`point` (n, horizon) and, where levels were asked for, `quantiles` (n, horizon, levels), in data units.

    `notes` tell what a reader must know, such as series that could not be fitted.
    """

    point: np.ndarray
    quantiles: np.ndarray | None = None
    notes: tuple[str, ...] = ()
