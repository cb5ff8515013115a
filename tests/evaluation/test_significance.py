import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests

from gridcast.evaluation.significance import (
    DieboldMariano,
    PairedDifference,
    diebold_mariano,
    holm,
    indistinguishable_from_best,
    mean_interval,
    paired_difference,
)


def test_mean_interval_by_hand():
    # mean 2.5; squares 2.25 + 0.25 + 0.25 + 2.25 = 5; sd sqrt(5 / 3); error sqrt(5 / 3) / 2 = 0.645497;
    # t(3 degrees, 97.5 %) = 3.182446; half width 2.054260
    found = mean_interval([1, 2, 3, 4])
    assert (found.mean, found.count) == (2.5, 4)
    assert found.low == pytest.approx(2.5 - 2.054260, abs=1e-6)
    assert found.high == pytest.approx(2.5 + 2.054260, abs=1e-6)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
def test_mean_interval_agrees_with_scipy(confidence):
    values = np.random.default_rng(1).normal(5, 2, 13)
    found = mean_interval(values, confidence)
    low, high = stats.t.interval(confidence, 12, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)


def test_mean_interval_of_one_and_of_no_value():
    one, none = mean_interval([3.0]), mean_interval([])
    assert (one.mean, one.count) == (3.0, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert none.count == 0
    assert math.isnan(none.mean)


def test_mean_interval_of_equal_values_has_no_width():
    found = mean_interval([0.1, 0.1, 0.1])  # whose mean is not 0.1 to the last bit
    assert found.low == found.mean == found.high == pytest.approx(0.1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="must be finite, got"):
        mean_interval([1.0, bad])
    with pytest.raises(ValueError, match="second sample: must be finite"):
        paired_difference([1.0, 2.0], [1.0, bad])
    with pytest.raises(ValueError, match="first sample: must be finite"):
        diebold_mariano([1.0, bad], [1.0, 2.0])


def test_samples_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="got 2 and 3 values"):
        paired_difference([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="got 3 and 1 values"):
        diebold_mariano([1, 2, 3], [1])


def test_paired_by_hand():
    # differences 1, 2, 3: mean 2, sd 1, error 1 / sqrt(3) = 0.577350, t = 3.464102 with 2 degrees;
    # t(2, 97.5 %) = 4.302653, half width 2.484138; for 2 degrees p = 1 - t / sqrt(2 + t^2) = 1 - 3.464102 / sqrt(14)
    found = paired_difference([3, 5, 7], [2, 3, 4])
    assert (found.mean, found.count) == (2.0, 3)
    assert (found.low, found.high) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-6)
    assert found.p_value == pytest.approx(1 - math.sqrt(12) / math.sqrt(14), rel=1e-12)


def test_paired_agrees_with_scipy():
    random = np.random.default_rng(2)
    a, b = random.normal(1, 1, 20), random.normal(0.5, 2, 20)
    found, expected = paired_difference(a, b, 0.9), stats.ttest_rel(a, b)
    low, high = expected.confidence_interval(0.9)
    assert (found.low, found.high, found.p_value) == pytest.approx((low, high, expected.pvalue), rel=1e-10)


def test_paired_without_spread():
    assert paired_difference([1, 2], [1, 2]) == PairedDifference(0.0, 0.0, 0.0, 1.0, 2)
    assert paired_difference([2, 3], [1, 2]) == PairedDifference(1.0, 1.0, 1.0, 0.0, 2)


def test_paired_with_one_pair_and_with_none():
    one, none = paired_difference([2], [1]), paired_difference([], [])
    assert (one.mean, one.count) == (1.0, 1)
    assert all(math.isnan(value) for value in (one.low, one.high, one.p_value))
    assert none.count == 0
    assert math.isnan(none.mean)
    assert math.isnan(none.p_value)


def test_diebold_mariano_one_step_by_hand():
    # d = 1, 2, 3, 2: mean 2, variance (1 + 0 + 1 + 0) / 4 = 1/2; DM = 2 / sqrt(1/8) = sqrt(32);
    # correction sqrt((4 + 1 - 2) / 4) = sqrt(3/4): sqrt(24)
    found = diebold_mariano([2, 3, 5, 4], [1, 1, 2, 2])
    assert found.mean_difference == 2
    assert found.statistic == pytest.approx(math.sqrt(24), rel=1e-12)
    assert found.p_value == pytest.approx(2 * stats.t.sf(math.sqrt(24), 3), rel=1e-12)


