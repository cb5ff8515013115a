"""Thresholds by hand, and their tail against SciPy."""

import numpy as np
import pytest
from scipy import stats

from gridcast.config.threshold_rules import DEFAULT_LEVELS, checked_level
from gridcast.evaluation.thresholds import THRESHOLDS, fit_threshold, fit_threshold_with_history
from gridcast.runtime.errors import ConfigError, DataError

N = np.nan
TEN = np.arange(1.0, 11)


def test_every_rule_of_the_experiment_file_has_a_threshold_function():
    assert THRESHOLDS.keys() == DEFAULT_LEVELS.keys()


def test_mean_and_standard_deviations_by_hand():
    # mean 4, squares 4 + 4 + 0 + 0 + 4 + 4: standard deviation sqrt(16 / 6)
    assert fit_threshold(np.array([2.0, 2, 4, 4, 6, 6]), "mean-std", 2.0) == pytest.approx(4 + 2 * np.sqrt(16 / 6))
    assert fit_threshold(np.array([0.0, 2]), "mean-std") == 4.0


def test_mean_and_standard_deviations_of_logarithms_by_hand():
    # logarithms 0, 0, 3, 3: mean 1.5, deviation 1.5
    assert fit_threshold(np.exp([0.0, 0, 3, 3]), "lognormal", 2.0) == pytest.approx(np.exp(4.5))
    assert fit_threshold(np.exp([0.0, 0, 3, 3]), "running", 2.0) == pytest.approx(np.exp(4.5))  # from which it starts
    assert np.isfinite(fit_threshold(np.array([0.0, 1.0]), "lognormal"))


def test_median_and_median_deviations_by_hand():
    # median 3, deviations 2, 1, 0, 1, 97: their median is 1
    assert fit_threshold(np.array([1.0, 2, 3, 4, 100]), "median-mad", 2.0) == pytest.approx(3 + 2 * 1.4826)
    # Four of five alike: mean deviation 2 in place of the median one
    assert fit_threshold(np.array([3.0, 3, 3, 3, 13]), "median-mad", 1.0) == pytest.approx(3 + 2 * np.sqrt(np.pi / 2))


def test_the_unit_of_deviations_is_that_of_a_normal_distribution():
    scores = stats.norm(5, 2).ppf((np.arange(10_000) + 0.5) / 10_000)
    assert fit_threshold(scores, "median-mad") == pytest.approx(11, abs=0.01)
    assert fit_threshold(scores, "mean-std") == pytest.approx(11, abs=0.01)


@pytest.mark.parametrize(("level", "expected"), [(0.1, 9), (0.2, 8), (0.15, 9), (0.01, 10)])
def test_the_quantile_leaves_no_larger_share_above_it(level, expected):
    assert fit_threshold(np.random.default_rng(0).permutation(TEN), "quantile", level) == expected


@pytest.mark.parametrize(
    ("count", "level", "expected"),
    [
        (9, 0.1, 9),  # ceil(10 * 0.9) = 9th of nine
        (10, 0.1, 10),  # ceil(11 * 0.9) = 10th of ten
        (99, 0.1, 90),  # ceil(100 * 0.9)
        (99, 0.05, 95),
        (10, 0.99, 1),  # ceil(11 * 0.01)
        (5, 0.1, 5),  # six times 0.9 is 5.4, a sixth there is not: the largest
    ],
)
def test_the_conformal_threshold_is_the_value_of_its_rank(count, level, expected):
    assert fit_threshold(np.arange(1.0, count + 1), "conformal", level) == expected


@pytest.mark.parametrize("level", [0.1, 0.02])
def test_a_further_score_exceeds_the_conformal_threshold_as_rarely_as_stated(level):
    random = np.random.default_rng(1)
    scores = random.gamma(2, size=(4000, 100))
    above = [fit_threshold(own[:-1], "conformal", level) < own[-1] for own in scores]
    assert np.mean(above) == pytest.approx(level, abs=3 * np.sqrt(level / 4000))


@pytest.mark.parametrize("shape", [-0.2, 0.0, 0.3])
def test_the_tail_agrees_with_scipy(shape):
    """Scores whose tail above any value is generalised Pareto: the extreme quantile is known."""
    law = stats.genpareto(shape, scale=2.0)
    scores = law.rvs(20_000, random_state=2) + 7
    fitted_threshold = fit_threshold(scores, "peaks-over-threshold", 1e-4)
    assert fitted_threshold == pytest.approx(7 + law.isf(1e-4), rel=0.15)
    start = np.quantile(scores, 0.98)
    excesses = scores[scores > start] - start
    fitted, _, scale = stats.genpareto.fit(excesses, floc=0)
    by_scipy = start + stats.genpareto(fitted, scale=scale).isf(1e-4 * len(scores) / len(excesses))
    assert fitted_threshold == pytest.approx(by_scipy, rel=2e-3)


