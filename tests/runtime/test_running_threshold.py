"""A threshold that runs along: step by step by hand, from the past alone, and the same however a stream is cut."""

from dataclasses import astuple

import numpy as np
import pytest

from gridcast.evaluation.thresholds import fit_threshold, fit_threshold_with_history
from gridcast.runtime.running_threshold import ScoreHistory, score_history, thresholds, thresholds_and_history

N = np.nan
BEFORE = np.random.default_rng(0).lognormal(size=200)
SCORES = np.insert(np.random.default_rng(1).lognormal(1, 2, size=300), [0, 7, 299], N)


def test_each_step_has_the_threshold_of_all_scores_before_it():
    found, after = thresholds_and_history(SCORES, 2.0, score_history(BEFORE))
    for k in range(len(SCORES)):
        known = np.log(np.append(BEFORE, SCORES[:k][np.isfinite(SCORES[:k])]))
        assert found[k] == pytest.approx(np.exp(known.mean() + 2 * known.std()), rel=1e-9)
    assert astuple(after) == pytest.approx(astuple(score_history(np.append(BEFORE, SCORES))))


def test_by_hand():
    # Logarithms 0, 2, then 4: mean 1 and deviation 1, then mean 2 and deviation sqrt(8 / 3)
    before = score_history(np.exp([0.0, 2.0]))
    assert before == ScoreHistory(2, pytest.approx(1.0), pytest.approx(1.0))
    found, after = thresholds_and_history(np.exp([4.0, 0.0]), 3.0, before)
    assert found.tolist() == pytest.approx([np.exp(4), np.exp(2 + 3 * np.sqrt(8 / 3))])
    assert after.count == 4


def test_what_comes_later_changes_no_threshold():
    found, _ = thresholds_and_history(SCORES, 3.0, score_history(BEFORE))
    other = SCORES.copy()
    other[150:] *= 1e6
    changed, _ = thresholds_and_history(other, 3.0, score_history(BEFORE))
    np.testing.assert_array_equal(changed[:151], found[:151])
    assert (changed[151:] > found[151:]).all()


@pytest.mark.parametrize("cuts", [(1,), (8, 9, 200), range(1, 300)])
def test_a_stretch_goes_on_where_the_one_before_ended(cuts):
    whole, end = thresholds_and_history(SCORES, 3.0, score_history(BEFORE))
    before, parts = score_history(BEFORE), []
    for part in np.split(SCORES, cuts):
        own, before = thresholds_and_history(part, 3.0, before)
        parts.append(own)
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-9)
    assert astuple(before) == pytest.approx(astuple(end))


@pytest.mark.parametrize("value", [0.0, 0.1, 7.3e-5, 1e12])
def test_equal_scores_raise_no_alarm(value):
    same = np.full(500, value)
    assert not (same > thresholds_and_history(same, 3.0, score_history(same[:100]))[0]).any()


def test_a_fault_that_lasts_is_normal_in_the_end_and_one_spike_deafens_nobody():
    quiet = np.random.default_rng(2).lognormal(0, 0.3, size=1000)
    lasting = np.append(quiet, np.full(1000, 10.0))
    heard = lasting > thresholds_and_history(lasting, 3.0, score_history(quiet))[0]
    assert heard[1000]
    assert not heard[-1]
    spiked = np.append(quiet, [1e9, *quiet, 10.0])
    assert spiked[-1] > thresholds_and_history(spiked, 3.0, score_history(quiet))[0][-1]
    assert spiked[-1] < fit_threshold(spiked[:-1], "mean-std")  # which one spike makes deaf


def test_only_a_running_threshold_goes_on_from_something():
    first, before = fit_threshold_with_history(BEFORE, "running", 3.0)
    assert first == pytest.approx(fit_threshold(BEFORE, "lognormal", 3.0)) == pytest.approx(before.threshold(3.0))
    np.testing.assert_array_equal(
        thresholds(SCORES, first, 3.0, before), thresholds_and_history(SCORES, 3.0, before)[0]
    )
    first, before = fit_threshold_with_history(BEFORE, "lognormal", 3.0)
    assert before is None
    assert thresholds(SCORES, first, 3.0, before).tolist() == [first] * len(SCORES)
