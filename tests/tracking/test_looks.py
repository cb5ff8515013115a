"""Looks at a test span are counted over all experiments of a store."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest

from gridcast.evaluation.best_of_looks import best_of_looks_bias
from gridcast.tracking import looks, mlflow_runs, run_recording
from gridcast.tracking.mlflow_runs import FINGERPRINT_TAG, SweepEntry
from gridcast.tracking.run_recording import RunEntry
from gridcast.tracking.store import open_store

SPAN = ["2024-01-01 00:00:00", "2024-03-31 00:00:00"]
SECONDS = itertools.count(time.time() - 1000)
"""When the tests of runs ended: each record has whole seconds."""
LATER = ["2024-02-01 00:00:00", "2024-03-31 00:00:00"]


@pytest.fixture
def uri(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path}/mlflow.db"


def record_tested(store, key, mase, **options):
    """Record the test of a forecaster, see `record_test`."""
    return record_test(store, key, {"test_mase": mase}, **options)


def record_test(store, key, metrics, *, span=SPAN, fingerprint="f", has_key=True):
    """A run of a sweep that was tested on a span, as a sweep records it; a former version wrote no key of the span."""
    parent = mlflow_runs.open_sweep(store, SweepEntry(f"sweep {key}", "sweep"))
    tags = {FINGERPRINT_TAG: fingerprint}
    run_id = run_recording.record_run(store, parent, RunEntry(key, "run", key, tags))
    tags |= {looks.SPAN_TAG: looks.span_key(fingerprint, span)} if has_key else {}
    tags |= {mlflow_runs.WINNER_TAG: run_id}
    run_recording.record_test(store, RunEntry(key, "test", key, tags, metrics=metrics, ended=next(SECONDS)))
    return run_id


def found(store, span=SPAN, fingerprint="f"):
    return [(look.run_id, look.purpose, look.error) for look in looks.find_looks(store, fingerprint, span)]


def test_looks_are_counted_over_experiments_by_data_and_span_even_if_deleted(uri):
    one, other = open_store("one", uri), open_store("other", uri)
    first, second = record_tested(one, "a", 0.9), record_tested(other, "b", 0.8)
    record_tested(one, "c", 0.7, span=LATER)
    record_tested(one, "d", 0.6, fingerprint="g")
    looks.record_look(
        other, second, name="look", purpose=looks.BACKTEST, key=looks.span_key("f", SPAN), what="x", run_id=first
    )
    expected = [
        (first, "sweep", 0.9),
        (second, "sweep", 0.8),
        (first, "backtest", pytest.approx(math.nan, nan_ok=True)),
    ]
    assert found(one) == expected
    assert looks.describe_purposes(looks.find_looks(one, "f", SPAN)) == "2 sweeps, 1 backtest"
    assert looks.network_errors(looks.find_looks(one, "f", SPAN)) == [0.9, 0.8]
    one.client.delete_run(first)
    one.client.delete_experiment(other.experiment)
    assert found(one) == expected


def test_records_of_former_versions_count_for_every_span_of_their_data(uri):
    store = open_store("one", uri)
    former = record_tested(store, "a", 0.9, has_key=False)
    record_tested(store, "b", 0.8, has_key=False, fingerprint="g")
    assert found(store) == found(store, LATER) == [(former, "sweep", 0.9)]


def test_errors_of_detectors_in_hindsight_are_not_compared_with_live_ones(uri):
    store = open_store("one", uri)
    former = record_test(store, "a", {"test_auc_pr": 0.9}, has_key=False)
    assert found(store) == [(former, "sweep", pytest.approx(0.1))]
    live = record_test(store, "b", {"test_auc_pr": 0.4, "test_wait_steps": 3.0})
    seen = looks.find_looks(store, "f", SPAN)
    assert [(look.run_id, math.isnan(look.error)) for look in seen] == [(former, True), (live, False)]
    assert looks.flattery_text(looks.network_errors(seen), "1 - AUC-PR") == (
        "A choice after several looks flatters by an unknown amount."
    )
    assert looks.flattery_text([0.8, 1.0, math.nan], "MASE") == (
        "If the 2 networks with known errors are equally good, the MASE of the best of them is about 12 % too low."
    )


def test_the_same_look_is_recorded_once(uri):
    store = open_store("one", uri)
    run_id = record_tested(store, "a", 0.9)
    key = looks.span_key("f", SPAN)
    for what in ("last 4 folds", "last 4 folds", "last 2 folds"):
        looks.record_look(store, run_id, name="look", purpose=looks.BACKTEST, key=key, what=what, run_id=run_id)
    assert len(found(store)) == 3


def test_the_best_of_equally_good_networks_lies_too_low_by_the_estimate():
    random = np.random.default_rng(0)
    for count in (2, 3, 5):
        errors = 1 + 0.01 * random.standard_t(4, (20_000, count))
        truth = np.mean(1 / errors.min(axis=1) - 1)
        assert np.mean([best_of_looks_bias(row) for row in errors[:4000]]) == pytest.approx(truth, rel=0.05)
    assert best_of_looks_bias([0.8, 1.0]) == pytest.approx(0.125)
    assert best_of_looks_bias([0.8, 1.0, math.nan]) == pytest.approx(0.125)
    for few in ([], [1.0], [1.0, math.nan], [0.0, 1.0]):
        assert math.isnan(best_of_looks_bias(few))
