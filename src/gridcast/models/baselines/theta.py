"""The theta method for each series, fitted on the training span and then updated through the later steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gridcast.models.baselines.per_series import forecast_each_series, from_first_value, season_of
from gridcast.models.baselines.residuals import with_residual_quantiles
from gridcast.models.baselines.task import BaselineForecast, BaselineTask


def theta(task: BaselineTask) -> BaselineForecast:
    """Forecast by the theta method: exponential smoothing plus half the slope of a line, after removing the season.

    The season (if its test finds one), slope and smoothing constant are fitted on the training span and fixed; the
    level is smoothed up to each origin. Sources: Assimakopoulos and Nikolopoulos (2000), in the form of Hyndman and
    Billah (2003), "Unmasking the Theta method"; fitted by statsmodels.
    """
    target = task.observed_target
    methods: dict[int, Callable[[np.ndarray], np.ndarray]] = {}
    notes: dict[str, None] = {}

    def fit(series: int, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if series not in methods:
            methods[series] = _theta_method(task, target[series])
        return methods[series](origins), np.empty((len(origins), task.horizon, 0))

    def forecast(index: np.ndarray) -> np.ndarray:
        forecasts = forecast_each_series(replace(task, index=index, levels=()), fit)
        notes.update(dict.fromkeys(forecasts.notes))
        return forecasts.point

    return replace(with_residual_quantiles(task, forecast), notes=tuple(notes))


def _theta_method(task: BaselineTask, target: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The function from origins (n,) of one series (steps,) to its forecasts (n, horizon)."""
    from scipy.signal import lfilter
    from statsmodels.tsa.forecasting.theta import ThetaModel

    values, start, train = from_first_value(task, target)
    season = season_of(task, train)
    fitted = ThetaModel(train, period=season, deseasonalize=season is not None).fit()
    slope, alpha = fitted.params
    seasonal = fitted.forecast_components(season or 1)["seasonal"].to_numpy()
    # The first value is that of the step after training.
    cycle = seasonal[(np.arange(len(values) + task.horizon) - len(train)) % len(seasonal)]
    is_multiplicative = fitted.model.method.startswith("mul")
    adjusted = values / cycle[: len(values)] if is_multiplicative else values - cycle[: len(values)]
    level, _ = lfilter([alpha], [1, alpha - 1], adjusted, zi=[(1 - alpha) * adjusted[0]])

    def forecast(origins: np.ndarray) -> np.ndarray:
        position, steps = (origins - start)[:, None], np.arange(task.horizon)
        lag = (1 - (1 - alpha) ** position) / alpha if alpha > 0 else 0.0
        point = level[position - 1] + slope / 2 * (steps + lag)
        return point * cycle[position + steps] if is_multiplicative else point + cycle[position + steps]

    return forecast
