"""Tables of forecast measures, against values computed by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from gridcast.reporting import forecast_tables


def forecasts(errors: list[list[float]], scale: float = 1.0, series: str = "a") -> pd.DataFrame:
    """Forecasts of 10 by so much off, one row of `errors` per origin, a day apart."""
    days = pd.date_range("2024-01-01", periods=len(errors) + len(errors[0]))
    rows = [
        (series, days[origin + step], step + 1, 10.0, 10.0 + error, scale)
        for origin, own in enumerate(errors)
        for step, error in enumerate(own)
    ]
    return pd.DataFrame(rows, columns=["series", "time", "step", "actual", "forecast", "scale"])


def single(errors, scale: float = 1.0, series: str = "a") -> pd.DataFrame:
    return forecasts([[error] for error in errors], scale, series)


def test_test_table_by_hand():
    # Series a: errors 0.3, 0.8, -1.5, 4 of 10 (3, 8, 15 and 40 %), scale 2; b: no error, scale 1.
    tests = {
        "winner": pd.concat([single([0.3, 0.8, -1.5, 4.0], 2.0), single([0.0] * 4, 1.0, "b")]),
        "other": single([1.0, -1.0]),
    }
    found = forecast_tables.measure_table(tests)
    shares = ["share_excellent", "share_good", "share_acceptable", "share_needs_improvement"]
    assert found.columns.tolist() == [
        "name",
        "mae",
        "rmse",
        "r2",
        "mape",
        "smape",
        "wape",
        "msle",
        "mase",
        "msse",
        *shares,
    ]
    assert found["name"].tolist() == ["winner", "other"]
    assert found.loc[0, "mae"] == pytest.approx(6.6 / 8)
    assert found.loc[0, "rmse"] == pytest.approx(math.sqrt((0.09 + 0.64 + 2.25 + 16) / 8))
    assert found.loc[0, "mape"] == pytest.approx(66 / 8)
    assert found.loc[0, "mase"] == pytest.approx((6.6 / 4 / 2 + 0) / 2)
    assert found.loc[0, "msse"] == pytest.approx((18.98 / 4 / 4 + 0) / 2)
    assert found.loc[0, shares].tolist() == [62.5, 12.5, 12.5, 12.5]
    assert found.loc[1, ["mae", "mase", "share_good"]].tolist() == [1.0, 1.0, 100.0]
    assert found["r2"].isna().all()  # the actual value never changes


def test_test_table_shares_sum_up_to_all():
    random = np.random.default_rng(0)
    found = forecast_tables.measure_table({"noise": single(random.normal(0, 2, 300))})
    assert found.filter(like="share_").sum(axis=1).tolist() == pytest.approx([100])


def test_by_series_by_hand():
    both = pd.concat([single([1.0, 3.0], 2.0, "a"), single([-1.0, 0.0], 1.0, "b")])
    found = forecast_tables.measures_by_series({"winner": both, "other": single([2.0], series="b")})
    assert found.columns.tolist() == [
        "name",
        "series",
        "mae",
        "rmse",
        "r2",
        "mape",
        "smape",
        "wape",
        "mase",
        "msse",
        "msle",
    ]
    assert found[["name", "series", "mae", "mase"]].to_numpy().tolist() == [
        ["winner", "a", 2.0, 1.0],
        ["winner", "b", 0.5, 0.5],
        ["other", "b", 2.0, 2.0],
    ]
    assert forecast_tables.measures_by_series({}).columns.tolist() == found.columns.tolist()
