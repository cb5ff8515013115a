"""Unusual runs of zeros, on arrays."""

import numpy as np
import pytest
from scipy import stats

from gridcast.runtime import zero_runs

N = np.nan
ROW = np.array([[0.0, 0, 1, 0, 0, 0, 2, 0, N, 0, 0, 0, 0]])


def test_a_run_counts_as_long_only_from_the_step_on_at_which_it_is():
    assert zero_runs.detected_so_far(ROW, np.array([2])).astype(int).tolist() == [
        [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1]
    ]


def test_by_hindsight_a_long_run_is_one_from_its_first_step():
    assert zero_runs.unusual_runs(ROW, np.array([2])).astype(int).tolist() == [[0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1]]
    assert not zero_runs.unusual_runs(ROW, np.array([4])).any()


@pytest.mark.parametrize("seed", range(3))
def test_what_is_known_at_a_step_does_not_change_with_what_comes_later(seed):
    target = np.random.default_rng(seed).integers(0, 2, (4, 60)).astype(float)
    limits = np.array([1, 2, 3, 4])
    whole = zero_runs.detected_so_far(target, limits)
    for end in range(1, 60):
        np.testing.assert_array_equal(zero_runs.detected_so_far(target[:, :end], limits), whole[:, :end])


@pytest.mark.parametrize("chance", [0.2, 0.5, 0.8])
def test_the_habit_ends_where_the_geometric_law_expects_a_hundredth_of_a_run(chance):
    steps = 1000
    zeros = int(chance * steps)
    row = np.ones(steps)
    row[np.linspace(0, steps - 1, zeros).round().astype(int)] = 0.0  # evenly, so that no run is long
    usual = zero_runs.habitual_lengths(row[None])[0]
    fitted = (zeros + 1) / (steps + 2)
    # Runs of k zeros and more begin at a step that is not zero: of the law of their length, sf(k) = fitted ** k.
    expected = [(1 - fitted) * steps * stats.geom(1 - fitted).sf(k) for k in (usual, usual + 1)]
    assert expected[1] < zero_runs.MAX_EXPECTED_RUNS <= expected[0]


def test_a_closure_is_found_and_does_not_widen_the_habit_of_its_series():
    random = np.random.default_rng(0)
    rows = (random.random((3, 400)) > np.array([0.1, 0.4, 0.7])[:, None]).astype(float)
    habit = zero_runs.habitual_lengths(rows)
    closed = rows.copy()
    closed[:, 100:200] = 0.0
    assert np.all(np.abs(zero_runs.habitual_lengths(closed) - habit) <= 2)
    found = zero_runs.unusual_runs(closed, zero_runs.habitual_lengths(closed))
    assert found[:, 100:200].all()
    assert found[:, :90].sum() + found[:, 210:].sum() == 0


def test_chance_alone_makes_a_stretch_in_one_span_of_a_hundred():
    random = np.random.default_rng(1)
    rows = (random.random((2000, 300)) > 0.5).astype(float)
    told = zero_runs.unusual_runs(rows, zero_runs.habitual_lengths(rows)).any(axis=1).mean()
    assert 0.002 < told < 0.02


def test_a_series_that_is_always_or_never_zero_has_no_stretch():
    assert not zero_runs.unusual_runs(np.zeros((1, 50)), zero_runs.habitual_lengths(np.zeros((1, 50)))).any()
    assert zero_runs.habitual_lengths(np.ones((1, 50))).tolist() == [zero_runs.MIN_RUN_STEPS - 1]
    assert zero_runs.habitual_lengths(np.full((1, 50), N)).tolist()[0] >= zero_runs.MIN_RUN_STEPS - 1
