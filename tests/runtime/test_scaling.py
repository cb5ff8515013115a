"""Per-series scaling, fitted on the training span."""

import math

import numpy as np
import pytest
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler

from gridcast.runtime import scaling

TRAIN = np.random.default_rng(0).gamma(2.0, 10.0, size=(3, 50))
METHODS = ("minmax", "standard", "mean-abs", "none")


@pytest.mark.parametrize(("method", "reference"), [("minmax", MinMaxScaler()), ("standard", StandardScaler())])
def test_scalers_agree_with_scikit_learn(method, reference):
    expected = reference.fit_transform(TRAIN.T).T
    np.testing.assert_allclose(scaling.fit(TRAIN, method).transform(TRAIN), expected, atol=1e-12)


def test_mean_abs_divides_by_the_mean_size_and_none_leaves_values_alone():
    signed = TRAIN * np.where(np.arange(50) % 2, 1, -1)
    scaled = scaling.fit(signed, "mean-abs").transform(signed)
    np.testing.assert_allclose(np.abs(scaled).mean(axis=1), 1)
    assert not np.allclose(MaxAbsScaler().fit_transform(signed.T).T, scaled)
    np.testing.assert_array_equal(scaling.fit(TRAIN, "none").transform(TRAIN), TRAIN)


@pytest.mark.parametrize("log1p", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_inverse_gives_back_the_data_units(method, log1p):
    scaler = scaling.fit(TRAIN, method, log1p)
    beyond = TRAIN * 3
    np.testing.assert_allclose(scaler.inverse(scaler.transform(beyond)), beyond)


def test_log1p_comes_before_the_scale():
    np.testing.assert_allclose(
        scaling.fit(TRAIN, "minmax", log1p=True).transform(TRAIN),
        scaling.fit(np.log1p(TRAIN), "minmax").transform(np.log1p(TRAIN)),
    )


@pytest.mark.parametrize("method", METHODS)
def test_rows_are_scaled_by_the_series_they_belong_to(method):
    scaler, series = scaling.fit(TRAIN, method), np.array([2, 0, 2, 1])
    whole = scaler.transform(TRAIN)
    np.testing.assert_array_equal(scaler.transform(TRAIN[series], series), whole[series])
    cube = np.stack([TRAIN, TRAIN + 1], axis=2)
    np.testing.assert_array_equal(scaler.transform(cube)[:, :, 0], whole)
    np.testing.assert_allclose(scaler.inverse(whole[series], series), TRAIN[series])


@pytest.mark.parametrize("method", METHODS)
def test_missing_values_do_not_count(method):
    holes = np.full((3, 60), np.nan)
    holes[:, 5:55] = TRAIN
    whole, broken = scaling.fit(TRAIN, method), scaling.fit(holes, method)
    np.testing.assert_allclose(broken.offset, whole.offset)
    np.testing.assert_allclose(broken.scale, whole.scale)
    assert np.isnan(broken.transform(holes)).sum() == 30


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", [0.0, 5.0, 1e9, np.nan])
def test_a_constant_or_unseen_series_is_not_divided_by_nothing(method, level):
    scaler = scaling.fit(np.full((1, 10), level), method)
    scaled = scaler.transform(np.array([[5.0, 6.0]]))
    assert np.isfinite(scaled).all()
    if method != "mean-abs" or not level > 0:
        assert scaled[0, 1] - scaled[0, 0] == 1


@pytest.mark.parametrize("method", ["minmax", "standard"])
@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_the_unit_of_the_data_does_not_matter(method, factor):
    expected = scaling.fit(TRAIN, method).transform(TRAIN)
    np.testing.assert_allclose(scaling.fit(TRAIN * factor, method).transform(TRAIN * factor), expected)


def test_each_method_by_hand():
    train = np.array([[1.0, 3.0, 8.0]])
    found = {method: scaling.fit(train, method) for method in METHODS}
    assert {method: (own.offset[0], own.scale[0]) for method, own in found.items()} == {
        "minmax": (1, 7), "standard": (4, pytest.approx(np.sqrt(26 / 3))), "mean-abs": (0, 4), "none": (0, 1)
    }  # fmt: skip
    assert scaling.fit(-train, "minmax").offset[0] == -8
    assert not found["none"].log1p
    assert not scaling.Scaler(np.zeros(1), np.ones(1)).log1p


def test_a_series_without_a_value_has_offset_0_and_scale_1():
    for method in METHODS:
        own = scaling.fit(np.full((1, 4), np.nan), method)
        assert (own.offset.tolist(), own.scale.tolist()) == ([0.0], [1.0])


def test_a_spread_of_rounding_is_none_and_a_little_more_is_one():
    for spread, scale in ((1e-10, 1.0), (1e-7, 1e-7)):
        found = scaling.fit(np.array([[100.0, 100.0 + 100 * spread]]), "minmax")
        assert found.scale[0] == pytest.approx(100 * scale if scale < 1 else 1.0, rel=1e-4)


def test_the_scaler_of_one_series_alone():
    scaler = scaling.fit(TRAIN, "standard", log1p=True)
    for row in range(3):
        own = scaler.take(row)
        assert own.log1p
        np.testing.assert_array_equal(own.transform(TRAIN[row : row + 1]), scaler.transform(TRAIN)[row : row + 1])


def test_a_series_observed_once_is_read_around_that_value():
    once = np.array([[np.nan, 6.0, np.nan]])
    assert [scaling.fit(once, method).offset[0] for method in METHODS] == [6, 6, 0, 0]
    assert scaling.fit(once, "mean-abs").scale[0] == 6


def test_the_bounds_of_one_series_are_taken_with_it_and_there_may_be_none():
    bounded = scaling.fit_bounded(np.array([[0.0, 2.0], [10.0, 30.0], [5.0, 6.0]]), "minmax")
    assert [bounded.limits(row) for row in range(3)] == [(-1, 3), (0, 40), (4.5, 6.5)]
    alone = bounded.take(1)
    assert (alone.low.tolist(), alone.high.tolist()) == ([-0.5], [1.5])
    assert alone.transform(np.array([[-99.0, 20.0, 99.0]])).tolist() == [[-0.5, 0.5, 1.5]]
    assert scaling.fit(np.array([[0.0, 2.0]]), "minmax").limits(0) == (-math.inf, math.inf)
