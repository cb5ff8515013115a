"""Calibration of quantiles and intervals on the test span: pure functions on frames.

A table of the test span has one row per window and step, the steps of a window together and in order: series, time,
step (1 = next), actual, forecast, scale, and one column such as `q0.1` for each quantile level of the forecaster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import bdtrik

from gridcast.evaluation import metrics

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


def independent_windows(table: pd.DataFrame, overlap: int) -> float:
    """Return how many windows of `table` share no step: all over the `overlap` of neighbouring origins.

    The steps of one window count as one observation, since they tend to miss together; series are taken as
    independent of each other.
    """
    return max(1.0, (table["step"] == 1).sum() / overlap)


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
    level, or the level within it. Between `low` and `high` the share of a correct quantile lies with 95 % (binomial
    over `count` windows, see `independent_windows`). All but count are shares from 0 to 1.
    """
    rows = []
    for name, table in tests.items():
        count, actual = independent_windows(table, overlap), table["actual"]
        for level in quantile_levels(table):
            quantile = table[quantile_column(level)]
            below, upto = float((actual < quantile).mean()), float((actual <= quantile).mean())
            share = min(max(level, below), upto)
            rows.append((name, level, below, upto, share, *_chance_band(level, count), count))
    return pd.DataFrame(rows, columns=["name", "level", "below", "upto", "share", "low", "high", "count"])


def interval_coverage(tests: Mapping[str, pd.DataFrame], overlap: int) -> pd.DataFrame:
    """Return for each forecaster and central interval the share of actual values in it, its bounds included.

    Columns: name, nominal, coverage, width (data units), and low, high, count as in `quantile_calibration`.
    """
    rows = []
    for name, table in tests.items():
        count, actual = independent_windows(table, overlap), table["actual"].to_numpy(float)
        for nominal, ends in central_intervals(quantile_levels(table)).items():
            low, high = _bounds(table, ends)
            share, width = metrics.coverage(actual, low, high), metrics.width(low, high)
            rows.append((name, nominal, share, width, *_chance_band(nominal, count), count))
    return pd.DataFrame(rows, columns=["name", "nominal", "coverage", "width", "low", "high", "count"])


def _bounds(table: pd.DataFrame, levels: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the quantiles (rows,) of the two `levels`."""
    low, high = (table[quantile_column(level)].to_numpy(float) for level in levels)
    return low, high


def _chance_band(share: float, count: float) -> tuple[float, float]:
    """Return the range of the observed share of `count` draws with 95 %, by the binomial distribution."""
    ends = [np.nan_to_num(bdtrik(tail, count, share)) for tail in (0.025, 0.975)]
    return float(np.ceil(ends[0]) / count), float(min(np.ceil(ends[1]) / count, 1.0))


def _level_of(column: object) -> float | None:
    text = str(column)
    if not text.startswith("q"):
        return None
    try:
        level = float(text[1:])
    except ValueError:
        return None
    return level if 0 < level < 1 else None
