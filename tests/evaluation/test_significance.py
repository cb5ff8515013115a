"""Tests of losses against values by hand and SciPy, and their size under honest dependence."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from gridcast.evaluation.significance import (
    DieboldMariano,
    Estimate,
    compare_with_best,
    crossed_mean,
    dependent_steps,
    diebold_mariano,
    holm,
    long_run_mean,
)


def by_seed(values: dict[tuple[int, int], float]) -> pd.Series:
    index = pd.MultiIndex.from_tuples(values, names=["seed", "fold"])
    return pd.Series(list(values.values()), index=index)


def test_a_mean_below_a_margin_by_hand():
    # t = (-1 - 2) / 3 and (1 - 2) / 3 with one degree: 1/2 - atan(1) / pi, and 1/2 - atan(1/3) / pi.
    assert Estimate(-1.0, 3.0, 1).p_below(2.0) == pytest.approx(0.25)
    assert Estimate(-1.0, 3.0, 1).p_within(2.0) == pytest.approx(0.5 - math.atan(1 / 3) / math.pi)
    assert Estimate(0.0, 0.0, 1).p_below(0.1) == 0
    assert math.isnan(Estimate(0.0, math.nan, 0).p_below(0.1))


def test_an_estimate_by_hand():
    # t = 2 / 0.5 = 4 with 3 degrees; t(3, 97.5 %) = 3.182446
    estimate = Estimate(2.0, 0.5, 3)
    assert estimate.p_value == pytest.approx(2 * stats.t.sf(4, 3), rel=1e-12)
    assert estimate.half_width() == pytest.approx(0.5 * 3.182446, abs=1e-6)
    assert estimate.half_width(0.9) == pytest.approx(0.5 * stats.t.ppf(0.95, 3), rel=1e-12)


@pytest.mark.parametrize("mean", [0.4, -0.4])
def test_two_one_sided_tests_by_hand(mean):
    # The nearer end of the margin is 0.6 away: t = 0.6 / 0.2 = 3 with 4 degrees, one-sided.
    assert Estimate(mean, 0.2, 4).p_within(1.0) == pytest.approx(stats.t.sf(3, 4), rel=1e-12)
    assert Estimate(mean, 0.2, 4).p_within(0.3) > 0.5
    assert Estimate(mean, 0.2, 4).p_within(0.4) == 0.5


def test_an_estimate_without_an_error_tests_nothing():
    estimate = Estimate(2.0, math.nan, 0)
    assert all(math.isnan(value) for value in (estimate.p_value, estimate.half_width(), estimate.p_within(9.0)))


def test_seeds_are_the_replicates_and_their_pairs_are_averaged():
    # Seeds 1, 2, 3: mean 2, sd 1, error 1 / sqrt(3); the second value of seed 0 only moves its mean.
    values = pd.concat([by_seed({(0, 0): 0.0, (1, 0): 2.0, (2, 0): 3.0}), by_seed({(0, 0): 2.0})])
    estimate = crossed_mean(values)
    assert (estimate.mean, estimate.degrees) == (2.0, 2)
    assert estimate.standard_error == pytest.approx(1 / math.sqrt(3), rel=1e-12)


def test_more_pairs_of_the_same_seeds_do_not_shrink_the_error():
    once = by_seed({(0, 0): 1.0, (1, 0): 2.0, (2, 0): 3.0})
    assert crossed_mean(pd.concat([once] * 72)) == crossed_mean(once)


@pytest.mark.parametrize("folds", [1, 4])
def test_below_three_seeds_there_is_no_error(folds):
    values = by_seed({(seed, fold): 1.0 + seed + fold for seed in (0, 1) for fold in range(folds)})
    estimate = crossed_mean(values)
    assert (estimate.mean, estimate.degrees) == (1.5 + (folds - 1) / 2, 0)
    assert math.isnan(estimate.standard_error)


def test_from_three_folds_on_their_variance_is_added():
    # Seeds -1, 0, 1 and folds -2, 0, 2 add up: variances of the means 1 / 3 and 4 / 3; the fewer degrees are 2.
    values = by_seed({(seed, fold): (seed - 1.0) + 2 * (fold - 1) for seed in range(3) for fold in range(3)})
    estimate = crossed_mean(values)
    assert (estimate.mean, estimate.degrees) == (0.0, 2)
    assert estimate.standard_error == pytest.approx(math.sqrt(5 / 3), rel=1e-12)
    two = crossed_mean(values[values.index.get_level_values("fold") < 2])
    assert two.standard_error == pytest.approx(math.sqrt(1 / 3), rel=1e-12)


def test_the_long_run_error_by_hand():
    # 16 values, none of which depends on the next: min(16 / 2, 0.4 * 16^(2/3) = 2.54) = 2 cosines.
    random = np.random.default_rng(0)
    values = random.normal(1, 1, 16) * np.tile([1, -1], 8)
    angles = np.pi * (np.arange(16) + 0.5) / 16
    centred = values - values.mean()
    projections = [math.sqrt(2 / 16) * (np.cos(k * angles) @ centred) for k in (1, 2)]
    estimate = long_run_mean(values)
    assert (estimate.mean, estimate.degrees) == (pytest.approx(values.mean()), 2)
    assert estimate.standard_error == pytest.approx(math.sqrt(np.mean(np.square(projections)) / 16), rel=1e-12)


@pytest.mark.parametrize(
    ("count", "overlap", "degrees"), [(60, 1, 6), (60, 7, 2), (27, 14, 0), (30, 14, 0), (200, 14, 5)]
)
def test_long_horizons_leave_few_degrees_of_freedom(count, overlap, degrees):
    noise = np.random.default_rng(1).normal(size=count)
    assert long_run_mean(noise, overlap).degrees == degrees


def test_what_persists_is_not_tested():
    steps = np.random.default_rng(2).normal(size=120).cumsum()
    assert long_run_mean(np.diff(steps)).degrees == 9
    assert long_run_mean(steps).degrees == 0
    # So many of so few depend on each other that nothing can be said.
    assert long_run_mean(np.linspace(0, 1, 8)).degrees == 0


def test_diebold_mariano_changes_its_sign_with_the_order():
    random = np.random.default_rng(4)
    a, b = random.uniform(0, 1, 30), random.uniform(0, 2, 30)
    there, back = diebold_mariano(a, b, 3), diebold_mariano(b, a, 3)
    assert there.mean_difference < 0
    assert there.statistic == pytest.approx(-back.statistic)
    assert there.p_value == pytest.approx(back.p_value)


def test_diebold_mariano_is_the_mean_over_its_error():
    random = np.random.default_rng(4)
    a, b = random.uniform(0, 1, 60), random.uniform(0, 2, 60)
    test, estimate = diebold_mariano(a, b, 2), long_run_mean(a - b, 2)
    assert test.estimate == estimate
    assert test.statistic == pytest.approx(estimate.mean / estimate.standard_error)
    assert test.p_value == pytest.approx(2 * stats.t.sf(abs(test.statistic), estimate.degrees))


@pytest.mark.parametrize("horizon", [1, 3])
def test_diebold_mariano_of_equal_losses(horizon):
    losses = np.arange(8) / 10
    assert diebold_mariano(losses, losses, horizon) == DieboldMariano(0.0, 1.0, 0.0, 0.0, 7)
    rounded = diebold_mariano([0.1 + 0.2, 0.1 + 0.7, 0.3 * 3] * 3, [0.3, 0.8, 0.9] * 3, horizon)
    assert 0.1 + 0.2 != 0.3
    assert rounded == DieboldMariano(0.0, 1.0, 0.0, 0.0, 8)
    assert rounded.estimate.p_within(0.01) == 0.0


def test_diebold_mariano_of_a_constant_difference():
    losses = np.arange(8)
    found = diebold_mariano(losses, losses + 1)
    assert (found.statistic, found.p_value, found.mean_difference) == (-math.inf, 0.0, -1.0)
    assert diebold_mariano(losses + 1, losses, horizon=2).statistic == math.inf
    assert diebold_mariano([0.1] * 9, [0.0] * 9).statistic == math.inf  # the mean is not 0.1 to the last bit


@pytest.mark.parametrize("origins", [1, 5, 7])
def test_few_origins_show_neither_a_difference_nor_a_tie(origins):
    # Losses of counts repeat: of five, one in eight noise differences seemed to have no variance.
    for gap in (0.0, 1.0):
        found = diebold_mariano(np.ones(origins), np.ones(origins) - gap)
        assert math.isnan(found.p_value)
        assert math.isnan(found.estimate.p_within(0.01))


@pytest.mark.parametrize(("n", "horizon"), [(1, 1), (2, 2), (3, 2), (13, 7)])
def test_diebold_mariano_with_too_few_origins(n, horizon):
    found = diebold_mariano(np.arange(1, n + 1), np.zeros(n), horizon)
    assert found.mean_difference == (n + 1) / 2
    assert found.degrees == 0
    assert math.isnan(found.statistic)
    assert math.isnan(found.p_value)


def test_diebold_mariano_of_nothing_is_nan():
    found = diebold_mariano([], [])
    assert math.isnan(found.mean_difference)
    assert math.isnan(found.p_value)


def test_diebold_mariano_refuses_what_it_cannot_read():
    with pytest.raises(ValueError, match="horizon: must be at least 1, got 0"):
        diebold_mariano([1, 2], [2, 1], 0)
    with pytest.raises(ValueError, match="got 3 and 1 values"):
        diebold_mariano([1, 2, 3], [1])
    with pytest.raises(ValueError, match="first sample: must be finite"):
        diebold_mariano([1.0, math.inf], [1.0, 2.0])
    with pytest.raises(ValueError, match="second sample: must be finite"):
        diebold_mariano([1.0, 2.0], [1.0, math.nan])


@pytest.mark.parametrize(("horizon", "origins"), [(14, 30), (14, 60), (7, 30), (2, 60)])
def test_diebold_mariano_keeps_its_level_with_long_horizons_and_few_origins(horizon, origins):
    # The sums of `horizon` shocks overlap: autocovariances up to lag horizon - 1 reject in 27 % at 14 and 30.
    noise = np.random.default_rng(5).normal(size=(1500, origins + horizon - 1))
    sums = np.lib.stride_tricks.sliding_window_view(noise, horizon, axis=1).mean(axis=2)
    rejected = np.mean([diebold_mariano(gaps, np.zeros(origins), horizon).p_value < 0.05 for gaps in sums])
    assert rejected < 0.075


def test_diebold_mariano_finds_a_clear_difference():
    noise = np.random.default_rng(6).normal(size=(300, 60))
    found = np.mean([diebold_mariano(gaps + 0.6, np.zeros(60)).p_value < 0.05 for gaps in noise])
    assert found > 0.9


def standings(losses: dict[str, list[float]], margin: float = 0.01) -> dict[str, str]:
    count = len(next(iter(losses.values())))
    index = pd.MultiIndex.from_product([range(count), [0]], names=["seed", "fold"])
    return compare_with_best(pd.DataFrame(losses, index=index), crossed_mean, margin=margin).to_dict()


def test_what_is_clearly_worse_is_worse_and_what_is_alike_is_unclear():
    # far: differences 9.9, 10, 10.1: p = 0.00003, of 3 pairs; near: 0.1, -0.1, 0.3.
    losses = {"far": [10.9, 12, 13.1], "near": [1.1, 1.9, 3.3], "best": [1.0, 2.0, 3.0]}
    assert standings(losses) == {"best": "best", "near": "unclear", "far": "worse"}


def test_a_tie_needs_an_equivalence_test():
    best = [100.0, 101.0, 99.0, 100.5]
    alike = [value + gap for value, gap in zip(best, (0.01, 0.02, 0.0, 0.01), strict=True)]
    assert standings({"best": best, "alike": alike}) == {"best": "best", "alike": "tied"}
    assert standings({"best": best, "alike": alike}, margin=0.0001) == {"best": "best", "alike": "unclear"}


def test_a_large_difference_that_three_seeds_cannot_show_is_no_tie():
    # Three seeds each, 0.72 on average against 0.023, formerly "statistically tied".
    losses = {"GRU-1": [0.06, 1.45, 0.65], "GRU-32": [0.022, 0.025, 0.022]}
    assert standings(losses) == {"GRU-32": "best", "GRU-1": "unclear"}


def test_the_best_is_compared_as_one_of_all_pairs():
    # Differences 1, 2, 3, 2: p = 0.016, which one pair bears and the ten pairs of five do not.
    losses = {"best": [1.0, 2.0, 3.0, 4.0], "rival": [2.0, 4.0, 6.0, 6.0]}
    assert standings(losses)["rival"] == "worse"
    others = {f"c{k}": losses["rival"] for k in range(3)}
    assert set(standings(losses | others).values()) == {"best", "unclear"}


def test_the_others_are_compared_with_the_one_named():
    losses = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [2.0, 3.1, 4.0], "c": [3.0, 4.1, 5.0]})
    losses.index = pd.MultiIndex.from_product([range(3), [0]], names=["seed", "fold"])
    found = compare_with_best(losses, crossed_mean, margin=0.01, best="b").to_dict()
    assert found == {"b": "best", "a": "unclear", "c": "worse"}


def test_with_two_seeds_nothing_is_worse():
    assert standings({"a": [1.0, 1.0], "b": [9.0, 9.1]}) == {"a": "best", "b": "unclear"}


def test_the_luckiest_of_many_alike_is_not_ahead_of_them():
    random = np.random.default_rng(7)
    claims = 0
    for _ in range(200):
        losses = {f"c{k}": list(1 + 0.01 * random.normal(size=3)) for k in range(8)}
        claims += "worse" in standings(losses).values()
    assert claims <= 10


def test_holm_steps_down_and_leaves_out_what_was_not_tested():
    given = np.array([0.01, 0.04, 0.03, 0.005, 0.9])
    assert (holm(given) <= 0.05).tolist() == rejected_step_down(given, 0.05)
    np.testing.assert_allclose(holm(given), multipletests(given, method="holm")[1])
    np.testing.assert_allclose(holm([0.02, np.nan, 0.01]), [0.02, np.nan, 0.02])
    assert len(holm([])) == 0


def rejected_step_down(p_values, alpha):
    """Holm's method as he describes it: from the smallest p value on, up to the first that is too large."""
    rejected = [False] * len(p_values)
    for step, k in enumerate(np.argsort(p_values)):
        if p_values[k] > alpha / (len(p_values) - step):
            break
        rejected[k] = True
    return rejected