def test_diebold_mariano_two_steps_by_hand():
    # d = 1, 2, 4, 5, 3: mean 3, centred -2, -1, 1, 2, 0; covariances (4 + 1 + 1 + 4) / 5 = 2 and
    # (2 - 1 + 2 + 0) / 5 = 0.6; variance of the mean (2 + 2 * 0.6) / 5 = 0.64; DM = 3 / 0.8 = 3.75;
    # correction sqrt((5 + 1 - 4 + 2 / 5) / 5) = sqrt(0.48)
    found = diebold_mariano([1, 2, 4, 5, 3], [0, 0, 0, 0, 0], horizon=2)
    assert found.statistic == pytest.approx(3.75 * math.sqrt(0.48), rel=1e-12)
    assert found.p_value == pytest.approx(2 * stats.t.sf(3.75 * math.sqrt(0.48), 4), rel=1e-12)


@pytest.mark.parametrize("horizon", [1, 2, 4, 7])
def test_diebold_mariano_agrees_with_statsmodels(horizon):
    random = np.random.default_rng(3)
    n = 80
    difference = 0.3 + np.convolve(random.normal(size=n + 6), np.ones(4) / 4, "valid")[:n]
    loss_b = random.uniform(1, 2, n)
    kernel = {"maxlags": horizon - 1, "kernel": "uniform", "use_correction": False}
    fitted = sm.OLS(difference, np.ones(n)).fit(cov_type="HAC", cov_kwds=kernel)
    correction = math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    found = diebold_mariano(loss_b + difference, loss_b, horizon)
    assert found.statistic == pytest.approx(correction * fitted.tvalues[0], rel=1e-9)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(found.statistic), n - 1), rel=1e-9)


def test_diebold_mariano_changes_its_sign_with_the_order():
    random = np.random.default_rng(4)
    a, b = random.uniform(0, 1, 30), random.uniform(0, 2, 30)
    there, back = diebold_mariano(a, b, 3), diebold_mariano(b, a, 3)
    assert there.mean_difference < 0
    assert there.statistic == pytest.approx(-back.statistic)
    assert there.p_value == pytest.approx(back.p_value)


def test_diebold_mariano_where_equal_weights_give_a_negative_variance():
    # d = 3, 1, 3, 1: mean 2, covariances 1 and -3/4: 1 - 1.5 < 0. With weight 1/2: 1 - 0.75 = 0.25;
    # DM = 2 / sqrt(0.25 / 4) = 8, correction sqrt((4 + 1 - 4 + 2 / 4) / 4) = sqrt(0.375)
    found = diebold_mariano([3, 1, 3, 1], [0, 0, 0, 0], horizon=2)
    assert found.statistic == pytest.approx(8 * math.sqrt(0.375), rel=1e-12)


@pytest.mark.parametrize("size", [0.1, 0.3, 0.7, 1e-6, 3e5])
def test_diebold_mariano_where_equal_weights_give_no_variance_but_rounding_errors(size):
    # d = 2 + size * (1, -1, 0): covariances 2/3 and -1/3 of size^2, 2/3 - 2/3 = 0. With weight 1/2: 1/3;
    # DM = 2 / sqrt(size^2 / 9) = 6 / size, correction sqrt((3 + 1 - 4 + 2 / 3) / 3) = sqrt(2/9)
    found = diebold_mariano([2 + size, 2 - size, 2], [0, 0, 0], horizon=2)
    assert found.statistic == pytest.approx(6 / size * math.sqrt(2 / 9), rel=1e-8)


@pytest.mark.parametrize("horizon", [1, 3])
def test_diebold_mariano_of_equal_losses(horizon):
    assert diebold_mariano([0.3, 0.7], [0.3, 0.7], horizon) == DieboldMariano(0.0, 1.0, 0.0)
    rounded = diebold_mariano([0.1 + 0.2, 0.1 + 0.7, 0.3 * 3], [0.3, 0.8, 0.9], horizon)
    assert 0.1 + 0.2 != 0.3
    assert rounded == DieboldMariano(0.0, 1.0, 0.0)


def test_diebold_mariano_of_a_constant_difference():
    assert diebold_mariano([1, 2, 3], [2, 3, 4]) == DieboldMariano(-math.inf, 0.0, -1.0)
    assert diebold_mariano([2, 3, 4, 5], [1, 2, 3, 4], horizon=2) == DieboldMariano(math.inf, 0.0, 1.0)
    assert diebold_mariano([0.1] * 3, [0.0] * 3).statistic == math.inf  # the mean is not 0.1 to the last bit


