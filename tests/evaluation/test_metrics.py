"""Error measures, against numbers by hand and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from gridcast.evaluation import metrics
from gridcast.runtime.naive_scale import naive_scale

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
    assert metrics.wape(ACTUAL, FORECAST) == 100 * 6 / 16


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
    assert math.isnan(metrics.wape(np.zeros(3), flat))
    assert math.isnan(metrics.weighted_quantile_loss(np.zeros(3), flat[:, None], [0.5]))


def test_smape_is_0_where_both_are_0_and_200_where_one_is():
    assert metrics.smape(np.zeros(2), np.zeros(2)) == 0
    assert metrics.smape(np.array([0.0, 5.0]), np.array([5.0, 0.0])) == 200


def test_the_naive_scale_is_the_mean_step_of_each_series_and_skips_what_is_missing():
    training = np.array([[1.0, 3.0, 2.0, 6.0], [np.nan, 5.0, 5.5, np.nan], [np.nan, 1.0, np.nan, 9.0], [4.0] * 4])
    np.testing.assert_allclose(naive_scale(training), [7 / 3, 0.5, 0.0, 0.0])


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
    assert shares == {name: 100.0 if name == expected else 0.0 for name in metrics.CLOSENESS_CLASSES}


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
    # Squares: 1 and 1 of a, 0 and 16 of b in units of 16.
    assert (each["a"]["msse"], each["b"]["msse"], found["msse"]) == (1.0, 0.5, 0.75)
    assert set(found) == set(metrics.POINT_METRICS) <= set(metrics.LOWER_IS_BETTER)


def test_a_series_without_a_scale_is_left_out_of_the_overall_mase():
    series = np.array(["a", "b", "a", "b"])
    assert metrics.overall(ACTUAL, FORECAST, series, np.array([1.0, 0, 1, 0]))["mase"] == 1.0
    assert math.isnan(metrics.overall(ACTUAL, FORECAST, series, np.zeros(4))["mase"])


@pytest.mark.parametrize(
    ("loss", "expected"), [("mse", [1, 0, 1, 16]), ("mae", [1, 0, 1, 4]), ("huber", [0.5, 0, 0.5, 3.5])]
)
def test_point_losses_by_hand(loss, expected):
    assert metrics.point_losses(loss, ACTUAL, FORECAST).tolist() == expected


LEVELS = (0.1, 0.5, 0.9)
QUANTILES = np.stack([FORECAST - 2, FORECAST, FORECAST + 2], axis=-1)


def test_pinball_and_weighted_quantile_loss_by_hand():
    assert metrics.pinball(np.array([10.0, 10.0]), np.array([7.0, 14.0]), 0.9) == pytest.approx([2.7, 0.4])
    # Off by 1, 0, 1 and -4: the 0.1 quantiles lie 1, 2 and 1 below and 6 below, the 0.9 ones 3, 2, 3 above and 2 below.
    tenth, half, ninth = 0.1 * (1 + 2 + 1 + 6), 3.0, 0.1 * (3 + 2 + 3) + 0.9 * 2
    expected = 2 * (tenth + half + ninth) / 3 / 16
    assert metrics.weighted_quantile_loss(ACTUAL, QUANTILES, LEVELS) == pytest.approx(expected)
    assert metrics.weighted_quantile_loss(ACTUAL, FORECAST[:, None], [0.5]) == metrics.wape(ACTUAL, FORECAST) / 100


@pytest.mark.parametrize("level", LEVELS)
def test_pinball_agrees_with_scikit_learn(level):
    expected = reference.mean_pinball_loss(*MANY, alpha=level)
    assert metrics.pinball(*MANY, level).mean() == pytest.approx(expected)


def test_coverage_and_width_by_hand():
    low, high = np.array([1.0, 5.0, 0.0, 0.0]), np.array([2.0, 6.0, 0.0, 9.0])  # the 2 and the 0 lie within
    assert (metrics.coverage(ACTUAL, low, high), metrics.width(low, high)) == (0.5, 11 / 4)


def test_crps_by_hand():
    # Pairs of different paths of (1, 2, 4) are 1, 3 and 2 apart, 2 in the mean; they are off 3 by 2, 1 and 1.
    assert metrics.crps(np.array([3.0]), np.array([[4.0, 1.0, 2.0]])) == pytest.approx(4 / 3 - 2 / 2)
    steps = metrics.crps(np.array([[3.0, 1.0]]), np.array([[[4.0, 1.0, 2.0], [1.0, 1.0, 1.0]]]))
    assert steps.tolist() == [[pytest.approx(4 / 3 - 2 / 2), 0.0]]
    assert metrics.crps(ACTUAL, FORECAST[:, None]).tolist() == np.abs(ACTUAL - FORECAST).tolist()


def test_crps_agrees_with_the_formula_of_the_normal_distribution_and_few_paths_are_not_favoured():
    """Gneiting and Raftery 2007, eq. 20: standard deviations times z (2 F(z) - 1) + 2 f(z) - 1 / sqrt(pi)."""
    from scipy.stats import norm

    z = 0.7
    expected = 2 * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / math.sqrt(math.pi))
    samples = np.random.default_rng(0).normal(5, 2, 400_000)
    actual = 5 + 2 * z
    for paths in (2, 40, 400):
        many = samples.reshape(-1, paths)
        assert metrics.crps(np.full(len(many), actual), many).mean() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    ("levels", "pair"),
    [((0.1, 0.5, 0.9), (0.1, 0.9)), ((0.25, 0.3, 0.75, 0.9), (0.25, 0.75)), ((0.5, 0.9), None), ((), None)],
)
def test_the_outermost_interval_leaves_as_much_below_as_above(levels, pair):
    assert metrics.widest_interval(levels) == pair


def test_quantiles_are_measured_as_far_as_they_go():
    found = metrics.quantile_metrics(ACTUAL, QUANTILES, LEVELS)
    assert (found["coverage"], found["width"]) == (0.75, 4.0)
    assert found["wql"] == metrics.weighted_quantile_loss(ACTUAL, QUANTILES, LEVELS)
    assert set(metrics.quantile_metrics(ACTUAL, QUANTILES[:, 1:], LEVELS[1:])) == {"wql"}


def test_what_is_better_the_higher_it_is_is_the_explained_variance_alone():
    assert [name for name, lower in metrics.LOWER_IS_BETTER.items() if not lower] == ["r2"]


@pytest.mark.parametrize("metric", [metrics.wape, metrics.mape])
def test_small_values_have_errors_in_percent_too(metric):
    assert metric(np.array([0.5]), np.array([0.25])) == 50


def test_small_scales_and_variances_are_no_zeros():
    actual, forecast = np.array([0.0, 0.5]), np.array([0.0, 0.25])
    assert metrics.r2(actual, forecast) == 0.5
    assert metrics.mase(actual, forecast, 0.5) == 0.25
    assert metrics.msse(actual, forecast, 0.5) == 0.125
    assert metrics.smape(np.array([0.25]), np.array([0.5])) == pytest.approx(200 / 3)
    assert metrics.weighted_quantile_loss(np.array([0.5]), np.array([[0.25]]), [0.5]) == 0.5
    assert math.isnan(metrics.msse(actual, forecast, 0.0))


def test_the_squared_scaled_error_by_hand():
    assert metrics.msse(ACTUAL, FORECAST, 3.0) == 18 / 4 / 9


def test_series_have_metrics_of_their_own_in_the_order_in_which_they_come():
    series, scale = np.array(["z", "a", "z", "m", "a"]), np.array([2.0, 0.5, 2.0, 0.0, 0.5])
    actual, forecast = np.zeros(5), np.array([2.0, 1.0, 6.0, 5.0, 3.0])
    each = metrics.per_series(actual, forecast, series, scale)
    assert list(each) == ["z", "a", "m"]
    assert [(own["mae"], own["mase"], own["msse"]) for own in each.values()][:2] == [(4, 2, 5), (2, 4, 20)]
    assert math.isnan(each["m"]["mase"])
    found = metrics.overall(actual, forecast, series, scale)
    # Means over the series that have a scale, however many points each has.
    assert (found["mae"], found["mase"], found["msse"]) == (17 / 5, 3, 12.5)


def test_the_mean_over_series_is_a_mean_and_weighs_no_series_more():
    series = np.repeat(["a", "b", "c"], [6, 2, 1])
    actual, forecast = np.zeros(9), np.repeat([1.0, 2.0, 12.0], [6, 2, 1])
    scale = np.repeat([1.0, 1.0, 2.0], [6, 2, 1])
    found = metrics.overall(actual, forecast, series, scale)
    assert (found["mase"], found["msse"]) == pytest.approx(((1 + 2 + 6) / 3, (1 + 4 + 36) / 3))
    with np.errstate(invalid="ignore"):
        broken = metrics.overall(actual, np.where(series == "c", np.inf, forecast), series, scale)
    assert broken["mase"] == 1.5


def test_huber_s_loss_changes_at_an_error_of_1():
    assert metrics.point_losses("huber", np.zeros(3), np.array([0.5, 1.0, 2.0])).tolist() == [0.125, 0.5, 1.5]
    assert metrics.point_losses("mse", np.zeros(1), np.array([3.0])).tolist() == [9.0]


def test_errors_of_logarithms_are_relative_and_never_of_what_cannot_happen():
    actual, forecast = np.array([0.0, 9.0, 99.0]), np.array([0.0, 0.0, 9.0])
    assert metrics.msle(actual, forecast) == pytest.approx(2 * np.log(10) ** 2 / 3)
    assert metrics.msle(actual, forecast - 5) == pytest.approx((np.log(10) ** 2 + np.log(20) ** 2) / 3)
    assert metrics.msle(np.array([-0.5]), np.array([-0.9])) == 0.0
    assert math.isnan(metrics.msle(np.array([-1.0]), np.array([1.0])))


def test_further_losses_by_hand():
    actual, forecast = np.array([2.0, 0.0, -3.0]), np.array([1.0, 0.0, 1.0])
    error = np.array([1.0, 0.0, 4.0])
    losses = metrics.point_losses("log_cosh", actual, forecast)
    np.testing.assert_allclose(losses, np.log(np.cosh(error)), atol=1e-12)
    np.testing.assert_allclose(metrics.point_losses("mape", actual, forecast), [50, 0, 400 / 3])
    assert metrics.point_losses("mape", np.zeros(1), np.array([1e-7])).tolist() == pytest.approx([100])
    np.testing.assert_allclose(metrics.point_losses("msle", actual, forecast), np.log([3 / 2, 1, 2]) ** 2, atol=1e-6)
    assert metrics.point_losses("huber delta=0.5", np.zeros(2), np.array([0.25, 2.0])).tolist() == [0.03125, 0.875]


def test_a_forecast_at_the_edge_of_a_share_is_within_it():
    edges = metrics.is_within(np.array([100.0, 100.0, 4.0]), np.array([110.0, 110.001, 5.0]), 0.25)
    assert edges.tolist() == [True, True, True]
    assert metrics.is_within(np.array([8.0]), np.array([8.0]), -1e-12).tolist() == [True]
