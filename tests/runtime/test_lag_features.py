"""What a network of a probabilistic forecast reads."""

import numpy as np
import pytest

from gridcast.runtime import lag_features


@pytest.mark.parametrize(
    ("frequency", "expected"),
    [
        ("M", {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 23, 24, 25, 35, 36, 37}),
        ("MS", {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 23, 24, 25, 35, 36, 37}),
        ("QE-DEC", {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13}),
        ("Y", {1, 2, 3, 4, 5, 6, 7}),
        ("12h", {1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 27, 28, 29, 41, 42, 43}),
    ],
)
def test_lags_follow_from_the_frequency(frequency, expected):
    found = lag_features.useful_lags(frequency, 1000)
    assert set(found) == expected
    assert list(found) == sorted(found)


def test_no_lag_is_longer_than_what_was_seen():
    assert lag_features.useful_lags("h", 30)[-1] == 25
    assert lag_features.useful_lags("h", 0) == (1,)


def panel():
    """Two series of ten steps, with one covariate of the past and one known ahead; the second begins late."""
    target = np.stack([np.arange(1.0, 11), np.arange(10.0, 110, 10)])
    target[1, :3] = np.nan
    past, ahead = np.nan_to_num(target * 100), np.tile(np.arange(10.0), (2, 1))
    return np.stack([target, past, ahead], axis=2).astype(np.float32)


def settings(centred=False):
    return lag_features.LagSettings(lookback=3, horizon=2, lags=(1, 4), first_known_ahead=2, centred=centred)


def read(channels, index, centred=False):
    scales = np.array([1.0, np.e])[np.array(index)[:, 0]]
    return lag_features.lagged_inputs(channels, np.array(index), settings(centred), relative_scales=scales)


def test_a_signal_holds_lags_level_past_and_future():
    found = read(panel(), [[0, 6]])[0]
    assert found.shape == (5, 2 + 1 + 1 + 1)
    level = (4 + 5 + 6) / 3  # of the steps that are read: 3, 4, 5
    np.testing.assert_allclose(found[:, 0] * level, [3, 4, 5, 6, 7], rtol=1e-6)
    np.testing.assert_allclose(found[:, 1] * level, [0, 1, 2, 3, 4], rtol=1e-6)  # nothing before the first step
    np.testing.assert_allclose(found[:, 2], np.log(level), rtol=1e-6)
    np.testing.assert_allclose(found[:, 3], [300, 400, 500, 600, 600])  # the last one known, throughout the horizon
    np.testing.assert_allclose(found[:, 4], [3, 4, 5, 6, 7])


def test_a_centred_window_is_read_around_its_mean_in_units_of_its_spread():
    found = read(panel(), [[0, 6]], centred=True)[0]
    assert found.shape == (5, 2 + 2 + 1 + 1)
    mean, spread = 5.0, 2 / 3  # of 4, 5, 6
    np.testing.assert_allclose(found[:, 0] * spread + mean, [3, 4, 5, 6, 7], rtol=1e-6)
    np.testing.assert_allclose(found[1:, 1] * spread + mean, [1, 2, 3, 4], rtol=1e-6)
    assert found[0, 1] == 0  # nothing before the first step
    np.testing.assert_allclose(found[:, 2], np.log(mean), rtol=1e-6)
    np.testing.assert_allclose(found[:, 3], np.log(spread / mean), rtol=1e-6)
    np.testing.assert_allclose(found[:, 4], [300, 400, 500, 600, 600])


def test_steps_before_a_series_begins_are_nothing():
    found = read(panel(), [[1, 6]])[0]
    np.testing.assert_allclose(found[:, 0] * 50, [0, 40, 50, 60, 70], rtol=1e-6)
    np.testing.assert_allclose(found[:, 1], [0, 0, 0, 0, 0.8], rtol=1e-6)
    np.testing.assert_allclose(found[:, 2], np.log(50) + 1, rtol=1e-6)


def test_the_future_reaches_a_window_by_lags_within_its_horizon_alone():
    channels = panel()
    changed = channels.copy()
    changed[:, 6:, :2] = 1e6
    for centred in (False, True):
        before, after = (read(one, [[0, 6], [1, 6]], centred=centred) for one in (channels, changed))
        where = np.argwhere(before != after)
        assert {tuple(cell) for cell in where[:, 1:].tolist()} == {(4, 0)}


def test_the_level_of_a_window_of_zeros_is_that_of_its_series():
    context = np.array([[0.0, 0.0], [np.nan, np.nan], [2.0, np.nan], [-1.0, 3.0]])
    assert lag_features.mean_level(context).tolist() == [1, 1, 2, 2]


def test_the_units_of_a_window_are_never_nothing():
    context = np.array([[0.0, 0.0], [np.nan, np.nan], [5.0, 5.0], [2.0, np.nan], [-1.0, 3.0]])
    centre, scale = lag_features.window_units(context, centred=True)
    assert centre.tolist() == [0, 0, 5, 2, 1]
    np.testing.assert_allclose(scale, [1, 1, 0.05, 0.02, 2])
    centre, scale = lag_features.window_units(context, centred=False)
    assert centre.tolist() == [0] * 5
    assert scale.tolist() == lag_features.mean_level(context).tolist()


@pytest.mark.parametrize("centred", [False, True])
def test_numpy_and_jax_read_the_same(centred, jax_backend):
    import jax.numpy as jnp

    channels, index = panel(), np.array([[0, 6], [1, 7]])
    scales, how = np.ones(2, np.float32), settings(centred)
    one = lag_features.lagged_inputs(channels, index, how, relative_scales=scales)
    other = lag_features.lagged_inputs(
        jnp.asarray(channels), jnp.asarray(index), how, relative_scales=scales, arrays=jnp
    )
    np.testing.assert_allclose(one, other, rtol=1e-6)
