"""Measures of drift against SciPy and by hand, and what they say of seasonal, autocorrelated series."""

import numpy as np
import pytest
from scipy import stats

from gridcast.evaluation.significance import holm
from gridcast.monitoring import drift

KNOWN, TRAIN, NEW, SERIES = 600, 530, 60, 12


def seasonal(random, steps, series=SERIES):
    """Autocorrelated noise (phi 0.7) upon a week and a year of `series`, all of a different size (series, steps)."""
    noise = random.normal(size=(series, steps + 50))
    for step in range(1, steps + 50):
        noise[:, step] += 0.7 * noise[:, step - 1]
    at = np.arange(steps)
    cycle = 2 * np.sin(2 * np.pi * at / 7) + 2 * np.sin(2 * np.pi * at / 365)
    return (10 + cycle + noise[:, 50:]) * np.arange(1, series + 1)[:, None]


def judged(values, spoil=lambda new: new):
    """Whether the last NEW steps, spoilt, raise an alarm: of the values or of their changes."""
    known, new = values[:, :KNOWN], values[:, KNOWN - 1 :].copy()
    new[:, 1:] = spoil(new[:, 1:])
    found = [drift.measure_shift(known, TRAIN, new[:, 1:])]
    found.append(drift.measure_shift(drift.step_changes(known), TRAIN - 1, drift.step_changes(new)))
    p_values = holm([p for one in found for p in (one.psi_p_value, one.ks_p_value)]).reshape(-1, 2).min(axis=1)
    return any(p <= 0.01 and one.psi >= 0.1 for p, one in zip(p_values, found, strict=True))


def test_ranks_are_shares_below_with_half_of_the_equals():
    training = np.array([[1.0, 2.0, 2.0, 4.0, np.nan], [0.0, 0.0, 0.0, 10.0, 10.0], [np.nan] * 5])
    found = drift.ranks(training, np.array([[0.0, 2.0, 3.0, 9.0], [0.0, 5.0, np.nan, 10.0], [1.0, 2.0, 3.0, 4.0]]))
    np.testing.assert_allclose(found[0], [0, 0.5, 0.75, 1])
    np.testing.assert_allclose(found[1], [0.3, 0.6, np.nan, 0.8])
    assert np.isnan(found[2]).all()
    of_score = [stats.percentileofscore([1, 2, 2, 4], value, kind="mean") / 100 for value in (0, 2, 3, 9)]
    np.testing.assert_allclose(found[0], of_score)


