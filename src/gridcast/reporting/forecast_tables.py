"""Measures of forecasts."""

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
    """One row per forecaster: name, mae, rmse, r2, mape, smape, mase, wape and the closeness shares in percent.

    MAE and RMSE are in data units, MASE is the mean over series. The shares are named share_excellent,
    share_good, share_acceptable and share_needs_improvement. Where the first of `tests` gives quantiles, wql,
    coverage, width and crps as `quantiles.measured` has them, at its levels.
    """
    rows, levels = [], _levels(tests)
    for name, table in tests.items():
        actual, forecast, series, scale = _arrays(table)
        shares = metrics.closeness(actual, forecast)
        rows.append(
            {
                "name": name,
                **metrics.overall(actual, forecast, series, scale),
                **{f"share_{label.lower().replace(' ', '_')}": share for label, share in shares.items()},
                **(interval_calibration.quantile_measures(table, levels) if levels else {}),
            }
        )
    return pd.DataFrame(rows)


@np.errstate(invalid="ignore")
def measures_by_series(tests: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per forecaster and series: name, series, mae, rmse (data units), r2, mape, smape, mase, wape.

    Where the first of `tests` gives quantiles, wql, coverage, width and crps too, at its levels.
    """
    levels, rows = _levels(tests), []
    for name, table in tests.items():
        own = dict(iter(table.groupby("series", sort=False))) if levels else {}
        for series, measured in metrics.per_series(*_arrays(table)).items():
            more = interval_calibration.quantile_measures(own[series], levels) if levels else {}
            rows.append({"name": name, "series": series, **measured, **more})
    return pd.DataFrame(
        rows, columns=["name", "series", *metrics.POINT_METRICS, *(QUANTILE_MEASURES if levels else ())]
    )


def measures_by_step(tests: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per forecaster and step of the horizon: name, step, mae (data units), mase (mean over series).

    Where the first of `tests` gives quantiles, wql, coverage, width and crps too, at its levels.
    """
    return _measures_by_part(tests, "step", {name: table["step"] for name, table in tests.items()})


def measures_by_category(tests: Mapping[str, pd.DataFrame], of: Mapping[str, str]) -> pd.DataFrame:
    """One row per forecaster and value of a category, where `of` tells that of each series.

    Columns: name, value, mae (data units), mase (mean over series), and those of quantiles as `by_step` has
    them. Series of which `of` tells nothing stand together under `unknown`.
    """
    parts = {name: table["series"].astype(str).map(dict(of)).fillna("unknown") for name, table in tests.items()}
    return _measures_by_part(tests, "value", parts)


@np.errstate(invalid="ignore")
def _measures_by_part(tests: Mapping[str, pd.DataFrame], label: str, parts: Mapping[str, pd.Series]) -> pd.DataFrame:
    """The measures of each forecaster for each value of its `parts` (rows,), under the column `label`."""
    levels, rows = _levels(tests), []
    for name, table in tests.items():
        for value, own in table.groupby(parts[name].to_numpy()):
            found = metrics.overall(*_arrays(own))
            more = interval_calibration.quantile_measures(own, levels) if levels else {}
            rows.append({"name": name, label: value, "mae": found["mae"], "mase": found["mase"], **more})
    return pd.DataFrame(rows, columns=["name", label, "mae", "mase", *(QUANTILE_MEASURES if levels else ())])


def origin_losses(table: pd.DataFrame) -> pd.Series:
    """Mean absolute error in units of `scale` for each origin, over series and steps, in the order of time.

    The index is the time of the origin's first step. Series whose scale is 0 are left out, as they are of MASE.
    """
    times = pd.Index(table["time"].unique()).sort_values()
    origins = times[times.get_indexer(table["time"]) - (table["step"].to_numpy() - 1)]
    errors = (table["actual"] - table["forecast"]).abs() / table["scale"].where(table["scale"] > 0)
    return errors.groupby(origins.rename("origin")).mean().dropna().rename("loss")


def against_baselines(tests: Mapping[str, pd.DataFrame], winner: str, horizon: int) -> pd.DataFrame:
    """The forecaster `winner` against each other one of `tests`, over the origins that both forecast.

    Columns: name; mase, of that baseline; percent, the winner's MASE against it (negative: the winner is better;
    NaN where the baseline's is 0); dm_statistic and p_value of `diebold_mariano` on `origin_losses`, `horizon`
    counted in origins; verdict on the winner, `better` or `worse` where p is below 5 %, else `tied`, also when
    there are too few origins to test (p is NaN). Raises KeyError when `winner` is not in `tests`.
    """
    own, mases = origin_losses(tests[winner]), measure_table(tests).set_index("name")["mase"]
    rows = []
    for name in tests:
        if name == winner:
            continue
        both = pd.concat([own, origin_losses(tests[name])], axis=1, join="inner").to_numpy()
        ours, theirs = both[np.isfinite(both).all(axis=1)].T
        test = diebold_mariano(ours, theirs, horizon)
        mase = float(mases[name])
        verdict = "tied"
        if test.p_value < 0.05:
            verdict = "better" if test.mean_difference < 0 else "worse"
        percent = 100 * (float(mases[winner]) / mase - 1) if mase else float("nan")
        rows.append((name, mase, percent, test.statistic, test.p_value, verdict))
    return pd.DataFrame(rows, columns=["name", "mase", "percent", "dm_statistic", "p_value", "verdict"])


def _levels(tests: Mapping[str, pd.DataFrame]) -> tuple[float, ...]:
    return interval_calibration.quantile_levels(next(iter(tests.values()))) if tests else ()


def _arrays(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Actual, forecast, series and scale, each (points,)."""
    numbers = [table[column].to_numpy(float) for column in ("actual", "forecast", "scale")]
    return numbers[0], numbers[1], table["series"].to_numpy(), numbers[2]
