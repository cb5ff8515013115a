"""A baseline in place of a network: it forecasts from the history that it is given."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from . import fitted_arrays, windows
from .baselines import BASELINES, FITTED_BASELINES
from .baselines.residuals import MIN_ERRORS
from .baselines.task import BaselineForecast, BaselineTask
from .model_files import BASELINE_FILE
from .preprocessing import Preprocessing

SETTINGS = "settings"
"""Name of the array that holds the settings, as JSON, among those of the state."""


@dataclass(frozen=True)
class TargetHistory:
    """The target (rows, steps) in data units, and the stamps of the steps, beside the channels that scale it."""

    target: np.ndarray
    times: pd.DatetimeIndex


@dataclass(frozen=True)
class BaselineModel:
    """The baseline `name`, with windows of `lookback` steps, the `period`, and its `state`.

    Without a state, it is fitted to the history of each series, in use as in training.
    """

    name: str
    lookback: int
    period: int | None
    state: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def is_fitted_in_use(self) -> bool:
        """Whether it is fitted to the history that it is given."""
        return self.name not in FITTED_BASELINES

    def min_history(self, horizon: int, *, has_quantiles: bool) -> int:
        """Return the steps that a history must have: those of its windows, and enough errors for quantiles."""
        if not self.is_fitted_in_use:
            return max(self.lookback, FITTED_BASELINES[self.name].periods * (self.period or 0))
        return max(self.lookback, self.period or 1) + (horizon + MIN_ERRORS if has_quantiles else 0)

    def forecast(
        self,
        preprocessing: Preprocessing,
        channels: np.ndarray,
        index: np.ndarray,
        codes: np.ndarray,
        history: TargetHistory | None,
        *,
        levels: Sequence[float] = (),
        horizon: int | None = None,
    ) -> BaselineForecast:
        """Return the forecasts of the windows `index` (n, 2) of `channels` (rows, steps, channels).

        Row i is the series `codes[i]` of the model. A baseline that is fitted in use is fitted to the steps of each row
        before its first origin. Raises DataError for a level that the state was not fitted for.
        """
        assert history is not None, "a baseline reads the history of the target"
        ascending = tuple(sorted(set(levels)))
        task = BaselineTask(
            target=history.target,
            observed=np.isfinite(history.target),
            channels=channels,
            times=history.times,
            train=0,
            lookback=self.lookback,
            horizon=horizon or preprocessing.horizon,
            period=self.period,
            training_index=np.zeros((0, 2), int),
            index=index,
            inverse=lambda scaled, rows: preprocessing.target_scaler.inverse(scaled, codes[rows]),
            first_known_ahead=preprocessing.first_known_ahead,
            categories=preprocessing.category_codes,
            codes=codes,
            lags=preprocessing.lags,
            levels=ascending,
        )
        with np.errstate(all="ignore"):  # the caller refuses forecasts that are not finite
            if self.is_fitted_in_use:
                forecasts = self._fitted_to_each_history(task)
            else:
                forecasts = FITTED_BASELINES[self.name].forecast(task, self.state)
        point = preprocessing.floored(forecasts.point)
        if forecasts.quantiles is None:
            return replace(forecasts, point=point)
        quantiles = preprocessing.floored(forecasts.quantiles[..., np.searchsorted(ascending, levels)])
        return replace(forecasts, point=point, quantiles=quantiles)

    def _fitted_to_each_history(self, task: BaselineTask) -> BaselineForecast:
        """The forecasts of `task`; rows whose first origins agree are fitted together."""
        first = np.full(len(task.target), np.iinfo(int).max)
        np.minimum.at(first, task.index[:, 0], task.index[:, 1])
        point = np.empty((len(task.index), task.horizon))
        quantiles = np.empty((*point.shape, len(task.levels)))
        for train in np.unique(first[task.index[:, 0]]):
            rows = np.flatnonzero(first == train)
            chosen = np.flatnonzero(first[task.index[:, 0]] == train)
            part = self._rows_of(task, rows, task.index[chosen], int(train))
            forecasts = BASELINES[self.name](part)
            point[chosen] = forecasts.point
            if forecasts.quantiles is not None:
                quantiles[chosen] = forecasts.quantiles
        return BaselineForecast(point, quantiles if task.levels else None)

    def _rows_of(self, task: BaselineTask, rows: np.ndarray, index: np.ndarray, train: int) -> BaselineTask:
        """The task of some `rows` alone, whose training ends before the step `train`."""
        target = task.target[rows]
        shape = windows.WindowShape(self.lookback, task.horizon)
        codes = task.codes[rows]
        return replace(
            task,
            target=target,
            observed=task.observed[rows],
            channels=task.channels[rows],
            train=train,
            training_index=windows.origins(np.isfinite(target), shape, (0, train)),
            index=np.column_stack([np.searchsorted(rows, index[:, 0]), index[:, 1]]),
            inverse=lambda scaled, part: task.inverse(scaled, rows[part]),
            codes=codes,
        )

    def to_bytes(self) -> bytes:
        """Return the content of BASELINE_FILE: settings and state."""
        settings = {"name": self.name, "lookback": self.lookback, "period": self.period}
        return fitted_arrays.to_bytes({**self.state, SETTINGS: np.array(json.dumps(settings))})

    @classmethod
    def from_bytes(cls, content: bytes) -> BaselineModel:
        """Return the baseline that `to_bytes` was called on."""
        state = fitted_arrays.from_bytes(content)
        return cls(**json.loads(str(state.pop(SETTINGS))), state=state)


def baseline_of(files: Mapping[str, bytes]) -> str:
    """Return the name of the baseline that the forecaster in `files` is; empty for another one."""
    return BaselineModel.from_bytes(files[BASELINE_FILE]).name if BASELINE_FILE in files else ""
