"""The sets of the forecasting benchmark, each as one tidy table: series, time, value.

Public files are in `../shared/data`, the retail set comes with gridcast. All series of a set end at
the same stamp, whatever their length; the last horizon is the test. The M4 files have no dates, so
they get artificial ones.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from peers import windows

from gridcast.data import builtin

SHARED = Path(__file__).absolute().parent.parent.parent / "shared" / "data"
YEAR = 365 * 24
LAST_MONTH, PRODUCTS = "2011-11", 100


def hospital(data: Path, horizon: int) -> pd.DataFrame:
    """Return patients per month and product in 767 series, 2000-01 to 2006-12."""
    return _tidy(_dated(data / "hospital" / "hospital.csv.gz", "t"))


def m4_hourly(data: Path, horizon: int) -> pd.DataFrame:
    """Return M4's 414 hourly series of 700 to 960 hours, and its official 48 hours of test."""
    return _m4(data, "Hourly", "h", horizon)


def m4_weekly(data: Path, horizon: int) -> pd.DataFrame:
    """Return M4's 359 weekly series of 80 to 2,597 weeks, and its official 13 weeks of test."""
    return _m4(data, "Weekly", "W-SUN", horizon)


def etth1(data: Path, horizon: int) -> pd.DataFrame:
    """Return six loads and the oil temperature of a transformer as seven series: the last year and the test."""
    return _transformer(data, "ETTh1", horizon)


def etth2(data: Path, horizon: int) -> pd.DataFrame:
    """Return the same of another transformer; no setting was chosen on it, so it is the only unspent test."""
    return _transformer(data, "ETTh2", horizon)


def retail_monthly(data: Path, horizon: int) -> pd.DataFrame:
    """Return pieces sold per month of the 100 products with the largest total before the test, 0 without sales."""
    path, _ = builtin.fetch_set("online-retail", windows.DATA)
    daily = pd.read_parquet(path)
    daily["month"] = daily["date"].dt.to_period("M")
    months = daily.pivot_table("quantity", "month", "product", aggfunc="sum", fill_value=0.0)[:LAST_MONTH]
    best = months.iloc[:-horizon].sum().nlargest(PRODUCTS).index
    return _tidy(months[best].set_axis(months.index.to_timestamp()))


SETS: dict[str, Callable[[Path, int], pd.DataFrame]] = {
    "hospital": hospital,
    "m4-hourly": m4_hourly,
    "m4-weekly": m4_weekly,
    "etth1": etth1,
    "etth2": etth2,
    "retail-monthly": retail_monthly,
}
"""By name: from the folder of the public files, and the horizon that is the test, to the table.
Raises FileNotFoundError."""


def _transformer(data: Path, name: str, horizon: int) -> pd.DataFrame:
    return _tidy(_dated(data / "etth" / f"{name}.csv.gz", "date").iloc[-YEAR - horizon :])


def _dated(path: Path, time: str) -> pd.DataFrame:
    return pd.read_csv(path, index_col=time, parse_dates=[time])


def _m4(data: Path, name: str, frequency: str, horizon: int) -> pd.DataFrame:
    before, after = (pd.read_csv(data / "m4" / f"{name}-{part}.csv.gz", index_col=0) for part in ("train", "test"))
    if list(before.index) != list(after.index) or after.shape[1] != horizon:
        raise ValueError(f"M4 {name}: its test has {after.shape[1]} steps, the experiment's horizon is {horizon}")
    ends = {name: [*before.loc[name].dropna(), *after.loc[name]] for name in before.index}
    most = max(map(len, ends.values()))
    times = pd.date_range(end="2020-01-05", periods=most, freq=frequency)
    return _tidy(pd.DataFrame({name: pd.Series(values, times[-len(values) :]) for name, values in ends.items()}))


def _tidy(wide: pd.DataFrame) -> pd.DataFrame:
    """One row per series and time; stamps before a series begins are left out."""
    named = wide.rename_axis(index="time", columns="series")
    table = named.unstack().dropna().rename("value").astype(float).reset_index()  # noqa: PD010 - two levels to rows
    return table[["series", "time", "value"]].sort_values(["series", "time"], ignore_index=True)
