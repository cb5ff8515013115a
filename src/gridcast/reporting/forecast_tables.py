"""Measures of forecasts by model, series, step and category: pure functions on frames.

A table of the test span has one row per window and step: series, time, step (1 = next), actual, forecast, scale (of
MASE), and a column such as `q0.1` for each quantile level. `tests` holds such a table for each forecaster by name.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from gridcast.evaluation import metrics
from gridcast.evaluation.significance import diebold_mariano
from gridcast.reporting import interval_calibration

QUANTILE_MEASURES = ("wql", "coverage", "width", "crps")


@np.errstate(invalid="ignore")  # an infinite forecast makes some measures NaN
def measure_table(tests: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per forecaster: name, mae, rmse, r2, mape, smape, mase, wape and the closeness shares in percent.

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
                **{f"share_{label.lower().replace(' ', '_')}": share for label, share in shares.items()},
                **(interval_calibration.quantile_measures(table, levels) if levels else {}),
            }
        )
    return pd.DataFrame(rows)


@np.errstate(invalid="ignore")
def measures_by_series(tests: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per forecaster and series: name, series, mae, rmse (data units), r2, mape, smape, mase, wape.

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


def origin_losses(table: pd.DataFrame) -> pd.Series:
    """Return the mean absolute error in units of `scale` for each origin, over series and steps, in time order.

    The index is the time of the origin's first step. Series whose scale is 0 are left out, as they are of MASE.
    """
    times = pd.Index(table["time"].unique()).sort_values()
    origins = times[times.get_indexer(table["time"]) - (table["step"].to_numpy() - 1)]
    errors = (table["actual"] - table["forecast"]).abs() / table["scale"].where(table["scale"] > 0)
    return errors.groupby(origins.rename("origin")).mean().dropna().rename("loss")


def against_baselines(tests: Mapping[str, pd.DataFrame], winner: str, horizon: int) -> pd.DataFrame:
    """Compare the forecaster `winner` with each other one of `tests`, over the origins that both forecast.

    Columns: name; mase, of that baseline; percent, the winner's MASE relative to it (negative: the winner is better;
    NaN where the baseline's is 0); dm_statistic and p_value of `diebold_mariano` on `origin_losses`, with `horizon`
    counted in origins; verdict on the winner, `better` or `worse` where p is below 5 %, else `tied`, also when there
    are too few origins to test (p is NaN). Raises KeyError when `winner` is not in `tests`.
    """
    winner_losses, mases = origin_losses(tests[winner]), measure_table(tests).set_index("name")["mase"]
    rows = []
    for name in tests:
        if name == winner:
            continue
        both = pd.concat([winner_losses, origin_losses(tests[name])], axis=1, join="inner").to_numpy()
        losses, baseline_losses = both[np.isfinite(both).all(axis=1)].T
        test = diebold_mariano(losses, baseline_losses, horizon)
        mase = float(mases[name])
        verdict = "tied"
        if test.p_value < 0.05:
            verdict = "better" if test.mean_difference < 0 else "worse"
        percent = 100 * (float(mases[winner]) / mase - 1) if mase else float("nan")
        rows.append((name, mase, percent, test.statistic, test.p_value, verdict))
    return pd.DataFrame(rows, columns=["name", "mase", "percent", "dm_statistic", "p_value", "verdict"])


def _levels_of_first(tests: Mapping[str, pd.DataFrame]) -> tuple[float, ...]:
    return interval_calibration.quantile_levels(next(iter(tests.values()))) if tests else ()


def _arrays(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return actual, forecast, series and scale, each (points,), as keyword arguments of the metrics."""
    numbers = {name: table[name].to_numpy(float) for name in ("actual", "forecast", "scale")}
    return {**numbers, "series": table["series"].to_numpy()}
