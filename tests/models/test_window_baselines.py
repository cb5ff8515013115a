"""Ridge and trees read what the networks read: known-ahead covariates, lags, categories; and nothing else."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gridcast.evaluation import metrics
from gridcast.models.baselines.dataset_task import baseline_task
from gridcast.runtime import baselines, windows
from gridcast.runtime.baselines import ridge_regression, tree_features, window_features
from gridcast.runtime.baselines.task import BaselineTask
from gridcast.runtime.baselines.trees import MAX_WIDENING, fit_trees, forecast_trees, grow_trees
from small_experiments import planned, sales

ALL = pytest.mark.parametrize("name", ["ridge", "trees", "relative trees"])
TRAIN, STEPS, LOOKBACK, HORIZON = 200, 260, 5, 2


def promoted(lags=(), levels=()):
    """Two series of noise, raised by a promotion known ahead, and by a category; a past covariate that says nothing."""
    random = np.random.default_rng(0)
    promotion = (random.random((2, STEPS)) < 0.3).astype(float)
    target = random.normal(size=(2, STEPS)) + 6 * promotion + [[3.0], [0.0]]
    channels = np.stack([target, random.normal(size=(2, STEPS)), promotion], axis=2)
    shape = windows.WindowShape(LOOKBACK, HORIZON)
    usable = np.ones(target.shape, bool)
    return BaselineTask(
        target=target,
        observed=usable,
        channels=channels,
        times=pd.date_range("2023-01-02", periods=STEPS),
        train=TRAIN,
        lookback=LOOKBACK,
        horizon=HORIZON,
        period=None,
        training_index=windows.origins(usable, shape, (0, TRAIN)),
        index=windows.origins(usable, shape, (TRAIN, STEPS)),
        inverse=lambda scaled, series: scaled * 10 + series[:, None],
        first_known_ahead=2,
        categories=np.array([[1], [2]]),
        codes=np.arange(2),
        lags=lags,
        levels=levels,
    )


def error(task, point):
    return metrics.mae(task.inverse(windows.future(task.target, task.index, HORIZON), task.index[:, 0]), point) / 10


@ALL
def test_what_is_known_ahead_is_read(name):
    """A promotion moves the target by six deviations of its noise; whoever does not see it is three times as wrong."""
    task = promoted()
    blind = replace(task, first_known_ahead=3)
    assert error(task, baselines.BASELINES[name](task).point) < 1.15
    assert error(blind, baselines.BASELINES[name](blind).point) > 2


@ALL
def test_beyond_the_origin_only_what_is_known_ahead_is_read(name):
    task, now = promoted(lags=(1, 2, 9), levels=(0.1, 0.9)), 230
    later, other = (replace(task, channels=task.channels.copy()) for _ in range(2))
    later.channels[:, now:, :2] = 1e3
    other.channels[:, now:, 2] = 1 - task.channels[:, now:, 2]
    before, after, moved = (baselines.BASELINES[name](one) for one in (task, later, other))
    known = task.index[:, 1] <= now
    np.testing.assert_array_equal(after.point[known], before.point[known])
    np.testing.assert_array_equal(after.quantiles[known], before.quantiles[known])
    at_now = task.index[:, 1] == now
    assert np.all(np.abs(moved.point[at_now] - before.point[at_now]) > 10)


def explicit_rows(task, index):
    """The columns of ridge by hand, number by number."""
    rows = []
    for series, origin in index:
        past = [task.channels[series, step, k] for step in range(origin - LOOKBACK, origin) for k in range(3)]
        ahead = [task.channels[series, step, 2] for step in range(origin, origin + HORIZON)]
        # Lags 4 and 9 of both steps, which lie 4 and 3, 9 and 8 steps back: the first two are in the window.
        far = [task.channels[series, origin - back, 0] if origin >= back else 0.0 for back in (9, 8)]
        rows.append([*past, *ahead, *far, float(series == 0), float(series == 1)])
    return np.array(rows)


def test_ridge_solves_the_normal_equations_of_an_explicit_design_matrix(monkeypatch):
    monkeypatch.setattr(window_features, "MAX_BLOCK_VALUES", 999)  # in many blocks
    task = promoted(lags=(4, 9))
    design, asked = explicit_rows(task, task.training_index), explicit_rows(task, task.index)
    targets = windows.future(task.target, task.training_index, HORIZON)
    mean, level = design.mean(axis=0), targets.mean(axis=0)
    centred = design - mean
    weights = np.linalg.solve(centred.T @ centred + np.eye(design.shape[1]), centred.T @ (targets - level))
    expected = task.inverse((asked - mean) @ weights + level, task.index[:, 0])
    np.testing.assert_allclose(baselines.ridge(task).point, expected)


def test_ridge_equals_that_of_scikit_learn():
    from sklearn.linear_model import Ridge

    task = promoted(lags=(4, 9))
    model = Ridge(alpha=1.0).fit(
        explicit_rows(task, task.training_index), windows.future(task.target, task.training_index, HORIZON)
    )
    expected = task.inverse(model.predict(explicit_rows(task, task.index)), task.index[:, 0])
    np.testing.assert_allclose(baselines.ridge(task).point, expected)


def test_errors_of_ridge_in_training_are_those_of_fits_without_the_window():
    task = promoted()
    fitted, rows = ridge_regression.solve_ridge(task), window_features.window_rows(task, task.training_index)
    targets = windows.future(task.target, task.training_index, HORIZON)
    left_out = fitted.predict_left_out(rows, targets)
    for row in (0, 57, 301):
        others = replace(task, training_index=np.delete(task.training_index, row, axis=0))
        expected = ridge_regression.solve_ridge(others).predict(rows[[row]])
        np.testing.assert_allclose(left_out[[row]], expected)


def test_intervals_of_ridge_cover_although_it_has_many_columns():
    """With 90 columns and 140 windows the errors of the fit itself are far too small: 51 % instead of 80 %.

    Windows that overlap share their noise, so that leaving one out makes the errors somewhat too large instead.
    """
    random = np.random.default_rng(0)
    target = random.normal(size=(1, 900))
    usable, shape = np.ones(target.shape, bool), windows.WindowShape(90, 1)
    task = replace(
        promoted(levels=(0.1, 0.9)),
        target=target,
        observed=usable,
        channels=target[:, :, None],
        train=230,
        lookback=90,
        horizon=1,
        training_index=windows.origins(usable, shape, (0, 230)),
        index=windows.origins(usable, shape, (230, 900)),
        first_known_ahead=1,
        inverse=lambda scaled, series: scaled,
    )
    quantiles, actual = baselines.ridge(task).quantiles, windows.future(target, task.index, 1)
    assert 0.75 < metrics.coverage(actual, quantiles[..., 0], quantiles[..., 1]) < 0.95


def rows_by_hand(task, series, origin):
    """The columns of trees in units of the series, number by number, without lags before the first step."""
    target, past, known = task.channels[series].T
    window = target[origin - LOOKBACK : origin]
    of_window = [*window]
    for length in (4, LOOKBACK, task.period):
        of_window += [target[origin - length : origin].mean(), target[origin - length : origin].std()]
    of_window += [past[origin - 1], past[origin - LOOKBACK : origin].mean(), float(series == 0), float(series == 1)]
    steps = range(origin, origin + HORIZON)
    far = (task.period, 2 * task.period, 19)  # the other lags lie in the window
    return np.array([[*of_window, known[at], *(target[at - lag] for lag in sorted(far)), at - origin] for at in steps])


def test_a_step_of_the_horizon_has_its_own_lags_and_covariates():
    task = replace(promoted(lags=(1, 2, 19)), period=15)
    plain = tree_features.step_rows(task, np.array([[0, 100], [1, 12]]), is_relative=False)
    rows = plain.rows.reshape(2, HORIZON, -1)
    np.testing.assert_allclose(rows[0], rows_by_hand(task, 0, 100))
    assert np.isnan(rows[1, :, -4:-1]).all()  # all lags lie before the first step
    assert plain.centre.tolist() == [0, 0]
    assert plain.scale.tolist() == [1, 1]


def test_relative_rows_do_not_depend_on_the_level_of_a_window_but_in_its_own_column():
    task, index = replace(promoted(), period=15), np.array([[0, 100], [1, 150]])
    moved = replace(task, channels=task.channels.copy())
    moved.channels[:, :, 0] += 50
    before, after = (tree_features.step_rows(one, index, is_relative=True) for one in (task, moved))
    np.testing.assert_allclose(before.centre, windows.past(task.channels, index, LOOKBACK)[:, :, 0].mean(axis=1))
    np.testing.assert_allclose(after.centre - before.centre, 50)
    changed = np.flatnonzero(np.abs(after.rows - before.rows).max(axis=0) > 1e-6)
    assert len(changed) == 3  # level, spread in units of the level, mean


def test_relative_trees_follow_a_level_that_training_has_not_seen():
    """The forecast of a series that moved up by 1,000 does so too; that of trees in units of the series does not."""
    task = promoted()
    moved = replace(task, target=task.target.copy(), channels=task.channels.copy())
    moved.channels[:, TRAIN:, 0] += 1000
    moved.target[:, TRAIN:] += 1000
    inside = moved.index[:, 1] >= TRAIN + LOOKBACK
    for name, follows in (("relative trees", True), ("trees", False)):
        before, after = (baselines.BASELINES[name](one) for one in (task, moved))
        shift = (after.point - before.point)[inside] / 10
        assert (np.median(shift) > 900) == follows


def test_quantiles_of_trees_are_widened_until_they_cover():
    """Of noise, trees alone forecast intervals that are too narrow, as they fit it."""
    task, coverages = promoted(levels=(0.1, 0.9)), []
    fitted = grow_trees(task)
    assert 1 < fitted.widening <= MAX_WIDENING
    actual = task.inverse(windows.future(task.target, task.index, HORIZON), task.index[:, 0])
    for widening in (1.0, fitted.widening):
        state = fit_trees(task) | {"widening": np.array(widening)}
        quantiles = forecast_trees(task, state).quantiles
        coverages.append(metrics.coverage(actual, quantiles[..., 0], quantiles[..., 1]))
    assert coverages[0] + 0.05 < coverages[1]
    assert 0.7 < coverages[1] < 0.9


def test_categories_have_a_column_for_each_value_unless_there_are_too_many():
    codes = np.array([[1, 5, 0], [2, 5, 1], [1, 5, 2]])
    with_three = [[1, 0, 1, 0, 0], [0, 1, 0, 1, 0], [1, 0, 0, 0, 1]]
    assert window_features.category_columns(codes).tolist() == with_three
    many = np.arange(window_features.MAX_CATEGORIES + 1)[:, None]
    assert window_features.category_columns(many).shape == (len(many), 0)
    assert window_features.left_out_notes(replace(promoted(), categories=many)) != ()
    assert window_features.left_out_notes(promoted()) == ()


def shop(tmp_path, **sections):
    frame = sales(120).assign(kind=lambda table: table["product"].map({"apple": "pome", "pear": "stone"}))
    data = {"past": ["price"], "future": ["day_of_week"], "static": ["kind"]}
    return planned(tmp_path, frame, data=data, window={"horizon": 3}, **sections).dataset


def test_the_task_has_all_inputs_of_a_network(tmp_path):
    from gridcast.runtime.network_inputs import network_inputs

    dataset = shop(tmp_path)
    task = baseline_task(dataset, 7)
    inputs = network_inputs(dataset.preprocessing, dataset.channels, task.index, dataset.series_codes)
    assert set(inputs) == {"history", "ahead", "series", "static"}
    rows = window_features.window_rows(task, task.index)
    flat = np.concatenate([inputs[name].reshape(len(task.index), -1) for name in ("history", "ahead")], axis=1)
    np.testing.assert_array_equal(rows[:, : flat.shape[1]], flat)
    np.testing.assert_array_equal(task.categories[task.index[:, 0]][:, 0], inputs["static"][:, 0])
    np.testing.assert_array_equal(task.categories[task.index[:, 0]][:, 1], inputs["series"])


def test_the_task_has_the_lags_of_a_probabilistic_network(tmp_path):
    dataset = shop(tmp_path, task="probabilistic", baseline={"likelihood": "student-t"})
    task = baseline_task(dataset, 7)
    assert task.lags == dataset.preprocessing.lags
    assert max(task.lags) > 7
    assert task.categories.shape == (2, 1)  # such a network does not embed the series
    assert np.isfinite(baselines.ridge(task).quantiles).all()