def test_the_tail_reaches_beyond_all_scores_seen():
    scores = stats.expon.rvs(size=2000, random_state=3)
    fitted_threshold = fit_threshold(scores, "peaks-over-threshold", 1e-6)
    assert scores.max() < fitted_threshold < 3 * -np.log(1e-6)


def test_the_tail_is_that_of_the_scores_in_any_unit():
    scores = stats.gamma(2).rvs(5000, random_state=4)
    fitted_threshold = fit_threshold(scores, "peaks-over-threshold", 1e-4)
    assert fit_threshold(scores * 1e-6, "peaks-over-threshold", 1e-4) == pytest.approx(
        fitted_threshold * 1e-6, rel=1e-6
    )


@pytest.mark.parametrize(
    ("scores", "level"),
    [
        (stats.expon.rvs(size=900, random_state=5), 0.001),  # 18 excesses
        (stats.expon.rvs(size=5000, random_state=5), 0.05),  # inside the body
        (np.repeat([1.0, 2.0, 3.0], [4950, 25, 25]), 0.001),  # a tail of one value
    ],
    ids=["few excesses", "a large share", "equal excesses"],
)
def test_without_a_tail_it_is_the_quantile(scores, level):
    assert fit_threshold(scores, "peaks-over-threshold", level) == fit_threshold(scores, "quantile", level)


@pytest.mark.parametrize("name", THRESHOLDS)
def test_steps_without_a_score_are_ignored(name):
    scores = np.random.default_rng(6).gamma(2, size=3000)
    with_holes = np.insert(scores, [0, 5, 2999], [N, np.inf, N])
    assert fit_threshold(with_holes, name) == fit_threshold(scores, name)


@pytest.mark.parametrize("name", THRESHOLDS)
def test_equal_scores_are_their_own_threshold_and_none_is_refused(name):
    assert fit_threshold(np.full(10, 0.1), name) == 0.1  # the mean of these is 0.09999999999999999
    assert fit_threshold(np.array([N, 4.0]), name) == 4.0
    with pytest.raises(DataError, match="no step of normal operation has an anomaly score"):
        fit_threshold(np.array([N, N]), name)


@pytest.mark.parametrize("name", THRESHOLDS)
def test_a_stricter_level_is_a_higher_threshold(name):
    scores = np.random.default_rng(7).gamma(2, size=5000)
    levels = (1, 3, 6) if DEFAULT_LEVELS[name] > 1 else (0.05, 0.01, 0.001)
    fitted_threshold = [fit_threshold(scores, name, level) for level in levels]
    assert fitted_threshold == sorted(set(fitted_threshold))


def test_unknown_names_and_levels_out_of_range_are_refused_with_a_remedy():
    with pytest.raises(ConfigError, match="anomaly.threshold: unknown name 'mean_std'; did you mean 'mean-std'"):
        checked_level("mean_std")
    with pytest.raises(ConfigError, match="anomaly.level: must be 0 or more deviations for mean-std.*got -1"):
        checked_level("mean-std", -1)
    with pytest.raises(ConfigError, match="anomaly.level: must lie between 0 and 1 for quantile.*got 3"):
        fit_threshold(TEN, "quantile", 3.0)
    assert checked_level("conformal") == 0.001
    assert checked_level("median-mad", 5) == 5.0


@pytest.mark.parametrize(("count", "excesses"), [(1000, 20), (1001, 20), (1050, 21)])
def test_twenty_excesses_are_enough_for_a_tail(count, excesses):
    scores = stats.expon.rvs(size=count, random_state=8)
    tail = np.sort(scores)[-excesses:]
    start = np.quantile(scores, 0.98)
    assert tail[0] > start >= np.sort(scores)[-excesses - 1]
    unit = np.mean(tail - start)
    shape, _, scale = stats.genpareto.fit((tail - start) / unit, floc=0)
    expected = start + unit * stats.genpareto(shape, scale=scale).isf(0.001 * count / excesses)
    assert fit_threshold(scores, "peaks-over-threshold", 0.001) == pytest.approx(expected)


@pytest.mark.parametrize(("count", "level"), [(950, 0.001), (1000, 0.02), (1000, 0.03)])
def test_nineteen_excesses_or_a_share_of_all_of_them_are_not(count, level):
    scores = stats.expon.rvs(size=count, random_state=8)
    assert fit_threshold(scores, "peaks-over-threshold", level) == fit_threshold(scores, "quantile", level)


@pytest.mark.parametrize("name", THRESHOLDS)
def test_a_running_threshold_alone_has_a_history(name):
    scores = np.random.default_rng(7).gamma(2, size=100)
    threshold, history = fit_threshold_with_history(scores, name)
    assert threshold == fit_threshold(scores, name)
    assert (history is not None) == (name == "running")
