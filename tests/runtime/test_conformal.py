"""Quantiles that cover what they promise."""

import numpy as np
import pytest

from gridcast.runtime import conformal

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
NORMAL = np.array([-1.2816, -0.6745, 0.0, 0.6745, 1.2816])


def made(n, spread, seed):
    """Values (n, 3) of windows of several levels, with quantiles that are right for a spread of 1."""
    random = np.random.default_rng(seed)
    scale = 10.0 ** random.integers(-2, 5, n)
    actual = random.normal(0, spread, (n, 3)) * scale[:, None]
    return actual, np.broadcast_to(NORMAL, (n, 3, 5)) * scale[:, None, None], scale


def corrected(spread, windows=400):
    actual, quantiles, scale = made(windows, spread, 0)
    low, high = quantiles[..., [0, 1]], quantiles[..., [4, 3]]
    return conformal.fit(actual, low, high, levels=(0.1, 0.25), scale=scale)


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_intervals_too_narrow_or_too_wide_cover_what_they_promise_afterwards(spread):
    found = corrected(spread)
    actual, quantiles, scale = made(20_000, spread, 1)
    moved = found.apply(quantiles, LEVELS, scale)
    for low, high, promised in ((0, 4, 0.8), (1, 3, 0.5)):
        inside = (moved[..., low] <= actual) & (actual <= moved[..., high])
        assert np.allclose(inside.mean(axis=0), promised, atol=0.06)
    assert (np.diff(moved, axis=-1) >= 0).all()
    np.testing.assert_array_equal(moved[..., 2], quantiles[..., 2])


def test_the_offset_is_the_value_of_its_rank_by_hand():
    actual = np.array([[1.0], [2.0], [3.0], [4.0]])
    low, high = np.zeros((4, 1, 1)), np.full((4, 1, 1), 1.0)
    found = conformal.fit(actual, low, high, levels=(0.25,), scale=np.ones(4))
    # Outside by 0, 1, 2, 3; of four values the third is the half of five, rounded up.
    assert found.offsets == ((2.0,),)
    assert found.apply(np.array([[[0.0, 1.0]]]), (0.25, 0.75), np.array([2.0])).tolist() == [[[-4.0, 5.0]]]


def test_few_windows_borrow_from_neighbouring_steps():
    random = np.random.default_rng(0)
    actual = np.cumsum(random.normal(size=(20, 30)), axis=1)
    low, high = np.full((20, 30, 1), -1.0), np.full((20, 30, 1), 1.0)
    offsets = np.array(conformal.fit(actual, low, high, levels=(0.1,), scale=np.ones(20)).offsets[0])
    assert offsets[0] < offsets[-1]
    assert np.abs(np.diff(offsets)).max() < 2


def test_levels_between_and_steps_beyond_those_calibrated_are_corrected_too():
    found = conformal.ConformalCorrection((0.1, 0.3), ((2.0, 4.0), (1.0, 2.0)))
    moved = found.apply(np.zeros((1, 3, 3)), (0.2, 0.4, 0.95), np.ones(1))
    np.testing.assert_allclose(moved[0], [[-1.5, -0.5, 2], [-3, -1, 4], [-3, -1, 4]])


def test_an_interval_is_never_turned_inside_out():
    found = conformal.ConformalCorrection((0.1,), ((-5.0,),))
    moved = found.apply(np.array([[[-1.0, 0.5, 1.0]]]), (0.1, 0.5, 0.9), np.ones(1))
    assert moved.tolist() == [[[0.5, 0.5, 0.5]]]


def test_without_a_pair_of_levels_there_is_nothing_to_correct():
    assert conformal.lower_levels((0.5,)) == ()
    assert conformal.lower_levels((0.1, 0.5, 0.9, 0.95)) == (0.05, 0.1)
    assert (
        conformal.fit(np.zeros((3, 1)), np.zeros((3, 1, 0)), np.zeros((3, 1, 0)), levels=(), scale=np.ones(3)) is None
    )


def test_the_paper_s_rank_by_hand_for_several_levels():
    # One side of 9: of the distances 1 to 9 the ceil(0.8 * 10) = 8th and the ceil(0.5 * 10) = 5th smallest.
    actual = np.arange(1.0, 10)[::-1, None]
    ends = np.zeros((9, 1, 2))
    found = conformal.fit(actual, ends - 100, ends, levels=(0.1, 0.25), scale=np.ones(9))
    assert found.offsets == ((8.0,), (5.0,))
    # Of few the rank lies beyond the last one, which is taken: ceil(0.9 * 4) = 4 of three.
    few = conformal.fit(actual[:3], ends[:3] - 100, ends[:3], levels=(0.05, 0.25), scale=np.ones(3))
    assert few.offsets == ((9.0,), (8.0,))


def test_distances_are_in_units_of_the_scale_and_negative_inside():
    actual, scale = np.array([[6.0], [6.0], [6.0]]), np.array([1.0, 2.0, 4.0])
    low, high = np.zeros((3, 1, 1)), np.full((3, 1, 1), 10.0)
    # Four from the nearer end, of either side: -4, -2 and -1 in units of the scales; the middle one is of rank two.
    assert conformal.fit(actual, low, high, levels=(0.25,), scale=scale).offsets == ((-2.0,),)
    assert conformal.fit(10 - actual, low, high, levels=(0.25,), scale=scale).offsets == ((-2.0,),)


@pytest.mark.parametrize(
    ("windows", "reach"), [(400, 0), (200, 0), (199, 1), (100, 1), (67, 1), (66, 2), (50, 2), (40, 2), (39, 3)]
)
def test_neighbouring_steps_are_pooled_until_there_are_200_values(windows, reach):
    # Far outside at step 5 alone: of the steps that it is pooled with its values are more than the largest tenth.
    actual = np.zeros((windows, 11))
    actual[:, 5] = 100.0
    ends = np.zeros((windows, 11, 1))
    offsets = conformal.fit(actual, ends, ends, levels=(0.05,), scale=np.ones(windows)).offsets[0]
    assert np.flatnonzero(offsets).tolist() == list(range(5 - reach, 5 + reach + 1))


def test_the_first_and_the_last_step_have_neighbours_on_one_side():
    actual = np.zeros((150, 4))
    actual[:, 0] = 100.0
    ends = np.zeros((150, 4, 1))
    offsets = conformal.fit(actual, ends, ends, levels=(0.25,), scale=np.ones(150)).offsets[0]
    # Half of two steps and a third of three lie outside, of which the middle one is taken.
    assert offsets == (100.0, 0.0, 0.0, 0.0)


def test_the_scale_of_each_window_moves_its_own_quantiles_and_none_passes_another():
    found = conformal.ConformalCorrection((0.1,), ((1.0,),))
    moved = found.apply(np.zeros((2, 1, 3)), (0.1, 0.5, 0.9), np.array([1.0, 3.0]))
    assert moved.tolist() == [[[-1.0, 0.0, 1.0]], [[-3.0, 0.0, 3.0]]]
    # Without a median the ends change places instead.
    narrow = conformal.ConformalCorrection((0.1,), ((-5.0,),))
    assert narrow.apply(np.array([[[-1.0, 1.0]]]), (0.1, 0.9), np.ones(1)).tolist() == [[[-4.0, 4.0]]]


def test_without_windows_there_is_nothing_to_correct():
    none = np.zeros((0, 1, 1))
    assert conformal.fit(np.zeros((0, 1)), none, none, levels=(0.1,), scale=np.ones(0)) is None
