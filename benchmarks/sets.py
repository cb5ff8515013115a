"""The sets of the forecasting benchmark, each as one tidy table: series, time, value, covariates.

Public files are in `../shared/data`, the retail set comes with gridcast. All series of a set end at
the same stamp, whatever their length; the last horizon is the test. Sets without dates get artificial ones.
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
M4_HOURLY = 100
"""Series of M4's hourly set that are compared, for every contender: statistical models need minutes for all 414."""


def hospital(data: Path, horizon: int) -> pd.DataFrame:
    """Return patients per month and product in 767 series, 2000-01 to 2006-12."""
    return _tidy(_dated(data / "hospital" / "hospital.csv.gz", "t"))


def m4_hourly(data: Path, horizon: int) -> pd.DataFrame:
    """Return 100 of M4's 414 hourly series of 700 to 960 hours, evenly spaced, and their official 48 hours of test."""
    return _m4(data, "Hourly", "h", horizon, most=M4_HOURLY)


def m4_weekly(data: Path, horizon: int) -> pd.DataFrame:
    """Return M4's 359 weekly series of 80 to 2,597 weeks, and its official 13 weeks of test."""
    return _m4(data, "Weekly", "W-SUN", horizon)


def etth1(data: Path, horizon: int) -> pd.DataFrame:
    """Return six loads and the oil temperature of a transformer as seven series: the last year and the test."""
    return _transformer(data, "ETTh1", horizon)


def etth2(data: Path, horizon: int) -> pd.DataFrame:
    """Return the same of another transformer, on which no setting was chosen."""
    return _transformer(data, "ETTh2", horizon)


def retail_monthly(data: Path, horizon: int) -> pd.DataFrame:
    """Return pieces sold per month of the 100 products with the largest total before the test, 0 without sales."""
    path, _ = builtin.fetch_set("online-retail", windows.DATA)
    daily = pd.read_parquet(path)
    daily["month"] = daily["date"].dt.to_period("M")
    months = daily.pivot_table("quantity", "month", "product", aggfunc="sum", fill_value=0.0)[:LAST_MONTH]
    best = months.iloc[:-horizon].sum().nlargest(PRODUCTS).index
    return _tidy(months[best].set_axis(months.index.to_timestamp()))


def cheese(data: Path, horizon: int) -> pd.DataFrame:
    """Return cheese sold per week by 88 retailers over 52 to 68 weeks, with display and price.

    The dates in the file are made up from the first week on; here every retailer ends in the same week.
    """
    table = pd.read_csv(data / "cheese" / "cheese_weekly.csv", parse_dates=["date"])
    last = table.groupby("retailer")["date"].transform("max")
    table["date"] += table["date"].max() - last
    return _named(table, series="retailer", time="date", value="volume")


def tuna(data: Path, horizon: int) -> pd.DataFrame:
    """Return cans of seven brands sold in 338 weeks, with display and price.

    Weeks that no brand has are left out: the others are dated one after the other up to the last one.
    """
    table = pd.read_csv(data / "tuna" / "tuna_weekly.csv", parse_dates=["date"])
    weeks = table["date"].drop_duplicates().sort_values()
    dates = dict(zip(weeks, pd.date_range(end=weeks.iloc[-1], periods=len(weeks), freq="W-THU"), strict=True))
    return _named(table.assign(date=table["date"].map(dates)), series="brand", time="date", value="units")


def walmart(data: Path, horizon: int) -> pd.DataFrame:
    """Return weekly sales of seven departments over 143 weeks, with holidays, temperature, fuel price and CPI."""
    table = pd.read_csv(data / "walmart" / "walmart_weekly.csv", parse_dates=["date"])
    return _named(table, series="department", time="date", value="sales")


def bikes(data: Path, horizon: int) -> pd.DataFrame:
    """Return bicycle rides a day over two years, with holidays, working days and the weather."""
    table = pd.read_csv(data / "bikes" / "bikes_daily.csv", parse_dates=["date"])
    return _named(table.assign(series="bikes"), series="series", time="date", value="rides")


