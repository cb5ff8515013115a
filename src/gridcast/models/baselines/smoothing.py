"""Exponential smoothing of each series, fitted on the training span and filtered through the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gridcast.models.baselines.per_series import forecast_each_series, state_space_forecast
from gridcast.models.baselines.residuals import with_residual_quantiles
from gridcast.models.baselines.task import BaselineForecast, BaselineTask
from gridcast.runtime import gaps

MAX_FITTED_SIZE = 200_000
"""Series times training steps times period from which the starting state of ETS is guessed, not fitted.

Up to there a fit of the state takes half a minute in all; beyond, the guess takes a tenth of its time.
"""


def guesses_starting_state(series: int, steps: int, period: int | None) -> bool:
    """Whether ETS guesses its starting states on so many series and training steps."""
    return series * steps * (period or 1) > MAX_FITTED_SIZE


def ets(task: BaselineTask) -> BaselineForecast:
    """Exponential smoothing of each series (additive; seasonal where a period is known; gaps repeat the last value).

    Fitted by maximum likelihood on the training span, then filtered through the rest with fixed
    parameters: each forecast starts from the state before its origin, its quantiles are those of the
    state-space model. Source: Hyndman, Koehler, Ord, Snyder (2008), "Forecasting with Exponential
    Smoothing"; statsmodels does the work. The starting state is part of the fit, unless the data are
    `large`: then it is the heuristic of section 2.6 there.
    """
    from statsmodels.tsa.statespace.exponential_smoothing import ExponentialSmoothing

    known = task.observed_target
    guessed = guesses_starting_state(len(known), task.train, task.period)

    def fit(series: int, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, start, train = _begun(task, known[series])
        model = ExponentialSmoothing(
            train,
            seasonal=_season(task, train),
            initialization_method="heuristic" if guessed else "estimated",
        )
        # A guess of its own would let the whole look beyond a short training span.
        fitted = model.fit(disp=False)
        whole = fitted.apply(values, copy_initialization=guessed)
        return state_space_forecast(whole, origins - start, task, fitted.scale)

    return forecast_each_series(task, fit)


def theta(task: BaselineTask) -> BaselineForecast:
    """The theta method: exponential smoothing plus half the slope of a line, seasons apart.

    Season (where its test finds one), slope and smoothing constant are fitted on the training span and
    fixed; the level is smoothed up to each origin. Sources: Assimakopoulos and Nikolopoulos (2000), in the
    form of Hyndman and Billah (2003), "Unmasking the Theta method"; statsmodels fits it.
    """
    known = task.observed_target
    methods: dict[int, Callable[[np.ndarray], np.ndarray]] = {}
    notes: dict[str, None] = {}

    def fit(series: int, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if series not in methods:
            methods[series] = _theta(task, known[series])
        return methods[series](origins), np.empty((len(origins), task.horizon, 0))

    def forecast(index: np.ndarray) -> np.ndarray:
        found = forecast_each_series(replace(task, index=index, levels=()), fit)
        notes.update(dict.fromkeys(found.notes))
        return found.point

    return replace(with_residual_quantiles(task, forecast), notes=tuple(notes))


def _theta(task: BaselineTask, known: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The forecasts (n, horizon) of one series (steps,) from its origins (n,)."""
    from scipy.signal import lfilter
    from statsmodels.tsa.forecasting.theta import ThetaModel

    values, start, train = _begun(task, known)
    season = _season(task, train)
    fitted = ThetaModel(train, period=season, deseasonalize=season is not None).fit()
    slope, alpha = fitted.params
    parts = fitted.forecast_components(season or 1)["seasonal"].to_numpy()
    # Of the seasons that it returns, the first one is that of the step after training.
    cycle = parts[(np.arange(len(values) + task.horizon) - len(train)) % len(parts)]
    times = fitted.model.method.startswith("mul")
    plain = values / cycle[: len(values)] if times else values - cycle[: len(values)]
    level, _ = lfilter([alpha], [1, alpha - 1], plain, zi=[(1 - alpha) * plain[0]])

    def forecast(origins: np.ndarray) -> np.ndarray:
        seen, steps = (origins - start)[:, None], np.arange(task.horizon)
        lag = (1 - (1 - alpha) ** seen) / alpha if alpha > 0 else 0.0
        point = level[seen - 1] + slope / 2 * (steps + lag)
        return point * cycle[seen + steps] if times else point + cycle[seen + steps]

    return forecast


def _begun(task: BaselineTask, known: np.ndarray) -> tuple[np.ndarray, int, np.ndarray]:
    """A series from its first value on, gaps filled by the last value; that first step; and its training part."""
    values = gaps.forward_fill(known)
    start = int(np.argmax(np.isfinite(values)))
    return values[start:], start, values[start : task.train]


def _season(task: BaselineTask, train: np.ndarray) -> int | None:
    return task.period if task.period and len(train) >= 3 * task.period else None
