"""Greedy ensembles: weights, and a cost that their selection does not flatter."""

import numpy as np
import pytest

from gridcast.evaluation import greedy_selection
from gridcast.evaluation.greedy_selection import cross_validated_cost, greedy_weights

RANDOM = np.random.default_rng(0)
ACTUAL = RANDOM.normal(size=(200, 3))
INDEX = np.column_stack([np.repeat(np.arange(20), 10), np.tile(np.arange(10), 20)])


def cost(rows, forecasts):
    return float(np.abs(forecasts - ACTUAL[rows]).mean())


def noisy(*sizes):
    return np.stack([ACTUAL + size * RANDOM.normal(size=ACTUAL.shape) for size in sizes])


def test_good_members_share_the_weight_and_bad_ones_get_none():
    forecasts = noisy(1.0, 1.0, 9.0)
    weights = greedy_weights(forecasts, np.arange(200), cost)
    assert weights.sum() == pytest.approx(1)
    assert weights[2] == 0
    assert weights[:2] == pytest.approx([0.5, 0.5], abs=0.15)
    combined = np.tensordot(weights, forecasts, axes=1)
    assert cost(np.arange(200), combined) < min(cost(np.arange(200), one) for one in forecasts)


def test_a_member_that_is_right_stays_alone():
    forecasts = np.stack([ACTUAL, ACTUAL + 1])
    assert greedy_weights(forecasts, np.arange(200), cost).tolist() == [1, 0]


def test_on_its_own_windows_an_ensemble_of_noise_looks_better_than_elsewhere():
    """Fifty forecasts that know nothing."""
    forecasts = RANDOM.normal(size=(50, *ACTUAL.shape))
    everywhere = np.arange(200)
    weights = greedy_weights(forecasts, everywhere, cost)
    flattered = cost(everywhere, np.tensordot(weights, forecasts, axes=1))
    assert flattered < 0.97 * cross_validated_cost(forecasts, INDEX, cost)


@pytest.mark.parametrize("many_series", [True, False])
def test_halves_share_no_window(many_series, monkeypatch):
    monkeypatch.setattr(greedy_selection, "MIN_SERIES_SPLIT", 10 if many_series else 99)
    asked = []

    def remembering(rows, forecasts):
        asked.append(tuple(rows))
        return cost(rows, forecasts)

    cross_validated_cost(noisy(1.0, 2.0), INDEX, remembering)
    first, second = set(asked)
    assert not set(first) & set(second)
    assert len(first) + len(second) == 200
    column = 0 if many_series else 1
    assert not set(INDEX[list(first), column]) & set(INDEX[list(second), column])


def test_one_window_cannot_be_halved():
    assert cross_validated_cost(noisy(1.0, 2.0)[:, :1], INDEX[:1], cost) == np.inf


def test_few_series_with_one_window_each_are_halved_by_series():
    """As monthly tables often have them: by time, one half would be empty, and the ensemble could never win."""
    windows = np.arange(4) * 10  # the first of four series
    found = cross_validated_cost(
        noisy(1.0, 2.0)[:, windows], INDEX[windows], lambda rows, one: cost(windows[rows], one)
    )
    assert np.isfinite(found)


def test_what_is_never_finite_is_no_member():
    forecasts = np.stack([np.full(ACTUAL.shape, np.nan), ACTUAL + 1])
    assert greedy_weights(forecasts, np.arange(200), cost).tolist() == [0, 1]
    with pytest.raises(ValueError, match="no member has finite forecasts"):
        greedy_weights(forecasts[:1], np.arange(200), cost)
