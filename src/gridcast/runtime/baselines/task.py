"""The input and the output of every baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class BaselineTask:
    """The windows to forecast, and everything that a baseline may read to forecast them.

    - `target` (series, steps), in data units; `observed` (series, steps), False where it was filled.
    - `channels` (series, steps, channels), as networks read them: the target first, from `first_known_ahead` on those
      that are known beyond the origin. `lags`: further steps back at which networks read the target, if they do.
    - `categories` (series of the model, categories): the codes that networks read of each. `codes` (series,): the
      positions of the task's series among them.
    - `times`: the stamps of the steps; `train`: the number of training steps.
    - `index`: the windows (n, 2), pairs of series and origin; `training_index`: those within the training span.
    - `inverse(values, series)`: scaled targets to data units.
    - `levels`: the quantiles to forecast, if any.
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
    first_known_ahead: int
    categories: np.ndarray
    codes: np.ndarray
    lags: tuple[int, ...] = ()
    levels: tuple[float, ...] = ()

    @property
    def observed_target(self) -> np.ndarray:
        """The target (series, steps), NaN where it was not observed."""
        return np.where(self.observed, self.target, np.nan)


@dataclass(frozen=True)
class BaselineForecast:
    """`point` (n, horizon) and, if the task has levels, `quantiles` (n, horizon, levels), in data units.

    `notes` say what a reader must know, such as series that could not be fitted.
    """

    point: np.ndarray
    quantiles: np.ndarray | None = None
    notes: tuple[str, ...] = ()