@pytest.mark.parametrize("overlap", [1, 2])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_steps_that_depend_on_each_other_by_hand(overlap, sign):
    random = np.random.default_rng(8)
    noise = random.normal(size=61)
    values = noise[1:] + 0.5 * sign * noise[:-1] if overlap == 1 else np.repeat(noise, 2)[:60]
    n, centred = len(values), values - values.mean()
    r = np.sum(centred[overlap:] * centred[:-overlap]) / np.sum(centred**2)
    r += (1 + 3 * max(r, 0)) * overlap / n  # the bias of Kendall (1954), at the lag of the overlap
    assert (r > 0) == (sign > 0 or overlap == 2)
    expected = overlap * (1 + max(r, 0)) / (1 - max(r, 0))
    assert dependent_steps(values, overlap) == pytest.approx(expected)


def test_constant_values_depend_over_their_overlap_alone():
    assert dependent_steps(np.ones(28), 14) == 14
    assert dependent_steps(np.arange(2.0), 2) == 2
    assert dependent_steps(np.arange(50.0), 1) == math.inf
    assert long_run_mean(np.ones(28), 14) == Estimate(1.0, 0.0, 1)
    assert long_run_mean(np.ones(27), 14).degrees == 0


def test_one_degree_of_freedom_is_enough_to_say_something():
    # Student's t with one degree: 1 - 2 atan(1) / pi, and tan(0.475 pi) times the error.
    estimate = Estimate(3.0, 3.0, 1)
    assert estimate.p_value == pytest.approx(0.5)
    assert estimate.half_width() == pytest.approx(3 * math.tan(0.475 * math.pi))
    assert math.isnan(Estimate(3.0, math.nan, 1).p_value)
    assert math.isnan(Estimate(3.0, math.nan, 1).p_below(1.0))
    assert Estimate(0.0, 0.0, 2).p_value == 1
    assert Estimate(-0.5, 0.0, 2).p_value == 0


