"""Losses by origin, whose mean is the measure itself."""

import math

import numpy as np
import pandas as pd
import pytest

from gridcast.config import Metric
from gridcast.evaluation import metrics
from gridcast.evaluation.forecast_table import measure_forecasts
from gridcast.evaluation.origin_losses import (
    MAE,
    MASE,
    MSE,
    MSLE,
    MSSE,
    OUTSIDE,
    RELATIVE,
    WQL,
    limit_below,
    measure_of,
    origin_losses,
    own_measure,
    series_losses,
    shared_points,
    value_of,
)


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


def test_by_hand():
    # Origin 1: a 1 / 2 and 3 / 2, b 4 and 0: mean (0.5 + 1.5 + 4 + 0) / 4 = 1.5;
    # origin 2: a 2 / 2 and 0, b 1 and 2: mean (1 + 0 + 1 + 2) / 4 = 1
    table = pd.concat([forecasts([[1, -3], [2, 0]], 2.0, "a"), forecasts([[4, 0], [-1, 2]], 1.0, "b")])
    losses = origin_losses(table, MASE)
    assert losses.tolist() == [1.5, 1.0]
    assert losses.index.tolist() == list(pd.date_range("2024-01-01", periods=2))
    assert origin_losses(table, MAE).tolist() == [2.0, 1.25]
    # Squares: (0.25 + 2.25 + 16 + 0) / 4, (1 + 0 + 1 + 4) / 4.
    assert origin_losses(table, MSSE).tolist() == [4.625, 1.5]
    shuffled = table.sample(frac=1, random_state=0)
    pd.testing.assert_series_equal(origin_losses(shuffled, MASE), losses)
    assert series_losses(table, MASE).to_dict() == {"a": 0.75, "b": 1.75}


def test_windows_with_a_stride_between_them():
    table = forecasts([[1.0, 2.0]] * 9)
    table = table[table["time"].sub(pd.to_timedelta(table["step"] - 1, unit="D")).dt.day.isin([1, 4, 9])]
    losses = origin_losses(table, MASE)
    assert losses.index.day.tolist() == [1, 4, 9]
    assert losses.tolist() == [1.5, 1.5, 1.5]


@pytest.mark.parametrize("measure", [MASE, MSSE, MAE, MSE, *RELATIVE.values(), *OUTSIDE.values()])
def test_the_mean_is_the_measure_also_where_series_have_gaps(measure):
    random = np.random.default_rng(7)
    parts = [single(random.normal(size=30), scale, name) for scale, name in ((1.0, "a"), (3.0, "b"))]
    table = pd.concat([parts[0], parts[1].iloc[[0, 4, 5, 29]]])
    table.iloc[3, table.columns.get_loc("actual")] = 0.0
    recorded = {name.removeprefix("test_"): value for name, value in measure_forecasts(table).items()}
    assert value_of(measure, recorded) > 0
    assert origin_losses(table, measure).mean() == pytest.approx(value_of(measure, recorded))
    assert series_losses(table, measure).mean() == pytest.approx(value_of(measure, recorded))


def bias(actual, forecast, *, scale, series):
    """Mean error of each series in its unit, added up: it needs all that a metric may take."""
    return float(sum(np.mean((forecast - actual)[series == k]) / scale[series == k][0] for k in np.unique(series)))


def test_a_metric_of_ones_own_is_compared_by_origin_in_its_direction():
    table = pd.concat([forecasts([[1, -3], [2, 0]], 2.0, "a"), forecasts([[4, 0], [-1, 2]], 1.0, "b")])
    lower, higher = own_measure("bias", Metric(bias)), own_measure("bias", Metric(bias, "higher"))
    assert origin_losses(table, lower).tolist() == [-0.5 + 2.0, 0.5 + 0.5]
    assert origin_losses(table, higher).tolist() == [-1.5, -1.0]
    assert series_losses(table, lower).to_dict() == {"a": 0.0, "b": 1.25}
    assert (value_of(lower, {"bias": 3.0}), value_of(higher, {"bias": 3.0})) == (3.0, -3.0)
    assert measure_of("val_bias", {"mse"}, (), {"bias": Metric(bias, "higher")}) == higher
    assert measure_of("val_bias", {"mse"}, ()) == MASE  # where the plug-in is not at hand


def test_a_margin_asks_for_less_also_below_zero():
    assert limit_below(10.0, 0.1) == 9.0
    assert limit_below(-10.0, 0.1) == -11.0
    assert limit_below(math.inf, 0.0) == math.inf


