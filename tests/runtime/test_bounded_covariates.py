"""A covariate is read within bounds: what training has seen, and a margin."""

import json
import logging

import numpy as np
import pytest

from gridcast.config import grid
from gridcast.models import baselines
from gridcast.models.baselines.dataset_task import baseline_task
from gridcast.runtime import loading, scaling
from gridcast.runtime.preprocessing import Preprocessing
from small_experiments import planned, sales
from untrained_models import untrained_files

DAYS, TRAIN = 120, 96
FRAME = sales(DAYS)
SECTIONS = {"data": {"past": ["price"]}, "window": {"horizon": 2}}


def with_price(price, product=None, start=0):
    """The sales with another price from the day `start` on, of one product or of all."""
    day = FRAME.groupby("product").cumcount()
    is_changed = (day >= start) & ((FRAME["product"] == product) | (product is None))
    return FRAME.assign(price=FRAME["price"].mask(is_changed, price))


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("priced"), FRAME, **SECTIONS)


@pytest.fixture(scope="module")
def limits(plan):
    """The lowest and the highest price with which apples are read."""
    return plan.dataset.preprocessing.scalers[0].limits(0)


@pytest.mark.parametrize("method", ["minmax", "standard", "mean-abs"])
def test_a_covariate_that_varies_has_the_scale_of_its_series_and_bounds_half_its_range_beyond(method):
    train = np.random.default_rng(0).gamma(2.0, 10.0, size=(3, 50))
    bounded, own = scaling.fit_bounded(train, method), scaling.fit(train, method)
    np.testing.assert_array_equal(bounded.transform(train), own.transform(train))
    low, high = train.min(axis=1), train.max(axis=1)
    for row in range(3):
        margin = (high[row] - low[row]) / 2
        assert bounded.limits(row) == pytest.approx((low[row] - margin, high[row] + margin))
    far = np.array([[1e9], [-1e9], [np.nan]])
    ends = bounded.inverse(bounded.transform(far))
    np.testing.assert_allclose(ends[:2, 0], [bounded.limits(0)[1], bounded.limits(1)[0]])
    assert np.isnan(ends[2, 0])


@pytest.mark.parametrize("level", [0.0, 7.5, 1e9])
@pytest.mark.parametrize("method", ["minmax", "standard", "mean-abs"])
def test_a_constant_covariate_has_the_scale_of_all_series_or_is_zero(method, level):
    constant, varying = np.full(50, level), np.linspace(1.0, 3.0, 50)
    train = np.stack([constant, varying])
    bounded, pooled = scaling.fit_bounded(train, method), scaling.fit(train.reshape(1, -1), method)
    assert (bounded.offset[0], bounded.scale[0]) == (pooled.offset[0], pooled.scale[0])
    least, most = min(level, 1.0), max(level, 3.0)
    assert bounded.limits(0) == pytest.approx((least - (most - least) / 2, most + (most - least) / 2))
    everywhere = scaling.fit_bounded(np.stack([constant, constant + 1]), method)
    assert not everywhere.transform(np.array([[level, 2400.0], [5.0, -2400.0]])).any()


def test_models_from_before_have_no_bounds_and_those_of_now_keep_theirs(plan):
    preprocessing = plan.dataset.preprocessing
    content = json.loads(json.dumps(preprocessing.to_json()))
    far = np.array([[1e6], [1e6]])
    read = Preprocessing.from_json(content).scalers[0]
    np.testing.assert_array_equal(read.transform(far), preprocessing.scalers[0].transform(far))
    np.testing.assert_array_equal(read.take(1).transform(far[1:]), preprocessing.scalers[0].transform(far)[1:])
    for scaler in content["scalers"]:
        del scaler["low"], scaler["high"]
    former = Preprocessing.from_json(content).scalers[0]
    np.testing.assert_array_equal(former.transform(far), (far - former.offset[:, None]) / former.scale[:, None])