def test_cells_count_once_in_the_mean_of_their_seed_and_of_their_fold():
    # Fold 0 of seed 0 twice: its mean 2 counts as one value.
    values = {(0, 0): 1.0, (0, 1): 4.0, (0, 2): 6.0, (1, 0): 2.0, (1, 1): 2.0, (1, 2): 5.0}
    values |= {(2, 0): 3.0, (2, 1): 3.0, (2, 2): 6.0, (3, 0): 4.0, (3, 1): 4.0, (3, 2): 7.0}
    twice = pd.concat([by_seed(values), by_seed({(0, 0): 3.0, (1, 1): math.nan})])
    seeds, folds = np.array([4.0, 3.0, 4.0, 5.0]), np.array([11 / 4, 13 / 4, 24 / 4])
    estimate = crossed_mean(twice)
    assert (estimate.mean, estimate.degrees) == (4.0, 2)
    variance = seeds.var(ddof=1) / 4 + folds.var(ddof=1) / 3
    assert estimate.standard_error == pytest.approx(math.sqrt(variance))
    assert math.isnan(crossed_mean(by_seed({(0, 0): math.nan})).mean)


def test_what_is_tied_is_so_within_the_margin_of_the_best_mean():
    # Differences 1.0, 1.2, 0.8: error 0.2 / sqrt(3); margins are shares of the best mean, 10.
    losses = {"b": [11.0, 11.2, 10.8], "a": [10.0, 10.0, 10.0]}
    estimate = Estimate(1.0, 0.2 / math.sqrt(3), 2)
    for margin, relation in ((0.13, "worse"), (0.14, "tied")):
        assert (estimate.p_within(10 * margin) <= 0.05) == (relation == "tied")
        assert standings(losses, margin) == {"a": "best", "b": relation}


def test_corrected_p_values_are_at_most_1_and_equal_seeds_have_no_error():
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert crossed_mean(by_seed({(seed, 0): 0.1 for seed in range(3)})) == Estimate(pytest.approx(0.1), 0.0, 2)