def test_the_mean_is_half_the_numerator_of_the_weighted_quantile_loss():
    random = np.random.default_rng(8)
    table = single(random.normal(size=20)).assign(**{"q0.1": 9 + random.normal(size=20), "q0.9": 11.0})
    quantiles = table[["q0.1", "q0.9"]].to_numpy()
    wql = metrics.weighted_quantile_loss(table["actual"].to_numpy(), quantiles, (0.1, 0.9))
    assert origin_losses(table, WQL, (0.1, 0.9)).mean() == pytest.approx(wql * 10 / 2)


def test_series_without_a_scale_are_left_out_of_scaled_measures_only():
    table = pd.concat([single([1.0, 2.0]), single([5.0, 5.0], 0.0, "flat")])
    assert origin_losses(table, MASE).tolist() == [1.0, 2.0]
    assert origin_losses(table, MAE).tolist() == [3.0, 3.5]
    assert origin_losses(single([1.0], 0.0), MASE).empty


def test_a_forecast_that_is_no_number_is_infinitely_bad():
    assert origin_losses(single([1.0, math.nan, 2.0]), MASE).tolist() == [1.0, math.inf, 2.0]


@pytest.mark.parametrize(
    ("metric", "losses", "levels", "measure"),
    [
        ("best_val_loss", {"mse"}, (), MSSE),
        ("best_val_loss", {"mae"}, (), MASE),
        ("best_val_loss", {"mse", "huber"}, (), MASE),
        ("best_val_loss", {"mse"}, (0.1, 0.9), WQL),
        ("best_val_mae", {"mse"}, (0.1, 0.9), MAE),
        ("best_val_wql", {"mae"}, (0.1, 0.9), WQL),
        ("val_mase", {"mse"}, (0.1, 0.9), MASE),
        ("val_r2", {"mae"}, (), MSE),
        ("val_rmse", {"mae"}, (), MSE),
        ("val_wape", {"mse"}, (), RELATIVE["wape"]),
        ("val_share_within_10", {"mse"}, (), OUTSIDE["share_within_10"]),
    ],
)
def test_the_measure_follows_the_metric_of_the_selection(metric, losses, levels, measure):
    assert measure_of(metric, losses, levels) == measure


def test_points_that_both_forecast_are_shared():
    table = pd.concat([forecasts([[1, 2], [3, 4], [5, 6]]), forecasts([[7, 8]], series="b")], ignore_index=True)
    one, other = shared_points(table.iloc[[0, 1, 2, 6, 7]], table.iloc[[1, 2, 3, 4, 7]].assign(forecast=0.0))
    assert one["forecast"].tolist() == [12, 13, 18]
    assert other.index.tolist() == one.index.tolist() == [1, 2, 7]
    assert other["forecast"].tolist() == [0, 0, 0]
    moved = table.set_axis(table.index + 9)
    for pair in (shared_points(table, moved), shared_points(table, table)):
        assert [len(side) for side in pair] == [8, 8]


def test_networks_of_logarithms_are_compared_by_them():
    assert measure_of("best_val_loss", {"mse"}, (), log1p=True) == measure_of("val_msle", {"mae"}, ()) == MSLE
    assert measure_of("best_val_loss", {"mae"}, (), log1p=True) == MASE
    assert measure_of("best_val_loss", {"mse"}, [0.5], log1p=True) == WQL
    assert measure_of("best_val_mae", {"mse"}, (), log1p=True) == MAE
    table = pd.DataFrame({"series": "a", "time": pd.date_range("2024", periods=3), "step": 1, "scale": 1.0})
    table = table.assign(actual=[0.0, 9.0, 99.0], forecast=[-3.0, 9.0, 9.0])
    losses = origin_losses(table, MSLE)
    assert losses.tolist() == pytest.approx([0, 0, np.log(10) ** 2])
    assert losses.mean() == pytest.approx(value_of(MSLE, {"msle": metrics.msle(table["actual"], table["forecast"])}))


def test_a_symmetric_percentage_is_0_where_nothing_is_forecast_and_nothing_comes():
    table = pd.DataFrame({"series": "a", "time": pd.date_range("2024", periods=3), "step": 1, "scale": 1.0})
    table = table.assign(actual=[0.0, 1.0, 0.25], forecast=[0.0, 3.0, 0.5])
    assert origin_losses(table, RELATIVE["smape"]).tolist() == pytest.approx([0, 100, 200 / 3])
    assert origin_losses(table.iloc[:1], RELATIVE["smape"]).tolist() == [0.0]


def test_a_share_outside_is_named_by_its_ends():
    assert OUTSIDE["share_within_10"].title == "share outside 90-110 %"
