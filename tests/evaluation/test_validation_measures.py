"""Measures of the validation span, gridcast's and one's own."""

import inspect
from dataclasses import replace

import numpy as np
import pytest

from gridcast.config import Metric, parse, plugins
from gridcast.evaluation import forecast_table, own_metrics
from gridcast.evaluation.forecast_results import Forecasts
from gridcast.evaluation.validation_measures import validation_measures
from gridcast.runtime.errors import ConfigError, GridcastError
from small_experiments import experiment, planned, sales, settings


def hits(actual, forecast):
    """Percent of the points within 1 of the actual value."""
    return 100 * float(np.mean(np.abs(forecast - actual) <= 1))


def pinball(actual, forecast, *, quantiles, levels):
    """Mean pinball loss over all levels."""
    gap = actual[..., None] - quantiles
    return float(np.mean(np.maximum(levels * gap, (levels - 1) * gap)))


OWN = plugins.from_text(
    "own.py", inspect.getsource(hits) + "\nimport numpy as np\nhits.direction = 'higher'\nMETRICS = {'hits': hits}\n"
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    plan = planned(tmp_path_factory.mktemp("shop"), sales(130), window={"lookback": 7, "horizon": 2})
    return plan.panel, replace(plan.dataset, plugins=OWN)


def test_they_are_those_of_the_report_of_the_same_forecasts(shop):
    panel, dataset = shop
    index = dataset.origins("validation", 7)
    forecast = dataset.targets(index) * np.random.default_rng(0).normal(1, 0.1, (len(index), 2))
    measured = validation_measures(dataset, index, forecast)
    table = forecast_table.tabulate_forecasts(Forecasts(index, forecast), dataset, panel)
    reported = forecast_table.measure_forecasts(table)
    for name in ("mase", "msse", "wape", "rmse", "r2", "mape", "smape"):
        assert measured[f"val_{name}"] == pytest.approx(reported[f"test_{name}"])
    within = reported["test_share_excellent"] + reported["test_share_good"]
    assert 0 < measured["val_share_within_10"] < 100
    assert measured["val_share_within_10"] == pytest.approx(within)
    assert measured["val_share_within_20"] == pytest.approx(within + reported["test_share_acceptable"])
    assert measured["val_hits"] == hits(dataset.targets(index), forecast)
    assert own_metrics.evaluate_table(Metric(hits), "hits", table) == measured["val_hits"]


def test_what_is_not_finite_is_left_out(shop):
    _, dataset = shop
    index = dataset.origins("validation", 7)
    measured = validation_measures(dataset, index, np.full((len(index), 2), np.inf))
    assert not {"val_mase", "val_rmse"} & measured.keys()
    assert measured["val_share_within_20"] == 0


def test_a_metric_takes_what_its_function_names():
    actual, quantiles = np.array([[1.0, 2.0]]), np.array([[[0.0, 1.0], [2.0, 4.0]]])
    levels = np.array([0.1, 0.9])
    value = own_metrics.evaluate(
        Metric(pinball), "pinball", actual, actual, quantiles=quantiles, levels=levels, scale=9
    )
    assert value == pytest.approx((0.1 + 0 + 0 + 0.2) / 4)


def broken(actual, forecast):
    raise KeyError("no such column")


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        ("broken", broken, r"metric broken \(.*test_validation_measures.py, line \d+\): KeyError: 'no such column'"),
        (
            "shape",
            lambda actual, forecast: actual - forecast,
            r"must return one number, not an array of shape",
        ),
        ("nan", lambda actual, forecast: float("nan"), "returned nan for made-up forecasts of 12 windows and 2 steps"),
        ("takes", lambda actual: 1.0, r"line \d+\): TypeError: .*takes 1 positional argument but 2 were given"),
        ("mase", hits, "metric 'mase': gridcast has a metric of this name; choose another one"),
        ("val_mine", hits, "metric 'val_mine': write letters, digits and '_', not beginning with val_"),
    ],
)
def test_a_broken_metric_is_refused_before_anything_is_trained(name, function, message):
    with pytest.raises(ConfigError, match=message):
        own_metrics.check_metrics({name: Metric(function)}, 2, ())


def test_a_direction_is_lower_or_higher():
    with pytest.raises(ValueError, match="direction: 'up' is not allowed"):
        Metric(hits, "up")


def test_the_digest_follows_the_code_and_the_direction():
    digests = {own_metrics.digest_of(one) for one in (Metric(hits), Metric(hits, "higher"), Metric(pinball))}
    assert len(digests) == 3


def test_an_experiment_names_a_metric_of_ones_own_only_where_there_is_one():
    import yaml

    text = yaml.safe_dump(settings(selection={"metric": "hits"}))
    assert parse(text, plugins=OWN).selection.metric == "val_hits"
    with pytest.raises(ConfigError, match="selection.metric: 'val_hits' is not known.*comes from a plug-in"):
        parse(text)


@pytest.mark.parametrize(("written", "recorded"), [("mase", "val_mase"), ("mae", "best_val_mae"), ("val_r2", "val_r2")])
def test_the_prefix_of_a_metric_may_be_left_out(written, recorded):
    assert experiment(selection={"metric": written}).selection.metric == recorded


def test_failures_on_real_forecasts_name_the_function(shop):
    panel, dataset = shop
    index = dataset.origins("validation", 7)
    table = forecast_table.tabulate_forecasts(Forecasts(index, dataset.targets(index)), dataset, panel)
    with pytest.raises(GridcastError, match="metric broken .*KeyError"):
        own_metrics.evaluate_table(Metric(broken), "broken", table)