@pytest.mark.parametrize(("n", "horizon"), [(1, 1), (2, 2), (3, 5)])
def test_diebold_mariano_with_too_few_origins(n, horizon):
    found = diebold_mariano(np.arange(1, n + 1), np.zeros(n), horizon)
    assert found.mean_difference == (n + 1) / 2
    assert math.isnan(found.statistic)
    assert math.isnan(found.p_value)


def test_diebold_mariano_of_nothing_is_nan():
    found = diebold_mariano([], [])
    assert math.isnan(found.mean_difference)
    assert math.isnan(found.p_value)


def test_diebold_mariano_refuses_a_horizon_below_one():
    with pytest.raises(ValueError, match="horizon: must be at least 1, got 0"):
        diebold_mariano([1, 2], [2, 1], 0)


def test_diebold_mariano_keeps_its_level():
    # Two-step errors overlap by one: 2,000 series of equally good forecasters are told apart in about 5 %.
    noise = np.random.default_rng(5).normal(size=(2000, 61))
    differences = noise[:, 1:] + 0.5 * noise[:, :-1]
    rejected = np.mean([diebold_mariano(d, np.zeros(60), 2).p_value < 0.05 for d in differences])
    assert 0.035 < rejected < 0.075
    careless = np.mean([diebold_mariano(d, np.zeros(60), 1).p_value < 0.05 for d in differences])
    assert careless > 0.1


def seeds(**losses: list[float]) -> pd.DataFrame:
    return pd.DataFrame(losses)


def test_indistinguishable_from_best_by_hand():
    # Against `best`: near differs by 0.1, -0.1, 0.3 (mean 0.1, error 0.1155, t = 0.87, p = 0.48);
    # far by 9.9, 10, 10.1 (mean 10, error 0.0577, t = 173, p = 0.00003, below 0.05 / 2).
    losses = seeds(far=[10.9, 12, 13.1], near=[1.1, 1.9, 3.3], best=[1.0, 2.0, 3.0])
    assert indistinguishable_from_best(losses) == ["best", "near"]


def test_indistinguishable_from_best_corrects_for_many_comparisons():
    # Every rival differs by 1, 2, 3 from the best: p = 0.074 against 2 degrees; with a fourth seed (2) 0.016.
    own = [1.0, 2.0, 3.0, 4.0]
    rival = [2.0, 4.0, 6.0, 6.0]
    assert paired_difference(rival, own).p_value == pytest.approx(0.01628, abs=1e-5)
    assert indistinguishable_from_best(seeds(best=own, a=rival)) == ["best"]
    # Four of them: 0.01628 is above 0.05 / 4, so none can be excluded.
    assert indistinguishable_from_best(seeds(best=own, a=rival, b=rival, c=rival, d=rival)) == [
        "best",
        "a",
        "b",
        "c",
        "d",
    ]
    assert indistinguishable_from_best(seeds(best=own, a=rival, b=rival, c=rival, d=rival), alpha=0.07) == ["best"]


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


@pytest.mark.parametrize("seed", range(20))
def test_holms_correction_is_the_step_down_method(seed):
    # All columns alike but for chance, so that rejections end somewhere in the middle; with ties among the p values.
    random = np.random.default_rng(seed)
    best = random.normal(0, 1, 8)
    shifts = random.uniform(0.2, 1.5, 6)
    losses = pd.DataFrame({f"c{k}": best + shift + random.normal(0, 0.5, 8) for k, shift in enumerate(shifts)})
    losses = losses.assign(twin=losses["c0"], best=best - 0.2)
    rivals = [name for name in losses.mean().sort_values(kind="stable").index if name != "best"]
    p_values = [paired_difference(losses[name], losses["best"]).p_value for name in rivals]
    rejected = rejected_step_down(p_values, 0.05)
    kept = [name for name, is_rejected in zip(rivals, rejected, strict=True) if not is_rejected]
    assert indistinguishable_from_best(losses) == ["best", *kept]


