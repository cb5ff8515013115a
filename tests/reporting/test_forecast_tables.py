"""Tables of forecast measures, against values computed by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from gridcast.evaluation import metrics
from gridcast.evaluation.significance import diebold_mariano
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
    assert found.columns.tolist() == ["name", "mae", "rmse", "r2", "mape", "smape", "wape", "mase", *shares]
    assert found["name"].tolist() == ["winner", "other"]
    assert found.loc[0, "mae"] == pytest.approx(6.6 / 8)
    assert found.loc[0, "rmse"] == pytest.approx(math.sqrt((0.09 + 0.64 + 2.25 + 16) / 8))
    assert found.loc[0, "mape"] == pytest.approx(66 / 8)
    assert found.loc[0, "mase"] == pytest.approx((6.6 / 4 / 2 + 0) / 2)
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
    assert found.columns.tolist() == ["name", "series", "mae", "rmse", "r2", "mape", "smape", "wape", "mase"]
    assert found[["name", "series", "mae", "mase"]].to_numpy().tolist() == [
        ["winner", "a", 2.0, 1.0],
        ["winner", "b", 0.5, 0.5],
        ["other", "b", 2.0, 2.0],
    ]
    assert forecast_tables.measures_by_series({}).columns.tolist() == found.columns.tolist()


def test_origin_losses_by_hand():
    # Origin 1: a 1 / 2 and 3 / 2, b 4 and 0: mean (0.5 + 1.5 + 4 + 0) / 4 = 1.5;
    # origin 2: a 2 / 2 and 0, b 1 and 2: mean (1 + 0 + 1 + 2) / 4 = 1
    table = pd.concat([forecasts([[1, -3], [2, 0]], 2.0, "a"), forecasts([[4, 0], [-1, 2]], 1.0, "b")])
    found = forecast_tables.origin_losses(table)
    assert found.tolist() == [1.5, 1.0]
    assert found.index.tolist() == list(pd.date_range("2024-01-01", periods=2))
    shuffled = table.sample(frac=1, random_state=0)
    pd.testing.assert_series_equal(forecast_tables.origin_losses(shuffled), found)


def test_origin_losses_of_windows_with_a_stride_between_them():
    table = forecasts([[1.0, 2.0]] * 9)
    table = table[table["time"].sub(pd.to_timedelta(table["step"] - 1, unit="D")).dt.day.isin([1, 4, 9])]
    found = forecast_tables.origin_losses(table)
    assert found.index.day.tolist() == [1, 4, 9]
    assert found.tolist() == [1.5, 1.5, 1.5]


def test_origin_losses_average_to_mase():
    random = np.random.default_rng(7)
    table = pd.concat([single(random.normal(size=30), scale, name) for scale, name in ((1.0, "a"), (3.0, "b"))])
    arrays = (table[column].to_numpy() for column in ("actual", "forecast", "series", "scale"))
    assert forecast_tables.origin_losses(table).mean() == pytest.approx(metrics.overall(*arrays)["mase"])


def test_origin_losses_leave_out_series_without_a_scale():
    table = pd.concat([single([1.0, 2.0]), single([5.0, 5.0], 0.0, "flat")])
    assert forecast_tables.origin_losses(table).tolist() == [1.0, 2.0]
    assert forecast_tables.origin_losses(single([1.0], 0.0)).empty


def rivals() -> dict[str, pd.DataFrame]:
    random = np.random.default_rng(11)
    own = random.uniform(0.5, 1.5, 40)
    return {
        "good": single(own),
        "bad": single(own + random.uniform(0.2, 1.0, 40)),
        "alike": single(own + random.normal(0, 0.2, 40)),
        "better": single(own * 0.5),
    }


def test_against_baselines():
    tests = rivals()
    found = forecast_tables.against_baselines(tests, "good", 1)
    assert found.columns.tolist() == ["name", "mase", "percent", "dm_statistic", "p_value", "verdict"]
    assert found[["name", "verdict"]].to_numpy().tolist() == [["bad", "better"], ["alike", "tied"], ["better", "worse"]]
    mase = forecast_tables.measure_table(tests).set_index("name")["mase"]
    by_name = found.set_index("name")
    assert by_name["mase"].to_dict() == mase.drop("good").to_dict()
    assert by_name.loc["better", "percent"] == pytest.approx(100)
    assert by_name.loc["bad", "percent"] == pytest.approx(100 * (mase["good"] - mase["bad"]) / mase["bad"])
    assert by_name.loc["bad", "percent"] < 0
    expected = diebold_mariano((tests["good"]["forecast"] - 10).abs(), (tests["alike"]["forecast"] - 10).abs())
    assert by_name.loc["alike", "dm_statistic"] == pytest.approx(expected.statistic)
    assert by_name.loc["alike", "p_value"] == pytest.approx(expected.p_value)


def test_against_baselines_minds_the_horizon():
    one, three = (forecast_tables.against_baselines(rivals(), "good", horizon)["dm_statistic"] for horizon in (1, 3))
    assert not np.isclose(one, three).any()


def test_against_baselines_compares_origins_that_both_have():
    tests = rivals()
    tests["bad"] = tests["bad"].iloc[10:]
    found = forecast_tables.against_baselines(tests, "good", 1).set_index("name")
    own, other = ((tests[name]["forecast"] - 10).abs() for name in ("good", "bad"))
    assert found.loc["bad", "dm_statistic"] == pytest.approx(diebold_mariano(own.iloc[10:], other).statistic)


def test_against_baselines_of_the_same_forecasts_is_tied():
    found = forecast_tables.against_baselines({"a": single([1.0, 2.0, 3.0]), "b": single([1.0, 2.0, 3.0])}, "a", 1)
    assert found.to_numpy().tolist() == [["b", 2.0, 0.0, 0.0, 1.0, "tied"]]


def test_against_baselines_with_one_origin_cannot_tell():
    found = forecast_tables.against_baselines({"a": single([1.0]), "b": single([2.0])}, "a", 1)
    assert found.loc[0, ["percent", "verdict"]].tolist() == [-50.0, "tied"]
    assert found.loc[0, ["dm_statistic", "p_value"]].isna().all()


def test_against_baselines_with_a_perfect_and_with_a_broken_one():
    tests = {"a": single([1.0, 2.0, 1.0, 2.0]), "perfect": single([0.0] * 4), "broken": single([math.inf] * 4)}
    found = forecast_tables.against_baselines(tests, "a", 1).set_index("name")
    assert math.isnan(found.loc["perfect", "percent"])
    assert found.loc["perfect", "verdict"] == "worse"
    assert math.isnan(found.loc["broken", "mase"])
    assert math.isnan(found.loc["broken", "p_value"])
    assert found.loc["broken", "verdict"] == "tied"
    assert forecast_tables.measures_by_series({"broken": tests["broken"]}).loc[0, "mae"] == math.inf


def test_against_baselines_without_any_and_without_the_winner():
    found = forecast_tables.against_baselines({"a": single([1.0])}, "a", 1)
    assert found.empty
    assert "verdict" in found
    with pytest.raises(KeyError, match="b"):
        forecast_tables.against_baselines({"a": single([1.0])}, "b", 1)
