"""Exponential smoothing of each series, with the form that suits it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from .each_series import forecast_each_series, from_first_value, season_of
from .exponential_smoothing import TRENDS, FittedSmoothing, Form, best_fit
from .task import BaselineForecast, BaselineTask

MAX_PERIOD = 24
"""Longest period whose season is smoothed: it has a starting state for each step (R's ets has the same limit)."""
WAVE_COUNTS = (0, 3, 6, 12)
"""Numbers of waves that stand for a longer season."""
MAX_STEPS_FITTED = 2000
"""Training steps, the last ones, that a form is fitted to, or three periods if these are longer."""


def ets(task: BaselineTask) -> BaselineForecast:
    """Forecast by exponential smoothing of each series, of the form with the lowest AICc.

    Without or with a linear or damped trend, without or with a season, all additive, fitted to the training span; the
    states are then updated through the later steps with fixed constants. Quantiles are normal. Gaps repeat the last
    value. A season longer than `MAX_PERIOD` is the sum of its strongest waves (Fourier terms), whose number AICc
    chooses too; they do not change, and the notes say so.
    """
    from scipy.special import ndtri

    target = task.observed_target
    fitted: dict[int, FittedSmoothing] = {}

    def forecast(series: int, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, start, train = from_first_value(task, target[series])
        first = max(0, len(train) - max(MAX_STEPS_FITTED, 3 * (task.period or 1)))
        model = best_fit(train[first:], candidate_forms(train[first:], season_of(task, train)))
        fitted[series] = model
        point = model.forecast(values[first:], origins - start - first, task.horizon)
        return point, point[..., None] + model.deviations(task.horizon)[:, None] * ndtri(task.levels)

    forecasts = forecast_each_series(task, forecast)
    return replace(forecasts, notes=(*forecasts.notes, *_notes(task, list(fitted.values()))))


def candidate_forms(train: np.ndarray, period: int | None) -> list[Form]:
    """Return the forms to choose from for a series `train` (steps,) with this period."""
    if period is None:
        return [Form(trend) for trend in TRENDS]
    if period <= MAX_PERIOD:
        return [Form(trend, season) for season in (1, period) for trend in TRENDS]
    waves = strongest_waves(train, period, max(WAVE_COUNTS))
    counts = dict.fromkeys(min(count, len(waves)) for count in WAVE_COUNTS)
    searched = (period - 1) // 2
    return [Form(trend, waves=waves[:count], waves_searched=searched) for count in counts for trend in TRENDS]


def strongest_waves(train: np.ndarray, period: int, count: int) -> tuple[float, ...]:
    """Return the frequencies, in cycles per step, of the `count` strongest waves of the mean season, strongest first.

    The mean season is that over the whole periods at the end of `train` (steps,), less the line through it.
    """
    whole = train[len(train) % period :]
    position = np.arange(len(whole))
    season = (whole - np.polyval(np.polyfit(position, whole, 1), position)).reshape(-1, period).mean(axis=0)
    power = np.abs(np.fft.rfft(season))[1 : (period - 1) // 2 + 1]
    return tuple(float(wave + 1) / period for wave in np.argsort(-power, kind="stable")[:count])


def _notes(task: BaselineTask, fitted: list[FittedSmoothing]) -> tuple[str, ...]:
    counts = Counter(model.form.name for model in fitted)
    forms = ", ".join(f"{name} for {count}" for name, count in counts.most_common())
    notes = [f"the forms with the lowest AICc, by number of series: {forms}"] if fitted else []
    if any(model.form.waves_searched > 1 for model in fitted):
        notes.append(
            f"a season of {task.period} steps is too long to be smoothed (at most {MAX_PERIOD}): it is a sum of fixed "
            "waves (Fourier terms)"
        )
    return tuple(notes)