@pytest.mark.parametrize("replicates", ["seeds", "origins"])
@pytest.mark.parametrize("seed", range(8))
def test_indistinguishable_from_best_agrees_with_tests_one_by_one(replicates, seed):
    random = np.random.default_rng(seed)
    losses = pd.DataFrame(
        {f"c{k}": 1 + 0.1 * k + random.normal(0, 0.3, 12) for k in range(10)} | {"base": random.normal(0.9, 0.3, 12)}
    )
    means = losses.mean().sort_values()
    rivals = list(means.index[1:])
    best = losses[means.index[0]]
    if replicates == "seeds":
        p_values = [stats.ttest_rel(losses[name], best).pvalue for name in rivals]
    else:
        p_values = [diebold_mariano(losses[name], best, 2).p_value for name in rivals]
    rejected = rejected_step_down(p_values, 0.05)
    found = indistinguishable_from_best(losses, horizon=2, replicates=replicates)
    assert found == [means.index[0], *(name for name, no in zip(rivals, rejected, strict=True) if not no)]
    assert 1 <= len(found) < 11


def test_indistinguishable_from_best_over_origins_minds_the_order_of_time():
    # Errors that come in long runs prove little: with 10 lags the set holds both, with none only the best.
    slow = np.repeat([1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0], 10)
    losses = pd.DataFrame({"a": np.zeros(80), "b": slow - 0.2})
    assert indistinguishable_from_best(losses, horizon=1, replicates="origins") == ["a"]
    assert indistinguishable_from_best(losses, horizon=10, replicates="origins") == ["a", "b"]


def test_indistinguishable_from_best_with_one_replicate_is_the_best_alone():
    assert indistinguishable_from_best(seeds(a=[2.0], b=[1.0], c=[1.0])) == ["b"]
    assert indistinguishable_from_best(seeds(a=[2.0], b=[1.0], c=[1.0]), replicates="origins") == ["b"]


def test_indistinguishable_from_best_of_one_column_and_of_none():
    assert indistinguishable_from_best(seeds(a=[1.0, 2.0])) == ["a"]
    assert indistinguishable_from_best(pd.DataFrame()) == []
    assert indistinguishable_from_best(seeds(a=[math.nan, math.inf])) == []


def test_indistinguishable_from_best_leaves_out_columns_with_fewer_replicates():
    losses = seeds(lucky=[0.1, math.nan, 0.2], blown=[0.1, math.inf, 0.2], a=[1.0, 2.0, 3.0], b=[1.1, 1.9, 3.1])
    assert indistinguishable_from_best(losses) == ["a", "b"]


def test_indistinguishable_from_best_leaves_out_what_shares_too_few_rows_with_the_best():
    losses = seeds(a=[1.0, 2.0, math.nan], b=[math.nan, 2.0, 3.0], c=[1.0, 2.1, math.nan])
    assert indistinguishable_from_best(losses) == ["a", "c"]


def test_indistinguishable_from_best_does_not_correct_for_columns_that_it_cannot_test():
    # p = 0.01628 (see above) is below 0.05 / 1, but not below 0.05 / 4.
    no = [math.nan] * 3
    later = {name: [*no, 9.0, 9.0, 9.0, 9.0] for name in "xyz"}
    losses = seeds(best=[1.0, 2.0, 3.0, 4.0, *no], rival=[2.0, 4.0, 6.0, 6.0, *no], **later)
    assert indistinguishable_from_best(losses) == ["best"]


def test_indistinguishable_from_best_does_not_correct_for_columns_with_too_few_origins_in_common():
    own, rival, no = [1.0] * 6, [1.2, 1.9, 0.9, 1.3, 1.8, 1.1], [math.nan] * 4
    assert 0.05 / 4 < diebold_mariano(rival, own, 2).p_value < 0.05
    later = {name: [*no, 9.0, 8.0, 9.0, 9.0, 9.0, 9.0] for name in "xyz"}
    losses = seeds(best=[*own, *no], rival=[*rival, *no], **later)
    assert indistinguishable_from_best(losses, horizon=2, replicates="origins") == ["best"]


def test_indistinguishable_from_best_over_fewer_origins_than_the_horizon_is_the_best_alone():
    assert indistinguishable_from_best(seeds(a=[1.0, 2.0], b=[1.1, 2.1]), horizon=2, replicates="origins") == ["a"]


def test_indistinguishable_from_best_refuses_what_it_cannot_read():
    with pytest.raises(ValueError, match="replicates: must be 'seeds' or 'origins', got 'folds'"):
        indistinguishable_from_best(seeds(a=[1.0]), replicates="folds")
    with pytest.raises(ValueError, match="column 'a' stands twice"):
        indistinguishable_from_best(pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]))


def test_indistinguishable_from_best_does_not_change_its_input():
    losses = seeds(a=[1.0, math.inf], b=[2.0, 1.0])
    before = losses.copy()
    indistinguishable_from_best(losses)
    pd.testing.assert_frame_equal(losses, before)
