"""Calibration of quantiles and intervals on the test span: pure functions on frames.

A table of the test span has one row per window and step, the steps of a window together and in order: series, time,
step (1 = next), actual, forecast, scale, and one column such as `q0.1` for each quantile level of the forecaster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import bdtrik

from gridcast.evaluation import metrics, significance
from gridcast.evaluation.origin_losses import origin_times

HEADLINE_SHARE = 0.8
"""Of several intervals, the one whose nominal share is nearest to this is reported."""


def quantile_levels(table: pd.DataFrame) -> tuple[float, ...]:
    """Return the levels of the quantile columns of `table`, in order; empty for point forecasts."""
    levels = (_level_of(column) for column in table.columns)
    return tuple(sorted(level for level in levels if level is not None))


def quantile_column(level: float) -> str:
    """Return the name of the column of this level, such as `q0.1`."""
    return f"q{level:g}"


def has_levels(table: pd.DataFrame, levels: Sequence[float]) -> bool:
    """Whether `table` has all of `levels`, and there are any."""
    return len(levels) > 0 and set(levels) <= set(quantile_levels(table))


def central_intervals(levels: Sequence[float]) -> dict[float, tuple[float, float]]:
    """Return the central intervals that `levels` make: nominal share -> (low, high), the narrowest first."""
    by_rounded = {round(level, 6): level for level in levels}
    lows = [low for low in by_rounded if low < 0.5 and round(1 - low, 6) in by_rounded]
    return {
        round(1 - 2 * low, 6): (by_rounded[low], by_rounded[round(1 - low, 6)]) for low in sorted(lows, reverse=True)
    }


def headline_interval(levels: Sequence[float]) -> float | None:
    """Return the nominal share of the interval to report, None where no two of `levels` make one."""
    nominals = central_intervals(levels)
    return min(nominals, key=lambda nominal: (abs(nominal - HEADLINE_SHARE), nominal), default=None)


def window_numbers(table: pd.DataFrame) -> np.ndarray:
    """Return the number of the window of each row (rows,), from 0."""
    return np.asarray((table["step"] == 1).cumsum()) - 1


def independent_origins(table: pd.DataFrame, overlap: int) -> float:
    """Return how many origins of `table` share no step: all over the `overlap` of neighbouring ones.

    The steps of one window count as one observation, since they tend to miss together, and so do the series.
    """
    return max(1.0, len(np.unique(origin_times(table))) / overlap) if len(table) else 1.0


def quantile_measures(table: pd.DataFrame, levels: Sequence[float]) -> dict[str, float]:
    """Return wql, coverage (0 to 1) and width (data units) of the headline interval, and crps (data units).

    A measure is NaN where `table` lacks the columns for it.
    """
    measures = dict.fromkeys(("wql", "coverage", "width", "crps"), float("nan"))
    if "crps" in table:
        measures["crps"] = float(table["crps"].mean())
    if not has_levels(table, levels):
        return measures
    actual = table["actual"].to_numpy(float)
    quantiles = table[[quantile_column(level) for level in levels]].to_numpy(float)
    measures["wql"] = metrics.weighted_quantile_loss(actual, quantiles, levels)
    nominal = headline_interval(levels)
    if nominal is not None:
        low, high = _bounds(table, central_intervals(levels)[nominal])
        measures |= {"coverage": metrics.coverage(actual, low, high), "width": metrics.width(low, high)}
    return measures


def quantile_calibration(tests: Mapping[str, pd.DataFrame], overlap: int) -> pd.DataFrame:
    """Return for each forecaster and level the share of actual values below that quantile.

    Columns: name, level, below (strictly), upto (at or below), share, low, high, count. Where values repeat, as counts
    do, a correct quantile has its level anywhere from `below` to `upto`; `share` is the end of that range nearer to the
    level, or the level within it. Between `low` and `high` the share of a correct quantile lies with 95 %, see
    `chance_band`; `count` is that of `independent_origins`. All but count are shares from 0 to 1.
    """
    rows = []
    for name, table in tests.items():
        count, actual = independent_origins(table, overlap), table["actual"]
        for level in quantile_levels(table):
            quantile = table[quantile_column(level)]
            below, upto = float((actual < quantile).mean()), float((actual <= quantile).mean())
            share = min(max(level, below), upto)
            band = chance_band(table, (actual <= quantile).to_numpy(), level, overlap)
            rows.append((name, level, below, upto, share, *band, count))
    return pd.DataFrame(rows, columns=["name", "level", "below", "upto", "share", "low", "high", "count"])


def interval_coverage(tests: Mapping[str, pd.DataFrame], overlap: int) -> pd.DataFrame:
    """Return for each forecaster and central interval the share of actual values in it, its bounds included.

    Columns: name, nominal, coverage, width (data units), and low, high, count as in `quantile_calibration`.
    """
    rows = []
    for name, table in tests.items():
        count, actual = independent_origins(table, overlap), table["actual"].to_numpy(float)
        for nominal, ends in central_intervals(quantile_levels(table)).items():
            low, high = _bounds(table, ends)
            share, width = metrics.coverage(actual, low, high), metrics.width(low, high)
            band = chance_band(table, (low <= actual) & (actual <= high), nominal, overlap)
            rows.append((name, nominal, share, width, *band, count))
    return pd.DataFrame(rows, columns=["name", "nominal", "coverage", "width", "low", "high", "count"])


def _bounds(table: pd.DataFrame, levels: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the quantiles (rows,) of the two `levels`."""
    low, high = (table[quantile_column(level)].to_numpy(float) for level in levels)
    return low, high


def chance_band(table: pd.DataFrame, hits: np.ndarray, share: float, overlap: int) -> tuple[float, float]:
    """Return the range of the share of `hits` (rows,) with 95 %, where the true one is `share`.

    Series miss together at one time, and forecasts miss together that share steps: so origins are the replicates, and
    the range is that of `significance.long_run_mean` of the share at each origin. It is at least that of the binomial
    distribution over windows that share no step, which it would be if series were independent. From 0 to 1 where there
    are too few origins to judge.
    """
    at_origins = pd.Series(hits.astype(float)).groupby(origin_times(table)).mean()
    half_width = significance.long_run_mean(at_origins.to_numpy(), overlap).half_width()
    if np.isnan(half_width):
        return 0.0, 1.0
    # Where every origin has the same share, nothing shows how far series miss together.
    count = (table["step"] == 1).sum() / overlap if half_width else independent_origins(table, overlap)
    ends = [np.nan_to_num(bdtrik(tail, count, share)) for tail in (0.025, 0.975)]
    low, high = float(np.ceil(ends[0]) / count), float(np.ceil(ends[1]) / count)
    return max(0.0, min(low, share - half_width)), min(1.0, max(high, share + half_width))


def _level_of(column: object) -> float | None:
    text = str(column)
    if not text.startswith("q"):
        return None
    try:
        level = float(text[1:])
    except ValueError:
        return None
    return level if 0 < level < 1 else None
