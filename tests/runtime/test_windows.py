"""Windows as indices: compared with a loop that does the obvious thing."""

import numpy as np
import pytest

from gridcast.runtime import windows
from gridcast.runtime.windows import WindowShape


def naive_origins(usable, lookback, horizon, stride, start, end, settled=None, observed=None):
    settled, observed = settled or usable, observed or usable
    first = max(start, lookback)
    return [
        [series, origin]
        for series in range(len(usable))
        for origin in range(first, end - horizon + 1, stride)
        if all(usable[series][step] for step in range(origin - lookback, origin + horizon))
        and settled[series][origin - 1]
        and all(observed[series][step] for step in range(origin, origin + horizon))
    ]


@pytest.mark.parametrize("stride", [1, 2, 5])
@pytest.mark.parametrize(("lookback", "horizon"), [(1, 1), (3, 2), (7, 4)])
@pytest.mark.parametrize(("start", "end"), [(0, 24), (24, 30), (5, 12), (30, 40), (0, 40)])
def test_origins_are_those_of_a_naive_loop(lookback, horizon, stride, start, end):
    usable = np.random.default_rng(lookback).random((3, 40)) > 0.05
    found = windows.origins(usable, WindowShape(lookback, horizon, stride), (start, end))
    assert found.tolist() == naive_origins(usable.tolist(), lookback, horizon, stride, start, end)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize(("lookback", "horizon"), [(1, 1), (3, 2), (7, 4)])
@pytest.mark.parametrize(("start", "end"), [(0, 60), (24, 34), (5, 12)])
def test_inputs_end_on_settled_steps_and_targets_are_observed(lookback, horizon, stride, start, end):
    random = np.random.default_rng(horizon)
    usable, settled, observed = (random.random((3, 60)) > share for share in (0.02, 0.2, 0.1))
    found = windows.origins(
        usable, WindowShape(lookback, horizon, stride), (start, end), settled=settled, observed=observed
    )
    masks = {"settled": settled.tolist(), "observed": observed.tolist()}
    assert found.tolist() == naive_origins(usable.tolist(), lookback, horizon, stride, start, end, **masks)


def test_targets_never_cross_a_boundary_while_inputs_reach_back_over_it():
    found = windows.origins(np.ones((1, 20), bool), WindowShape(lookback=5, horizon=3, stride=1), (10, 16))
    origins = found[:, 1]
    assert origins.min() == 10  # whose inputs begin at step 5
    assert origins.max() + 3 == 16


def test_every_step_of_a_span_is_a_target_when_the_stride_is_the_horizon():
    found = windows.origins(np.ones((1, 30), bool), WindowShape(lookback=4, horizon=3, stride=3), (12, 30))
    assert (found[:, 1, None] + np.arange(3)).ravel().tolist() == list(range(12, 30))


def test_the_first_window_of_the_axis_waits_for_its_inputs():
    assert windows.origins(np.ones((1, 9), bool), WindowShape(4, 1), (0, 9))[:, 1].tolist() == [4, 5, 6, 7, 8]


def test_a_missing_value_is_in_no_window():
    usable = np.ones((2, 12), bool)
    usable[0, 6] = False
    found = windows.origins(usable, WindowShape(2, 1), (0, 12))
    assert found[found[:, 0] == 0, 1].tolist() == [2, 3, 4, 5, 9, 10, 11]
    assert found[found[:, 0] == 1, 1].tolist() == list(range(2, 12))


@pytest.mark.parametrize(("start", "end"), [(8, 9), (10, 10), (0, 4)])
def test_a_span_too_short_for_a_window_has_none(start, end):
    assert windows.origins(np.ones((2, 10), bool), WindowShape(4, 2), (start, end)).shape == (0, 2)


def test_inputs_and_what_lies_ahead_are_gathered_as_a_loop_would():
    channels = np.random.default_rng(0).random((3, 20, 2))
    index = windows.origins(np.ones((3, 20), bool), WindowShape(5, 2, 3), (0, 20))
    past, ahead = windows.past(channels, index, 5), windows.future(channels, index, 2)
    assert past.shape == (len(index), 5, 2)
    assert ahead.shape == (len(index), 2, 2)
    for row, (series, origin) in enumerate(index):
        np.testing.assert_array_equal(past[row], channels[series, origin - 5 : origin])
        np.testing.assert_array_equal(ahead[row], channels[series, origin : origin + 2])


def test_windows_are_read_around_their_mean_and_in_units_of_their_spread_and_the_usual_one():
    history = np.array([[[1, 5], [3, 5], [5, 5]], [[0, 2], [0, 4], [0, 9]]], np.float32)
    assert windows.window_units(history, centred=False) == (0.0, 1.0)
    centre, unit = windows.window_units(history, centred=True)
    np.testing.assert_allclose(centre, [[[3, 5]], [[0, 5]]])
    assert unit == 1.0
    _, unit = windows.window_units(history, centred=True, spreads=(1.0, 2.0))
    np.testing.assert_allclose(unit, np.sqrt([[[8 / 3 + 1, 0 + 4]], [[0 + 1, 26 / 3 + 4]]]))
    assert unit.dtype == np.float32


def test_the_usual_spread_is_that_of_windows_that_were_seen_whole():
    values = np.array([[0, 7, 1], [2, 7, 1], [2, 7, np.nan], [6, 7, 1], [6, 7, 5]], float)
    # Variances of pairs: 1, 0, 4, 0, and of the last sensor 0 and 4.
    np.testing.assert_allclose(windows.typical_spreads(values, 2), [np.sqrt(5 / 4), 1, np.sqrt(2)])


def test_windows_begin_a_stride_of_one_step_after_another_by_default():
    assert windows.origins(np.ones((1, 6), bool), WindowShape(2, 1), (0, 6))[:, 1].tolist() == [2, 3, 4, 5]


def test_steps_before_the_first_of_the_axis_repeat_it():
    channels = np.arange(10.0).reshape(1, 10, 1)
    index = np.array([[0, 2], [0, 0]])
    assert windows.past(channels, index, 4)[..., 0].tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]
    assert windows.future(channels, index, 2)[..., 0].tolist() == [[2, 3], [0, 1]]


def test_a_sensor_whose_windows_vary_by_no_more_than_rounding_is_constant():
    for spread, usual in ((1e-6, 1.0), (1.1e-6, 1.1e-6)):
        values = np.tile([0.0, 2 * spread], 3)[:, None]
        assert windows.typical_spreads(values, 2) == (pytest.approx(usual),)


def test_a_span_just_long_enough_has_one_window():
    assert windows.origins(np.ones((1, 9), bool), WindowShape(4, 1), (8, 9)).tolist() == [[0, 8]]
    assert windows.origins(np.ones((1, 9), bool), WindowShape(4, 2), (0, 6)).tolist() == [[0, 4]]