def test_psi_by_hand():
    assert drift.psi(np.array([0.5, 0.5]), np.array([0.8, 0.2])) == pytest.approx(0.3 * np.log(1.6) - 0.3 * np.log(0.4))
    assert drift.psi(np.array([0.3, 0.7]), np.array([0.3, 0.7])) == 0
    # An empty bin counts as a ten-thousandth.
    assert drift.psi(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(
        -0.5 * np.log(0.5) + (0.5 - 1e-4) * np.log(0.5 / 1e-4)
    )
    # Symmetric: the Kullback-Leibler divergences of both ways together.
    a, b = np.array([0.1, 0.2, 0.7]), np.array([0.3, 0.3, 0.4])
    assert drift.psi(a, b) == pytest.approx(stats.entropy(a, b) + stats.entropy(b, a))


def test_shares_put_a_value_on_an_edge_into_the_bin_above():
    np.testing.assert_allclose(
        drift.bin_shares(np.array([0.0, 1.0, 1.5, 2.0, np.nan]), np.array([1.0, 2.0])), [0.25, 0.5, 0.25]
    )
    np.testing.assert_allclose(drift.bin_shares(np.array([np.nan]), np.array([1.0])), [0, 0])


def test_kolmogorov_smirnov_is_that_of_scipy_over_the_finite_values():
    random = np.random.default_rng(0)
    one, other = random.normal(size=80), random.normal(0.5, size=(4, 30))
    other[0, :3] = np.nan
    expected = stats.ks_2samp(one, other[np.isfinite(other)]).statistic
    assert drift.kolmogorov_smirnov(one, other) == pytest.approx(expected)


def test_the_new_stretch_is_measured_against_all_known_steps():
    random = np.random.default_rng(1)
    known, new = random.normal(size=(1, 200)), random.normal(1, size=(1, 20))
    found = drift.measure_shift(known, 200, new)
    edges = np.quantile(known, np.arange(1, 10) / 10, method="inverted_cdf")
    expected = np.bincount(np.searchsorted(edges, known[0]), minlength=10) / 200
    np.testing.assert_allclose(expected, 0.1)
    shares = np.bincount(np.searchsorted(edges, new[0]), minlength=10) / 20
    assert found.psi == pytest.approx(drift.psi(expected, shares), rel=0.02)
    assert found.ks == pytest.approx(stats.ks_2samp(known[0], new[0]).statistic, abs=0.006)
    assert found.blocks == 10


def test_a_stretch_too_long_for_what_is_known_is_refused():
    known = np.random.default_rng(0).normal(size=(1, 79))
    assert drift.longest_stretch(79) == 9
    with pytest.raises(ValueError, match="10 steps cannot be compared with 79 reference steps, at most 9 can"):
        drift.measure_shift(known, 60, known[:, :10])
    assert np.isfinite(drift.measure_shift(known, 60, known[:, :9]).psi)


def test_nothing_is_said_of_a_feature_never_seen():
    known = np.full((2, 100), np.nan)
    found = drift.measure_shift(known, 80, np.ones((2, 10)))
    assert np.isnan([found.psi, found.psi_p_value, found.ks_p_value]).all()


def test_seasonal_autocorrelated_series_of_the_same_kind_raise_at_most_one_alarm_in_twenty():
    samples = [seasonal(np.random.default_rng(seed), KNOWN + NEW) for seed in range(20)]
    assert sum(judged(values) for values in samples) <= 1
    # The same samples, taken for independent draws, would raise one nearly every time.
    independent = [stats.ks_2samp(one[0, :KNOWN], one[0, KNOWN:]).pvalue for one in samples]
    assert sum(p <= 0.01 for p in independent) >= 10


@pytest.mark.parametrize(
    "spoil",
    [
        lambda new: 1.5 * new,
        lambda new: new / 12,
        lambda new: new * np.where(np.arange(SERIES) % 2, 2, 0.5)[:, None],
        lambda new: np.broadcast_to(new[:, :1], new.shape),
        lambda new: np.flip(np.sort(new, axis=1), axis=1),
    ],
    ids=["level", "units", "mix", "constant", "smooth"],
)
def test_drift_of_every_kind_is_flagged(spoil):
    samples = [seasonal(np.random.default_rng(seed), KNOWN + NEW) for seed in range(5)]
    assert [judged(values, spoil) for values in samples] == [True] * 5


def test_a_value_is_stuck_when_it_stays_for_twice_as_long_as_ever():
    random = np.random.default_rng(0)
    known = random.normal(size=(4, 60))
    known[1, 20:32] = 3.0
    known[3] = np.nan
    new = random.normal(size=(4, 30))
    new[0, -11:] = 5.0
    new[1, -24:] = 3.0
    new[2, 5:25] = 1.0  # over again
    runs, limit = drift.final_runs(known, new)
    assert runs.tolist() == [11, 24, 1, 1]
    assert limit.tolist() == [10, 24, 10, 10]
    assert (runs > limit).tolist() == [True, False, False, False]


def test_risen_is_the_t_test_where_neighbours_are_independent():
    random = np.random.default_rng(0)
    now, before = random.normal(0.4, size=20), random.normal(size=20)
    # With 20 values the lags of Newey and West are two: the variance differs a little from that of Student.
    assert drift.increase_p_value(now, before) == pytest.approx(
        stats.ttest_ind(now, before, alternative="greater").pvalue, abs=0.1
    )
    assert drift.increase_p_value(before, before) == pytest.approx(0.5)
    assert drift.increase_p_value(now, before) == pytest.approx(1 - drift.increase_p_value(before, now))
    assert np.isnan(drift.increase_p_value(now[:2], before))
    assert drift.increase_p_value(np.full(5, 2.0), np.full(5, 1.0)) == 0


def test_the_variance_of_a_mean_is_that_of_newey_and_west():
    import statsmodels.api as sm

    values = np.cumsum(np.random.default_rng(0).normal(size=50)) + 1
    fitted = sm.OLS(values, np.ones(50)).fit(cov_type="HAC", cov_kwds={"maxlags": 3, "use_correction": True})
    t = (values.mean() - 0) / fitted.bse[0]
    assert drift.increase_p_value(values, np.zeros(50)) == pytest.approx(stats.t.sf(t, 98))


@pytest.mark.parametrize(("steps", "length", "stretches"), [(200, 20, 40), (88, 10, 32), (90, 10, 36)])
def test_p_values_are_those_of_students_t_for_one_more_stretch(steps, length, stretches):
    random = np.random.default_rng(4)
    known, new = random.normal(size=(2, steps)), random.normal(0.2, size=(2, length))
    train, blocks = steps - 15, steps // length
    ranks, new_ranks = (drift.ranks(known[:, :train], values) for values in (known, new))

    def distances(rest, stretch):
        tenths = [-1.0, *np.arange(1, 10) / 10, 2.0]
        shares = (np.histogram(values, tenths)[0] / values.size for values in (rest, stretch))
        return drift.psi(*shares), stats.ks_2samp(rest.ravel(), stretch.ravel()).statistic

    starts = np.linspace(0, steps - length, stretches).astype(int)
    at = np.arange(steps)
    inside = [(at >= start) & (at < start + length) for start in starts]
    usual = np.array([distances(ranks[:, ~own], ranks[:, own]) for own in inside])
    values = np.array(distances(ranks, new_ranks))
    logs = np.log(usual)
    t = (np.log(values) - logs.mean(axis=0)) / (logs.std(axis=0, ddof=1) * np.sqrt(1 + 1 / blocks))
    found = drift.measure_shift(known, train, new)
    assert (found.psi, found.ks) == pytest.approx(tuple(values))
    assert (found.psi_p_value, found.ks_p_value) == pytest.approx(tuple(stats.t.sf(t, blocks - 1)))
    assert (found.usual_psi, found.usual_ks) == pytest.approx(tuple(np.quantile(usual, 0.95, axis=0)))


def test_a_feature_that_never_changed_drifts_with_its_first_change():
    known = np.ones((1, 80))
    same, other = (drift.measure_shift(known, 60, np.full((1, 10), value)) for value in (1.0, 2.0))
    assert (same.psi, same.ks, same.psi_p_value, same.ks_p_value) == (0, 0, 1, 1)
    assert (other.psi_p_value, other.ks_p_value) == (0, 0)


def test_what_has_values_on_one_side_only_is_not_judged():
    known = np.random.default_rng(0).normal(size=(1, 80))
    found = drift.measure_shift(known, 60, np.full((1, 10), np.nan))
    assert np.isnan([found.psi, found.ks, found.psi_p_value, found.ks_p_value]).all()
    with pytest.raises(ValueError, match="0 steps cannot be compared"):
        drift.measure_shift(known, 60, known[:, :0])
    assert np.isfinite(drift.measure_shift(known, 60, known[:, :1]).psi)


@pytest.mark.parametrize(("observed", "is_judged"), [([0, 15], True), ([15], False)])
def test_two_stretches_with_values_are_enough_to_judge_by(observed, is_judged):
    known = np.full((2, 16), np.nan)
    known[:, observed] = [1.0, 3.0][: len(observed)]
    assert np.isfinite(drift.measure_shift(known, 16, np.ones((2, 2))).ks_p_value) == is_judged


def test_changes_are_those_from_one_step_to_the_next():
    changes = drift.step_changes(np.array([[1.0, 4.0, 2.0], [0.0, 0.0, np.nan]]))
    np.testing.assert_array_equal(changes, [[3, 2], [0, np.nan]])
    assert drift.bin_shares(np.array([5.0]), np.array([1.0])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("steps", "overlap", "lags"), [(20, 1, 2), (100, 1, 4), (1000, 1, 6), (10_000, 1, 11), (100, 5, 4), (100, 9, 8)]
)
def test_neighbours_depend_on_each_other_over_the_lags_of_newey_and_west(steps, overlap, lags):
    # 4 (n / 100) ** (2 / 9): 2.8, 4, 6.7 and 11.1; at least as far as forecasts overlap.
    assert drift.independent_blocks(steps, overlap) == steps / (lags + 1)


def newey_west(values, lags):
    """Variance of the mean with Bartlett's weights and a correction for the degree of freedom of the mean."""
    n, centred = len(values), values - values.mean()
    covariances = [np.sum(centred[lag:] * centred[: n - lag]) / n for lag in range(lags + 1)]
    weighted = [(1 - lag / (lags + 1)) * covariances[lag] for lag in range(1, lags + 1)]
    return (covariances[0] + 2 * sum(weighted)) / (n - 1)


@pytest.mark.parametrize(("n", "m", "overlap", "lags"), [(60, 40, 1, (3, 3)), (20, 9, 6, (5, 5)), (3, 6, 9, (1, 4))])
@pytest.mark.parametrize("freedom", [None, 2.5])
def test_the_p_value_of_an_increase_by_hand(n, m, overlap, lags, freedom):
    random = np.random.default_rng(n)
    now, before = random.normal(0.5, size=n).cumsum(), random.normal(size=m)
    error = np.sqrt(newey_west(now, lags[0]) + newey_west(before, lags[1]))
    expected = stats.t.sf((now.mean() - before.mean()) / error, freedom or n + m - 2)
    assert drift.increase_p_value(now, before, overlap, freedom=freedom) == pytest.approx(expected)


def test_constants_that_are_the_same_have_not_increased():
    assert drift.increase_p_value(np.ones(5), np.ones(5)) == 1
    assert drift.increase_p_value(np.ones(5), np.full(5, 2.0)) == 1
    assert np.isnan(drift.increase_p_value(np.ones(5), np.ones(2)))
