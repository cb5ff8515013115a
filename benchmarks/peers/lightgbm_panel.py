"""mlforecast with LightGBM: a model for each quantile on lags, rolling statistics, calendar and known-ahead covariates.

VENV/bin/python benchmarks/peers/lightgbm_panel.py FOLDER

The last horizon before the test chooses between ways of its documentation: values scaled by series, with a logarithm
before or without; lags from the last value on, where a step is forecast from the one before, or from the last horizon
on, where none is; or differences with conformal intervals. The chosen one is fitted again to everything before the
test. Only the last ROWS rows are learned from.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import long_table
import numpy as np
import panel
from lightgbm import LGBMRegressor
from mlforecast import MLForecast
from mlforecast.lag_transforms import RollingMean, RollingStd
from mlforecast.target_transforms import Differences, GlobalSklearnTransformer, LocalStandardScaler
from mlforecast.utils import PredictionIntervals
from sklearn.preprocessing import FunctionTransformer

ROWS = 50_000
MOST_CODES = 100
"""Series up to which their number is an input."""
MOST_WINDOWS = 8
"""Windows of the conformal intervals."""


@dataclass(frozen=True)
class Way:
    """A way to forecast: the transforms of the target, the nearest lag, and whether its intervals are conformal."""

    name: str
    transforms: Callable[[], list[Any]]
    nearest: int = 1
    is_conformal: bool = False


def main(folder: Path) -> None:
    warnings.filterwarnings("ignore")
    data = panel.read(folder)
    end = data.steps - data.horizon
    actual = data.values[:, end:]
    losses = {way: panel.quantile_loss(actual, quantiles(data, way, end)) for way in ways(data)}
    best = min(losses, key=losses.__getitem__)
    panel.write(folder, quantiles(data, best, data.steps), best.name)


def ways(data: panel.Panel) -> list[Way]:
    """Return the ways that the data allow."""
    scalings = {"scaled": lambda: [LocalStandardScaler()]}
    if np.nanmin(data.values) >= 0:
        scalings["logarithm, scaled"] = lambda: [
            GlobalSklearnTransformer(FunctionTransformer(np.log1p, np.expm1)),
            LocalStandardScaler(),
        ]
    choices = [
        Way(f"{name}, lags from {nearest} on", transforms, nearest)
        for name, transforms in scalings.items()
        for nearest in (1, data.horizon)
    ]
    shortest = data.steps - data.horizon - data.begins().max()
    for season in sorted({1, data.period}):
        if shortest - season >= 4 * data.horizon:
            name = f"differences of {season}, conformal intervals"
            choices.append(Way(name, lambda season=season: [Differences([season])], is_conformal=True))
    return choices


def quantiles(data: panel.Panel, way: Way, end: int) -> np.ndarray:
    """Return the quantiles (n, horizon, levels) of the horizon from the step `end` on."""
    covariates = long_table.calendar(data) | long_table.known_ahead(data)
    static = {}
    if 1 < len(data.series) <= MOST_CODES:
        codes = np.arange(len(data.series), dtype=float)[:, None]
        static["code"] = np.broadcast_to(codes, data.known.shape[:2])
    table = long_table.history(data, covariates | static, end)
    table = table[table["ds"] >= end - max(ROWS // len(data.series), 4 * data.horizon)]
    shortest = int(table.groupby("unique_id").size().min())
    learner = MLForecast(
        models=_models(data.seed, way),
        freq=1,
        lags=_lags(way.nearest, data, shortest),
        lag_transforms=_rolling(way.nearest, data, shortest),
        target_transforms=way.transforms(),
    )
    windows = min(MOST_WINDOWS, (shortest - data.period) // data.horizon - 2)
    intervals = PredictionIntervals(n_windows=max(2, windows), h=data.horizon) if way.is_conformal else None
    learner.fit(table, static_features=list(static), dropna=False, prediction_intervals=intervals)
    forecasts = learner.predict(
        data.horizon,
        X_df=long_table.ahead(data, covariates, end),
        level=long_table.interval_widths() if way.is_conformal else None,
    )
    columns = long_table.interval_columns("mean") if way.is_conformal else [f"q{level}" for level in panel.LEVELS]
    return long_table.to_quantiles(forecasts, columns, data)


def _models(seed: int, way: Way) -> dict[str, LGBMRegressor]:
    settings = {
        "n_estimators": 200,
        "learning_rate": 0.05,
        "subsample": 0.8,
        "subsample_freq": 1,
        "colsample_bytree": 0.8,
        "random_state": seed,
        "n_jobs": 1,
        "verbosity": -1,
    }
    if way.is_conformal:
        return {"mean": LGBMRegressor(**settings)}
    return {f"q{level}": LGBMRegressor(objective="quantile", alpha=level, **settings) for level in panel.LEVELS}


def _lags(nearest: int, data: panel.Panel, shortest: int) -> list[int]:
    """The lags from `nearest` on: as many as a season or the lookback has, at most 14, and whole seasons."""
    recent = range(nearest, nearest + min(14, max(data.period, data.network["lookback"])))
    first = -(-nearest // data.period) * data.period
    seasons = [first + count * data.period for count in range(2)] if data.period > 1 else []
    return sorted(lag for lag in {*recent, *seasons} if lag < shortest)


def _rolling(nearest: int, data: panel.Panel, shortest: int) -> dict[int, list[Any]]:
    if nearest >= shortest:
        return {}
    sizes = {size for size in (4, data.period, data.network["lookback"]) if 1 < size <= shortest - nearest}
    means = [RollingMean(window_size=size, min_samples=1) for size in sorted(sizes)]
    spreads = [RollingStd(window_size=max(sizes), min_samples=2)] if sizes else []
    return {nearest: means + spreads}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
