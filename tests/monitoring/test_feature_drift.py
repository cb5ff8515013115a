"""Drift of each feature of an extended panel, against `drift` and by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gridcast.data.splits import Spans
from gridcast.evaluation.significance import holm
from gridcast.monitoring import drift, feature_drift
from gridcast.monitoring.feature_drift import MAX_MOVED_SERIES, ExtendedPanel

START, TRAIN, END, BEGIN, STEPS = 3, 150, 204, 208, 230
PREPROCESSING = SimpleNamespace(target="pieces", past=("price",), future_columns=("holiday", "month"))


def extended(target: np.ndarray, observed: np.ndarray | None = None, begin: int = BEGIN) -> ExtendedPanel:
    """A panel of so many series whose covariates are the target plus 1, 2 and 3."""
    covariates = np.stack([target + k for k in (1, 2, 3)], axis=2)
    panel = SimpleNamespace(
        series=tuple(f"s{k}" for k in range(len(target))),
        times=pd.date_range("2024-01-01", periods=target.shape[1]),
        target=target,
        observed=np.isfinite(target) if observed is None else observed,
        past=covariates[..., :1],
        future=covariates[..., 1:],
        spans=Spans(TRAIN, END, target.shape[1], START),
    )
    return ExtendedPanel(panel, begin, END)


def noise(series: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(10, 1, (series, STEPS))


def test_the_steps_of_an_extended_panel():
    data = extended(noise())
    assert (data.new, data.reference, data.new_steps) == (slice(BEGIN, None), slice(START, END), 22)
    assert extended(noise(), begin=STEPS - 30).compared_steps == 25  # 200 changes hold eight stretches of 25
    assert data.compared_steps == 22


def test_features_are_those_of_series_with_new_values_and_blank_where_nothing_was_observed():
    target, observed = noise(), np.ones((3, STEPS), bool)
    target[1, 5] = np.nan
    observed[1, 5:7] = False
    observed[0, BEGIN:] = False
    data = extended(target, observed)
    assert data.has_new_values.tolist() == [False, True, True]
    assert data.new_series.tolist() == ["s1", "s2"]
    found = data.features(PREPROCESSING)
    assert list(found) == ["pieces", "price", "holiday", "month"]
    assert np.flatnonzero(np.isnan(found["pieces"][0])).tolist() == [5, 6]
    for added, name in enumerate(list(found)[1:], start=1):
        np.testing.assert_array_equal(found[name], target[1:] + added)


def test_values_and_changes_are_compared_with_those_of_the_reference_steps():
    target = noise()
    target[:, BEGIN:] += 1.5
    data = extended(target)
    found = feature_drift.feature_shifts(data, PREPROCESSING)
    assert found[["feature", "view"]].to_numpy().tolist() == [
        [feature, view] for feature in ("pieces", "price", "holiday", "month") for view in ("value", "change")
    ]
    reference, newest = target[:, START:END], target[:, BEGIN:]
    of_values = drift.measure_shift(reference, TRAIN - START, newest)
    changes = np.abs(np.diff(reference, axis=1)), np.abs(np.diff(target[:, BEGIN - 1 :], axis=1))
    of_changes = drift.measure_shift(changes[0], TRAIN - START - 1, changes[1])
    for row, expected in zip(found.to_dict("records")[:2], (of_values, of_changes), strict=True):
        assert {name: row[name] for name in vars(expected)} == pytest.approx(vars(expected))
    ranks = drift.ranks(reference[:, : TRAIN - START], newest)
    assert found["rank"][0] == pytest.approx(ranks.mean())
    np.testing.assert_allclose(found["deciles"][0], np.histogram(ranks, np.linspace(0, 1, 11))[0] / ranks.size)
    both = holm(found[["psi_p_value", "ks_p_value"]].to_numpy().ravel()).reshape(-1, 2)
    np.testing.assert_allclose(found["p_value"], both.min(axis=1))
    assert found["p_value"][0] < 0.01 < found["p_value"][1]


def test_only_as_many_steps_are_compared_as_the_reference_steps_bear():
    target = noise()
    target[:, -25:] = np.nan  # the newest stretch of 25 steps has one value, in the step before it
    data = extended(target, begin=STEPS - 30)
    assert data.compared_steps == 25
    assert not len(feature_drift.feature_shifts(data, PREPROCESSING))
    short = ExtendedPanel(SimpleNamespace(**{**vars(data.panel), "spans": Spans(8, 9, STEPS, 1)}), BEGIN, 9)
    assert short.compared_steps == 0
    empty = feature_drift.feature_shifts(short, PREPROCESSING)
    assert (len(empty), empty.columns.tolist()[:3]) == (0, ["feature", "view", "rank"])


def test_a_feature_that_is_not_observed_leaves_the_others_to_be_compared():
    target, observed = noise(1), np.ones((1, STEPS), bool)
    observed[:, BEGIN:-1] = False
    observed[:, -1] = True
    data = extended(target, observed)
    target_rows = feature_drift.feature_shifts(data, PREPROCESSING).query("feature == 'pieces'")
    assert target_rows["view"].tolist() == ["value"]  # one value has a rank; the change to it is not known


def test_series_that_moved_most_come_first():
    target = noise(10)
    target[:, BEGIN:] += 0.4 * np.arange(10)[:, None]
    target[1, START:END] = np.nan
    target[2, BEGIN + 1 :] = np.nan
    target[2, BEGIN] = 90.0
    found = feature_drift.moved_series(extended(target), PREPROCESSING, {"price", "pieces"})
    assert found.columns.tolist() == ["feature", "series", "ks", "before", "now"]
    assert found["feature"].value_counts().to_dict() == {"pieces": MAX_MOVED_SERIES, "price": MAX_MOVED_SERIES}
    of_price = found[found["feature"] == "price"]
    assert of_price["ks"].is_monotonic_decreasing
    assert "s1" not in set(of_price["series"])
    assert "s0" not in set(of_price["series"])
    row = of_price[of_price["series"] == "s2"].iloc[0]
    assert row[["before", "now", "ks"]].tolist() == [np.median(target[2, START:END]) + 1, 91.0, 1.0]
    assert not len(feature_drift.moved_series(extended(target), PREPROCESSING, set()))


def test_series_that_end_with_one_value_for_too_long_are_stuck():
    target = noise()
    target[1, -15:] = 7.0
    target[2, 20:30] = 3.0  # within the reference steps: twenty are usual
    target[2, -20:] = 3.0
    found = feature_drift.stuck_series(extended(target), PREPROCESSING)
    assert found[found["feature"] == "pieces"].to_numpy().tolist() == [["pieces", "s1", 15, 10, 7.0]]
    assert found["series"].tolist() == ["s1"] * 4
    assert found["value"].tolist() == [7.0, 8.0, 9.0, 10.0]
