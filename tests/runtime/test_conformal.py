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
