"""Measures of forecasts by model, series, step and category: pure functions on frames.

A table of the test span has one row per window and step: series, time, step (1 = next), actual, forecast, scale (of
MASE), and a column such as `q0.1` for each quantile level. `tests` holds such a table for each forecaster by name.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from gridcast.evaluation import metrics
from gridcast.reporting import interval_calibration

QUANTILE_MEASURES = ("wql", "coverage", "width", "crps")


@np.errstate(invalid="ignore")  # an infinite forecast makes some measures NaN
def measure_table(tests: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per forecaster: name, `metrics.POINT_METRICS` and the closeness shares in percent.

    MAE and RMSE are in data units, MASE is the mean over series. The shares are named share_excellent, share_good,
    share_acceptable and share_needs_improvement. Where the first of `tests` gives quantiles, the table has wql,
    coverage, width and crps at its levels, see `interval_calibration.quantile_measures`.
    """
    rows, levels = [], _levels_of_first(tests)
    for name, table in tests.items():
        arrays = _arrays(table)
        shares = metrics.closeness(arrays["actual"], arrays["forecast"])
        rows.append(
            {
                "name": name,
                **metrics.overall(**arrays),
                **{metrics.share_name(label): share for label, share in shares.items()},
                **(interval_calibration.quantile_measures(table, levels) if levels else {}),
            }
        )
    return pd.DataFrame(rows)


@np.errstate(invalid="ignore")
def measures_by_series(tests: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per forecaster and series: name, series and `metrics.POINT_METRICS`.

    Where the first of `tests` gives quantiles, wql, coverage, width and crps too, at its levels.
    """
    levels, rows = _levels_of_first(tests), []
    for name, table in tests.items():
        rows_of = dict(iter(table.groupby("series", sort=False))) if levels else {}
        for series, point_measures in metrics.per_series(**_arrays(table)).items():
            quantiles = interval_calibration.quantile_measures(rows_of[series], levels) if levels else {}
            rows.append({"name": name, "series": series, **point_measures, **quantiles})
    return pd.DataFrame(
        rows, columns=["name", "series", *metrics.POINT_METRICS, *(QUANTILE_MEASURES if levels else ())]
    )


def measures_by_step(tests: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per forecaster and step of the horizon: name, step, mae (data units), mase (mean over series).

    Where the first of `tests` gives quantiles, wql, coverage, width and crps too, at its levels.
    """
    return _measures_by_group(tests, "step", {name: table["step"] for name, table in tests.items()})


def measures_by_category(tests: Mapping[str, pd.DataFrame], category_of: Mapping[str, str]) -> pd.DataFrame:
    """Return one row per forecaster and value of a category, which `category_of` gives for each series.

    Columns: name, value, mae (data units), mase (mean over series), and the quantile columns of `measures_by_step`.
    Series that are not in `category_of` are grouped under `unknown`.
    """
    groups = {
        name: table["series"].astype(str).map(dict(category_of)).fillna("unknown") for name, table in tests.items()
    }
    return _measures_by_group(tests, "value", groups)


@np.errstate(invalid="ignore")
def _measures_by_group(tests: Mapping[str, pd.DataFrame], column: str, groups: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Return the measures of each forecaster for each value of its `groups` (rows,), which becomes `column`."""
    levels, rows = _levels_of_first(tests), []
    for name, table in tests.items():
        for value, part in table.groupby(groups[name].to_numpy()):
            measures = metrics.overall(**_arrays(part))
            quantiles = interval_calibration.quantile_measures(part, levels) if levels else {}
            rows.append({"name": name, column: value, "mae": measures["mae"], "mase": measures["mase"], **quantiles})
    return pd.DataFrame(rows, columns=["name", column, "mae", "mase", *(QUANTILE_MEASURES if levels else ())])


def _levels_of_first(tests: Mapping[str, pd.DataFrame]) -> tuple[float, ...]:
    return interval_calibration.quantile_levels(next(iter(tests.values()))) if tests else ()


def _arrays(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return actual, forecast, series and scale, each (points,), as keyword arguments of the metrics."""
    numbers = {name: table[name].to_numpy(float) for name in ("actual", "forecast", "scale")}
    return {**numbers, "series": table["series"].to_numpy()}
