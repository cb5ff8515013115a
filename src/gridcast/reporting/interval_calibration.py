"""What the quantiles of a test table are worth: pure functions on frames.

A `test` table has one row per window and step, the steps of a window together and in order: series, time, step
(1 = next), actual, forecast, scale, and one column `q0.1` for each level that the forecaster gives, if any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import bdtrik

from gridcast.evaluation import metrics

HEADLINE_SHARE = 0.8
"""Of several intervals the one nearest to this is spoken of."""


def quantile_levels(table: pd.DataFrame) -> tuple[float, ...]:
    """The levels of the quantile columns of `table`, in order; empty for point forecasts."""
    found = (_level(column) for column in table.columns)
    return tuple(sorted(level for level in found if level is not None))


def quantile_column(level: float) -> str:
    """Name of the column of this level: `q0.1`."""
    return f"q{level:g}"


def has_levels(table: pd.DataFrame, wanted: Sequence[float]) -> bool:
    """Whether `table` gives all of the levels `wanted`, and there are any."""
    return len(wanted) > 0 and set(wanted) <= set(quantile_levels(table))


def central_intervals(given: Sequence[float]) -> dict[float, tuple[float, float]]:
    """Central intervals that the levels `given` make: nominal share -> (low, high), the narrowest first."""
    known = {round(level, 6): level for level in given}
    halves = [low for low in known if low < 0.5 and round(1 - low, 6) in known]
    return {round(1 - 2 * low, 6): (known[low], known[round(1 - low, 6)]) for low in sorted(halves, reverse=True)}


def headline_interval(given: Sequence[float]) -> float | None:
    """The nominal share of the interval to speak of, None where no two levels make one."""
    return min(central_intervals(given), key=lambda nominal: (abs(nominal - HEADLINE_SHARE), nominal), default=None)


def window_numbers(table: pd.DataFrame) -> np.ndarray:
    """Number of the window of each row (rows,), from 0."""
    return np.asarray((table["step"] == 1).cumsum()) - 1


def independent_windows(table: pd.DataFrame, overlap: int) -> float:
    """How many windows of `table` share no step to forecast: all over the `overlap` of neighbouring origins.

    The steps of one window are counted as one observation, since they tend to miss together; series are
    taken as independent of each other.
    """
    return max(1.0, (table["step"] == 1).sum() / overlap)


def quantile_measures(table: pd.DataFrame, given: Sequence[float]) -> dict[str, float]:
    """wql, coverage (0 to 1) and width (data units) of the headline interval, and crps (data units), NaN for what
    `table` does not give.
    """
    found = dict.fromkeys(("wql", "coverage", "width", "crps"), float("nan"))
    if "crps" in table:
        found["crps"] = float(table["crps"].mean())
    if not has_levels(table, given):
        return found
    actual = table["actual"].to_numpy(float)
    quantiles = table[[quantile_column(level) for level in given]].to_numpy(float)
    found["wql"] = metrics.weighted_quantile_loss(actual, quantiles, given)
    nominal = headline_interval(given)
    if nominal is not None:
        low, high = (table[quantile_column(level)].to_numpy(float) for level in central_intervals(given)[nominal])
        found |= {"coverage": metrics.coverage(actual, low, high), "width": metrics.width(low, high)}
    return found


def quantile_calibration(tests: Mapping[str, pd.DataFrame], overlap: int) -> pd.DataFrame:
    """For each forecaster and level, the share of actual values below that quantile.

    Columns: name, level, below (strictly), upto (at or below), share, low, high, count. Where values repeat, as
    counts do, a right quantile has its level anywhere from `below` to `upto`; `share` is the end of that
    range nearer to the level, or the level within it. Between `low` and `high` the share of a right quantile
    lies with 95 % (binomial over `count` windows, see `independent`). All but count are shares from 0 to 1.
    """
    rows = []
    for name, table in tests.items():
        count, actual = independent_windows(table, overlap), table["actual"]
        for level in quantile_levels(table):
            below, upto = (
                float((actual < table[quantile_column(level)]).mean()),
                float((actual <= table[quantile_column(level)]).mean()),
            )
            share = min(max(level, below), upto)
            rows.append((name, level, below, upto, share, *_band(level, count), count))
    return pd.DataFrame(rows, columns=["name", "level", "below", "upto", "share", "low", "high", "count"])


def interval_coverage(tests: Mapping[str, pd.DataFrame], overlap: int) -> pd.DataFrame:
    """For each forecaster and central interval, how many actual values it holds, its bounds included.

    Columns: name, nominal, coverage, width (data units), low, high, count, as `calibration` has them.
    """
    rows = []
    for name, table in tests.items():
        count, actual = independent_windows(table, overlap), table["actual"].to_numpy(float)
        for nominal, ends in central_intervals(quantile_levels(table)).items():
            low, high = (table[quantile_column(level)].to_numpy(float) for level in ends)
            share, width = metrics.coverage(actual, low, high), metrics.width(low, high)
            rows.append((name, nominal, share, width, *_band(nominal, count), count))
    return pd.DataFrame(rows, columns=["name", "nominal", "coverage", "width", "low", "high", "count"])


def _band(share: float, count: float) -> tuple[float, float]:
    """Where the observed share of `count` draws lies with 95 %, by the binomial distribution."""
    ends = [np.nan_to_num(bdtrik(tail, count, share)) for tail in (0.025, 0.975)]
    return float(np.ceil(ends[0]) / count), float(min(np.ceil(ends[1]) / count, 1.0))


def _level(name: object) -> float | None:
    text = str(name)
    if not text.startswith("q"):
        return None
    try:
        level = float(text[1:])
    except ValueError:
        return None
    return level if 0 < level < 1 else None
