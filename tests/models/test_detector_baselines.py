"""Detectors without networks: by hand, and what they may look at."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest

from gridcast.models.baselines.detectors import DETECTOR_BASELINES
from gridcast.runtime import simple_detectors
from gridcast.runtime.events import anomaly_score

N = np.nan
LOOKBACK = 12
EACH = pytest.mark.parametrize("name", DETECTOR_BASELINES)


def plant(steps=600, sensors=3, seed=0):
    """A cycle that all sensors follow, each with noise of its own (steps, sensors)."""
    random = np.random.default_rng(seed)
    cycle = np.sin(2 * np.pi * np.arange(steps) / 60)[:, None] * np.arange(1, sensors + 1) / sensors
    return cycle + random.normal(0, 0.05, (steps, sensors))


TRAINING, VALUES = plant(), plant(300, seed=1)


def detected(name, values=VALUES, training=TRAINING, lookback=LOOKBACK):
    state = DETECTOR_BASELINES[name](training, lookback=lookback, seed=0)
    (found,) = simple_detectors.contributions_after(name, state, values, lookback, (None,))
    return found


@EACH
def test_contributions_are_never_negative_and_steps_with_a_fault_score_highest(name):
    spoilt = VALUES.copy()
    spoilt[150:153, 1] += 4
    found = detected(name, spoilt)
    assert found.shape == VALUES.shape
    assert np.nanmin(found) >= 0
    assert 150 - LOOKBACK < np.nanargmax(anomaly_score(found)) < 153 + LOOKBACK
    assert np.nanargmax(found[150:153].sum(axis=0)) == 1


@EACH
def test_nothing_is_fitted_to_the_steps_that_are_judged(name):
    """What comes later changes no score, but for windows that reach over it."""
    changed = VALUES.copy()
    changed[200:] = 50 * np.random.default_rng(2).normal(size=(100, 3))
    before = slice(0, 200 - LOOKBACK + 1 if "PCA" in name else 200)
    np.testing.assert_allclose(detected(name, changed)[before], detected(name)[before], rtol=1e-9, atol=1e-12)
    assert not np.allclose(np.nan_to_num(detected(name, changed)[200:]), np.nan_to_num(detected(name)[200:]))


@EACH
def test_the_same_input_gives_the_same_scores_and_arrays_stay_as_they_are(name):
    training, values = TRAINING.copy(), VALUES.copy()
    np.testing.assert_array_equal(detected(name, values, training), detected(name, values, training))
    np.testing.assert_array_equal(training, TRAINING)
    np.testing.assert_array_equal(values, VALUES)


@EACH
def test_a_missing_value_has_no_contribution_and_the_others_keep_theirs(name):
    holes = VALUES.copy()
    holes[100:140, 0], holes[200, :] = N, N
    found = detected(name, holes)
    assert np.isnan(found[100:140, 0]).all()
    assert np.isnan(found[200]).all()
    assert np.isfinite(found[LOOKBACK:200, 1:]).all()
    assert np.isfinite(found[260:]).all()


@EACH
def test_a_sensor_without_a_value_in_training_contributes_nothing(name):
    training = TRAINING.copy()
    training[:, 2] = N
    found = detected(name, training=training)
    assert np.isnan(found[:, 2]).all()
    assert np.isfinite(found[LOOKBACK:, :2]).all()


@EACH
def test_a_sensor_that_was_constant_is_blamed_when_it_moves(name):
    training, values = TRAINING.copy(), VALUES.copy()
    training[:, 0], values[:, 0] = 0.5, 0.5
    still = detected(name, values, training)
    assert np.isfinite(still[LOOKBACK:]).all()
    values[150:160, 0] = 3
    moved = detected(name, values, training)
    assert np.nanmax(moved[150:160, 0]) > 5 * np.nanmax(still[:, 0])


@EACH
def test_a_plant_that_stands_still_has_finite_scores(name):
    found = detected(name, np.ones((50, 2)), np.ones((80, 2)))
    assert np.isfinite(found[LOOKBACK:]).all()


@EACH
def test_with_too_few_steps_for_a_window_contributions_are_missing_or_finite(name):
    for training, values in ((TRAINING, VALUES[:5]), (TRAINING[:8], VALUES)):
        found = detected(name, values, training)
        assert found.shape == values.shape
        assert np.isnan(found).all() if "PCA" in name else not np.isinf(found).any()


def test_z_score_by_hand():
    training = np.array([[1.0], [3.0], [N], [1.0], [3.0]])  # mean 2, deviation 1
    np.testing.assert_allclose(
        detected("z-score", np.array([[5.0], [2.0], [N]]), training, lookback=2), [[9], [0], [N]]
    )


def test_last_value_by_hand():
    training = np.array([[0.0], [2.0], [0.0], [2.0]])  # changes of 2
    values = np.array([[1.0], [5.0], [N], [N], [N], [7.0], [7.0]])
    np.testing.assert_allclose(
        detected("last value", values, training, lookback=4), [[N], [4], [N], [N], [N], [1], [0]]
    )
    assert np.isnan(detected("last value", values, training, lookback=2)[5, 0])  # three steps back is too far


def test_rolling_median_by_hand():
    # Medians of the two before: -, -, .5, .5, .5, 3; away by .5, .5, 4.5, 3
    training = np.array([[0.0], [1.0], [0.0], [1.0], [5.0], [6.0]])
    values = np.array([[1.0], [3.0], [2.0], [N], [8.0]])
    # The first may have one step before it: 1 away; the median of 1, .5, .5, 4.5, 3 is 1
    expected = np.array([N, 2, 0, N, 6]) ** 2 / 1.4826**2
    np.testing.assert_allclose(detected("rolling median", values, training, lookback=2)[:, 0], expected)


def windows(rows, lookback=LOOKBACK):
    return np.stack([rows[k : k + lookback].ravel() for k in range(len(rows) - lookback + 1)])


def spread_over(errors, steps):
    """Mean over the windows that cover each step, of their errors (n, lookback, sensors), by a loop."""
    return np.stack(
        [
            np.mean([errors[k, step - k] for k in range(len(errors)) if 0 <= step - k < LOOKBACK], axis=0)
            for step in range(steps)
        ]
    )


def test_pca_is_the_error_of_windows_put_together_again():
    model = PCA(0.99).fit(windows(TRAINING))
    own = windows(VALUES)
    errors = (own - model.inverse_transform(model.transform(own))) ** 2
    np.testing.assert_allclose(detected("PCA"), spread_over(errors.reshape(-1, LOOKBACK, 3), 300), rtol=1e-6)


def test_sub_window_pca_is_the_mahalanobis_distance_of_each_sensors_windows():
    found = detected("sub-window PCA")
    for k in range(3):
        known, own = windows(TRAINING[:, k : k + 1]), windows(VALUES[:, k : k + 1])
        away = own - known.mean(axis=0)
        squares = np.einsum("ij,jk,ik->i", away, np.linalg.inv(np.cov(known.T)), away) / LOOKBACK
        errors = np.broadcast_to(squares[:, None, None], (len(own), LOOKBACK, 1))
        np.testing.assert_allclose(found[:, k : k + 1], spread_over(errors, 300), rtol=1e-6)


def test_the_isolation_forest_score_is_that_of_scikit_learn_split_over_sensors():
    def read(rows):
        return np.hstack([rows, np.diff(rows, axis=0, prepend=rows[:1])])

    forest = IsolationForest(random_state=0).fit(read(TRAINING)[1:])
    found = detected("isolation forest")
    np.testing.assert_allclose(anomaly_score(found), -forest.score_samples(read(VALUES)))
    away = (VALUES - TRAINING.mean(axis=0)) ** 2 / TRAINING.var(axis=0)
    np.testing.assert_allclose(
        found / found.sum(axis=1, keepdims=True), away / away.sum(axis=1, keepdims=True), atol=1e-6
    )


@pytest.mark.parametrize("name", ["PCA", "sub-window PCA"])
def test_windows_with_holes_are_not_learnt_where_there_are_whole_ones(name):
    training = TRAINING.copy()
    training[200:400] = N
    whole = np.concatenate([windows(TRAINING[:200]), windows(TRAINING[400:])])
    model = PCA(0.99).fit(whole)
    found = detected(name, training=training)
    if name == "PCA":
        own = windows(VALUES)
        errors = (own - model.inverse_transform(model.transform(own))) ** 2
        np.testing.assert_allclose(found, spread_over(errors.reshape(-1, LOOKBACK, 3), 300), rtol=1e-6)
    # A stretch at the mean, as a hole that was filled would be, is not what training looked like.
    still = VALUES.copy()
    still[100:130] = TRAINING.mean(axis=0)
    assert anomaly_score(detected(name, still))[100:130].max() > 2 * np.nanmedian(anomaly_score(found))
