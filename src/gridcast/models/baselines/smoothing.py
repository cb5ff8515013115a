"""Exponential smoothing of each series, fitted on the training span and then updated through the later steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gridcast.models.baselines.per_series import forecast_each_series, state_space_forecast
from gridcast.models.baselines.residuals import with_residual_quantiles
from gridcast.models.baselines.task import BaselineForecast, BaselineTask
from gridcast.runtime import gaps

MAX_FITTED_SIZE = 200_000
"""Series times training steps times period, above which the starting state of ETS is a heuristic and not fitted.

Up to this size a fit takes half a minute in all; above it, the heuristic takes a tenth of the time.
"""


def guesses_starting_state(series: int, steps: int, period: int | None) -> bool:
    """Whether ETS uses heuristic starting states on data of this size."""
    return series * steps * (period or 1) > MAX_FITTED_SIZE


def ets(task: BaselineTask) -> BaselineForecast:
    """Forecast by exponential smoothing of each series: additive, seasonal if there is a period.

    Fitted by maximum likelihood on the training span, then filtered through the later steps with fixed parameters: each
    forecast starts from the state before its origin, and its quantiles are those of the state-space model. Gaps repeat
    the last value. The starting state is fitted, except with much data (`guesses_starting_state`).

    Source: Hyndman, Koehler, Ord, Snyder (2008), "Forecasting with Exponential Smoothing", with the heuristic starting
    state of section 2.6; fitted by statsmodels.
    """
    from statsmodels.tsa.statespace.exponential_smoothing import ExponentialSmoothing

    target = task.observed_target
    is_heuristic = guesses_starting_state(len(target), task.train, task.period)

    def fit(series: int, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, start, train = _from_first_value(task, target[series])
        model = ExponentialSmoothing(
            train,
            seasonal=_season(task, train),
            initialization_method="heuristic" if is_heuristic else "estimated",
        )
        # The heuristic on all values would look beyond a short training span.
        fitted = model.fit(disp=False)
        filtered = fitted.apply(values, copy_initialization=is_heuristic)
        return state_space_forecast(filtered, origins - start, task, scale=fitted.scale)

    return forecast_each_series(task, fit)


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

    values, start, train = _from_first_value(task, target)
    season = _season(task, train)
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


def _from_first_value(task: BaselineTask, target: np.ndarray) -> tuple[np.ndarray, int, np.ndarray]:
    """A series (steps,) from its first value on, gaps filled by the last value; its first step; its training part."""
    values = gaps.forward_fill(target)
    start = int(np.argmax(np.isfinite(values)))
    return values[start:], start, values[start : task.train]


def _season(task: BaselineTask, train: np.ndarray) -> int | None:
    return task.period if task.period and len(train) >= 3 * task.period else None