@pytest.mark.usefixtures("jax_backend")
@pytest.mark.parametrize("direction", [-1, 1])
def test_a_network_forecasts_from_a_far_value_as_from_the_bound_and_warns_once(plan, limits, direction, caplog):
    forecaster = loading.load_from_bytes(untrained_files(plan.dataset, plan.reference_run))
    bound = limits[(direction + 1) // 2]
    span = (limits[1] - limits[0]) / 2
    usual = forecaster.predict(FRAME)["forecast"]
    with caplog.at_level(logging.WARNING, "gridcast"):
        at_bound = forecaster.predict(with_price(bound, "apple", DAYS - 1))["forecast"]
        assert not caplog.records
        far = [forecaster.predict(with_price(direction * 1000 * span, "apple", DAYS - 1))["forecast"] for _ in range(2)]
    assert (at_bound[:2] != usual[:2]).all()
    for forecast in far:
        np.testing.assert_allclose(forecast, at_bound, rtol=1e-5)
    [record] = caplog.records
    message = record.getMessage()
    for part in ("'price'", "'apple'", f"{direction * 1000 * span:g}", f"{limits[0]:g} to {limits[1]:g}"):
        assert part in message


@pytest.mark.parametrize("name", ["ridge", "trees"])
def test_baselines_forecast_from_a_far_value_as_from_the_bound(tmp_path, limits, name):
    points = [
        baselines.BASELINES[name](
            baseline_task(planned(tmp_path, with_price(price, "apple", DAYS - 6), **SECTIONS).dataset, 7)
        ).point
        for price in (limits[1], 1000 * limits[1])
    ]
    np.testing.assert_allclose(points[1], points[0], rtol=1e-5)


@pytest.mark.usefixtures("jax_backend")
def test_a_price_of_nothing_in_training_moves_nothing_later(tmp_path):
    """It was scaled by 1, and 2,400 later made forecasts a hundred times too large."""
    free, dear = (
        with_price(0.0).assign(price=lambda t, p=price: t["price"].where(t.index % DAYS < TRAIN, p))
        for price in (0.0, 2400.0)
    )
    plans = [planned(tmp_path, frame, **SECTIONS) for frame in (free, dear)]
    for made in plans:
        [note] = [note for note in made.panel.notes if note.startswith("warning")]
        assert "column 'price'" in note
        assert "every series" in note
        assert "remove it" in note
    np.testing.assert_array_equal(plans[0].dataset.channels, plans[1].dataset.channels)
    forecaster = loading.load_from_bytes(untrained_files(plans[0].dataset, plans[0].reference_run))
    assert forecaster.predict(free).equals(forecaster.predict(dear))
    for name in ("ridge", "trees"):
        points = [baselines.BASELINES[name](baseline_task(made.dataset, 7)).point for made in plans]
        np.testing.assert_array_equal(*points)


def test_validate_names_the_series_in_which_a_covariate_is_constant(tmp_path):
    made = planned(tmp_path, with_price(0.0, "pear"), **SECTIONS)
    [note] = [note for note in made.panel.notes if "price" in note]
    assert "constant over the training span of 1 series (pear)" in note
    assert not note.startswith("warning")


def test_run_keys_change_only_where_another_value_is_read(plan, tmp_path):
    experiment, run = plan.experiment, plan.reference_run
    about = {"fingerprint": plan.fingerprint, "backend": "jax"}
    assert plan.reference_key == grid.run_key(experiment, run, **about)
    for frame in (with_price(1e4, "apple", DAYS - 1), with_price(9.0, "pear")):
        other = planned(tmp_path, frame, **SECTIONS)
        about = {"fingerprint": other.fingerprint, "backend": "jax"}
        assert other.reference_key == grid.run_key(other.experiment, run, **about, has_bounded_covariates=True)
        assert other.reference_key != grid.run_key(other.experiment, run, **about)
        assert list(other.runs) == [other.run_key(one) for one in other.runs.values()]