def electricity(data: Path, horizon: int) -> pd.DataFrame:
    """Return the demand of Victoria by the hour over three years, with temperature and holidays.

    Stamps are text with their offset from UTC, as in the file.
    """
    table = pd.read_csv(data / "electricity" / "victoria_hourly.csv.gz")
    return _named(table.assign(series="victoria"), series="series", time="time", value="demand")


def exchange_rate(data: Path, horizon: int) -> pd.DataFrame:
    """Return eight currencies over 7,588 days that have no dates, here business days up to 2016-12-30."""
    rates = pd.read_csv(data / "exchange_rate" / "exchange_rate.txt.gz", header=None)
    rates.index = pd.bdate_range(end="2016-12-30", periods=len(rates))
    return _tidy(rates.rename(columns="currency{}".format))


def djia30(data: Path, horizon: int) -> pd.DataFrame:
    """Return the closes of 31 shares on 3,020 trading days; the one day that eight of them lack repeats the last."""
    table = pd.read_csv(data / "djia30" / "djia30_2006_2017.csv.gz", parse_dates=["Date"])
    return _tidy(table.pivot_table("Close", "Date", "Name").ffill())


def jewelry(data: Path, horizon: int) -> pd.DataFrame:
    """Return pieces of 314 items of jewellery sold in 124 weeks from the fifth of 1998 on."""
    weeks = pd.read_csv(data / "jewelry" / "jewelry.csv.gz", index_col="t")
    return _tidy(weeks.set_axis(pd.date_range("1998-02-01", periods=len(weeks), freq="W-SUN")))


SETS: dict[str, Callable[[Path, int], pd.DataFrame]] = {
    "hospital": hospital,
    "m4-hourly": m4_hourly,
    "m4-weekly": m4_weekly,
    "etth1": etth1,
    "etth2": etth2,
    "retail-monthly": retail_monthly,
    "cheese": cheese,
    "tuna": tuna,
    "walmart": walmart,
    "bikes": bikes,
    "electricity": electricity,
    "exchange-rate": exchange_rate,
    "djia30": djia30,
    "jewelry": jewelry,
}
"""By name: from the folder of the public files, and the horizon that is the test, to the table.
Raises FileNotFoundError."""


def _transformer(data: Path, name: str, horizon: int) -> pd.DataFrame:
    return _tidy(_dated(data / "etth" / f"{name}.csv.gz", "date").iloc[-YEAR - horizon :])


def _dated(path: Path, time: str) -> pd.DataFrame:
    return pd.read_csv(path, index_col=time, parse_dates=[time])


def _m4(data: Path, name: str, frequency: str, horizon: int, most: int | None = None) -> pd.DataFrame:
    before, after = (pd.read_csv(data / "m4" / f"{name}-{part}.csv.gz", index_col=0) for part in ("train", "test"))
    if list(before.index) != list(after.index) or after.shape[1] != horizon:
        raise ValueError(f"M4 {name}: its test has {after.shape[1]} steps, the experiment's horizon is {horizon}")
    names = before.index if most is None else before.index[:: len(before) // most][:most]
    ends = {name: [*before.loc[name].dropna(), *after.loc[name]] for name in names}
    longest = max(map(len, ends.values()))
    times = pd.date_range(end="2020-01-05", periods=longest, freq=frequency)
    return _tidy(pd.DataFrame({name: pd.Series(values, times[-len(values) :]) for name, values in ends.items()}))


def _named(table: pd.DataFrame, *, series: str, time: str, value: str) -> pd.DataFrame:
    """The table with its columns under the names of every set; those that are left are covariates."""
    renamed = table.rename(columns={series: "series", time: "time", value: "value"})
    numbers = renamed.columns.difference(["series", "time"])
    renamed = renamed.astype({"series": str, **dict.fromkeys(numbers, float)})
    return renamed.sort_values(["series", "time"], ignore_index=True)


def _tidy(wide: pd.DataFrame) -> pd.DataFrame:
    """One row per series and time; stamps before a series begins are left out."""
    named = wide.rename_axis(index="time", columns="series")
    table = named.unstack().dropna().rename("value").astype(float).reset_index()  # noqa: PD010 - two levels to rows
    return table[["series", "time", "value"]].sort_values(["series", "time"], ignore_index=True)
