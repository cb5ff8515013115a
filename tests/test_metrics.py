"""Error measures, against numbers by hand and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from gridcast import metrics

ACTUAL = np.array([2.0, 4.0, 0.0, 10.0])
FORECAST = np.array([3.0, 4.0, 1.0, 6.0])  # off by 1, 0, 1 and -4
RANDOM = np.random.default_rng(0)
MANY = RANDOM.normal(50, 20, 500), RANDOM.normal(50, 20, 500)


def test_measures_by_hand():
    assert metrics.mae(ACTUAL, FORECAST) == 1.5
    assert metrics.rmse(ACTUAL, FORECAST) == math.sqrt(18 / 4)
    assert metrics.r2(ACTUAL, FORECAST) == pytest.approx(1 - 18 / 56)  # mean 4: 4 + 0 + 16 + 36
    assert metrics.mape(ACTUAL, FORECAST) == pytest.approx(100 * (0.5 + 0 + 0.4) / 3)  # the 0 is left out
    assert metrics.smape(ACTUAL, FORECAST) == pytest.approx(200 * (1 / 5 + 0 + 1 + 4 / 16) / 4)
    assert metrics.mase(ACTUAL, FORECAST, 3.0) == 0.5


def test_measures_agree_with_scikit_learn():
    assert metrics.mae(*MANY) == pytest.approx(reference.mean_absolute_error(*MANY))
    assert metrics.rmse(*MANY) == pytest.approx(reference.root_mean_squared_error(*MANY))
    assert metrics.r2(*MANY) == pytest.approx(reference.r2_score(*MANY))
    assert metrics.mape(*MANY) == pytest.approx(100 * reference.mean_absolute_percentage_error(*MANY))


def test_what_cannot_be_said_is_not_a_number():
    flat = np.full(3, 5.0)
    assert math.isnan(metrics.r2(flat, flat))
    assert math.isnan(metrics.mape(np.zeros(3), flat))
    assert math.isnan(metrics.mase(flat, flat, 0.0))


def test_smape_is_0_where_both_are_0_and_200_where_one_is():
    assert metrics.smape(np.zeros(2), np.zeros(2)) == 0
    assert metrics.smape(np.array([0.0, 5.0]), np.array([5.0, 0.0])) == 200


def test_the_naive_scale_is_the_mean_step_of_each_series_and_skips_what_is_missing():
    training = np.array([[1.0, 3.0, 2.0, 6.0], [np.nan, 5.0, 5.5, np.nan], [np.nan, 1.0, np.nan, 9.0], [4.0] * 4])
    np.testing.assert_allclose(metrics.naive_scale(training), [7 / 3, 0.5, 0.0, 0.0])


@pytest.mark.parametrize(
    ("actual", "forecast", "expected"),
    [
        (100, 105, "EXCELLENT"),
        (100, 95, "EXCELLENT"),
        (100, 105.001, "GOOD"),
        (100, 90, "GOOD"),
        (100, 110, "GOOD"),
        (100, 110.001, "ACCEPTABLE"),
        (100, 80, "ACCEPTABLE"),
        (100, 120, "ACCEPTABLE"),
        (100, 120.001, "NEEDS IMPROVEMENT"),
        (100, 0, "NEEDS IMPROVEMENT"),
        (-100, -104, "EXCELLENT"),
        (-100, 100, "NEEDS IMPROVEMENT"),
        (0, 0.4, "EXCELLENT"),
        (0, 0.6, "NEEDS IMPROVEMENT"),
    ],
)
def test_closeness_by_hand(actual, forecast, expected):
    shares = metrics.closeness(np.array([actual], float), np.array([forecast], float))
    assert shares == {name: 100.0 if name == expected else 0.0 for name in metrics.CLOSENESS}


def test_closeness_shares_add_up():
    shares = metrics.closeness(np.array([100.0, 100, 100, 100]), np.array([101.0, 108, 150, 99]))
    assert list(shares.values()) == [50, 25, 0, 25]


def test_each_series_is_measured_alone_and_mase_is_the_mean_over_series():
    series = np.array(["a", "b", "a", "b"])
    scale = np.array([1.0, 4.0, 1.0, 4.0])
    each = metrics.per_series(ACTUAL, FORECAST, series, scale)
    assert list(each) == ["a", "b"]
    assert (each["a"]["mae"], each["a"]["mase"]) == (1.0, 1.0)
    assert (each["b"]["mae"], each["b"]["mase"]) == (2.0, 0.5)
    found = metrics.overall(ACTUAL, FORECAST, series, scale)
    assert (found["mae"], found["mase"]) == (1.5, 0.75)
    assert set(found) == set(metrics.POINT) <= set(metrics.LOWER_IS_BETTER)


def test_a_series_without_a_scale_is_left_out_of_the_overall_mase():
    series = np.array(["a", "b", "a", "b"])
    assert metrics.overall(ACTUAL, FORECAST, series, np.array([1.0, 0, 1, 0]))["mase"] == 1.0
    assert math.isnan(metrics.overall(ACTUAL, FORECAST, series, np.zeros(4))["mase"])


@pytest.mark.parametrize(
    ("loss", "expected"), [("mse", [1, 0, 1, 16]), ("mae", [1, 0, 1, 4]), ("huber", [0.5, 0, 0.5, 3.5])]
)
def test_point_losses_by_hand(loss, expected):
    assert metrics.point_losses(loss, ACTUAL, FORECAST).tolist() == expected
