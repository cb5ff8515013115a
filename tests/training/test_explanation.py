"""What a trained network leans on, against numbers taken by hand from its own forecasts."""

import numpy as np
import pytest

from gridcast.runtime import loading
from gridcast.runtime.naive_scale import naive_scale
from small_experiments import SMALL, planned, sales

pytestmark = pytest.mark.usefixtures("jax_backend")


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """A plan, the files of its trained own settings, and what is told of them."""
    from gridcast.evaluation import explanation
    from gridcast.training import keras_fit

    plan = planned(tmp_path_factory.mktemp("explanation"), sales(130), **SMALL)
    files = keras_fit.train(plan.dataset, plan.reference_run).files
    return plan.dataset, files, explanation.explain_forecaster(plan.dataset, files)


def test_the_error_is_that_of_the_validation_span_in_naive_units(explained):
    dataset, files, told = explained
    index = dataset.origins("validation", 7)
    scale = naive_scale(dataset.target[:, : dataset.spans.train])[index[:, 0], None]
    forecast = loading.load_from_bytes(files).forecast(dataset.channels, index, dataset.series_codes)
    assert told["windows"] == len(index)
    assert told["error"] == pytest.approx(np.mean(np.abs(forecast - dataset.targets(index)) / scale), rel=1e-5)


def test_columns_calendar_and_lags_are_told_by_name(explained):
    told = explained[2]
    kinds = {part["name"]: part["kind"] for part in told["permuted"]}
    columns = {"quantity": "target", "price": "covariate", "day_of_week": "covariate"}
    assert kinds == columns | {f"lag {lag}": "lag" for lag in range(1, 8)}
    assert told["attention"] == []


def test_it_is_the_same_every_time(explained):
    from gridcast.evaluation import explanation

    dataset, files, told = explained
    assert explanation.explain_forecaster(dataset, files) == told
