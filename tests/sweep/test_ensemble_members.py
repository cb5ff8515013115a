"""Members of an ensemble, their weights and its record, without training."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gridcast.config import Ensemble
from gridcast.evaluation.forecast_results import Forecasts
from gridcast.evaluation.validation_measures import validation_measures
from gridcast.runtime.errors import GridcastError
from gridcast.runtime.model_files import MEMBERS_FILE, NETWORK_FILE, SETTINGS_FILE
from gridcast.sweep import ensemble
from gridcast.tracking import mlflow_runs
from gridcast.training.greedy_ensemble import GreedyEnsemble
from gridcast.training.result import TrainingResult
from small_experiments import planned, sales


def run(name, loss, mae=1.0, **metrics):
    tags = {mlflow_runs.KEY_TAG: name}
    measured = {"best_val_loss": loss, "best_val_mae": mae, **metrics}
    return SimpleNamespace(data=SimpleNamespace(tags=tags, metrics=measured), info=SimpleNamespace(run_id=name))


def test_members_are_the_best_that_are_finite_and_fewer_where_there_are_fewer():
    runs = [run("a", 3.0), run("b", 1.0), run("c", np.inf), run("d", 2.0)]
    chosen = ensemble.choose_members(Ensemble(top=2), runs, "best_val_loss", last_fold=0)
    assert [one.info.run_id for one in chosen.runs] == ["b", "d"]
    assert chosen.weights == (0.5, 0.5)
    assert len(ensemble.choose_members(Ensemble(top=9), runs, "best_val_loss", last_fold=0).runs) == 3
    assert ensemble.choose_members(Ensemble(combine="median"), runs, "best_val_loss", last_fold=0).weights is None


def test_quantile_losses_weigh_where_there_are_some_and_a_perfect_run_takes_all():
    by_loss = [run("a", 1.0, 1.0, best_val_wql=0.1), run("b", 2.0, 1.0, best_val_wql=0.3)]
    asked = Ensemble(combine="weighted")
    assert ensemble.choose_members(asked, by_loss, "best_val_loss", last_fold=0).weights == pytest.approx((0.75, 0.25))
    assert (
        ensemble.choose_members(asked, [run("a", 0.0, 0.0), run("b", 1.0)], "best_val_loss", last_fold=0).weights[0]
        > 0.999
    )


def test_the_key_distinguishes_members_and_how_they_are_combined():
    runs = [run("a", 1.0), run("b", 2.0), run("c", 3.0)]
    keys = {
        ensemble.choose_members(Ensemble(top=top, combine=combine), runs, "best_val_loss", last_fold=0).key
        for top in (2, 3)
        for combine in ("mean", "median", "weighted", "minimum")
    }
    assert len(keys) == 8


def test_the_error_of_a_run_is_the_first_that_it_has():
    def error(**metrics):
        return ensemble.validation_error(run("a", 1.0, 2.0, **metrics), "best_val_loss")

    assert error() == 2.0
    assert error(val_faults_missed=0.5) == 0.5
    assert error(val_faults_missed=0.5, val_online_faults_missed=0.3) == 0.3
    assert error(best_val_wql=0.1, val_online_faults_missed=0.3) == 0.1


@pytest.mark.parametrize(
    ("metric", "values", "higher", "weights"),
    [
        ("val_mase", (1.0, 3.0), "", (3 / 4, 1 / 4)),
        ("val_mase", (0.25, 0.5), "", (2 / 3, 1 / 3)),
        ("val_mase", (0.0, 1.0), "", (1.0, 0.0)),
        ("val_share_within_10", (80.0, 60.0), "", (2 / 3, 1 / 3)),
        ("val_hits", (0.9, 0.1), "val_hits", (0.9, 0.1)),
        # By these no run can be weighted: the MAE decides.
        ("val_hits", (3.0, 0.0), "val_hits", (2 / 3, 1 / 3)),
        ("val_bias", (-1.0, 2.0), "", (2 / 3, 1 / 3)),
    ],
)
def test_weights_follow_the_metric_of_the_selection(metric, values, higher, weights):
    runs = [run(name, 9.0, mae, **{metric: value}) for name, mae, value in zip("ab", (1.0, 2.0), values, strict=True)]
    for one in runs:
        one.data.tags[mlflow_runs.DIRECTION_TAG] = higher
    chosen = ensemble.choose_members(Ensemble(top=2, combine="weighted"), runs, metric, last_fold=0)
    assert [one.info.run_id for one in chosen.runs] == ["a", "b"]
    assert chosen.weights == pytest.approx(weights, abs=1e-6)


def test_detectors_are_weighted_by_the_faults_that_they_miss():
    found = run("a", 1.0, val_online_false_alarms_per_day=5.0, val_online_faults_missed=0.3)
    assert ensemble.validation_error(found, "val_online_false_alarms_per_day") == 0.3


def test_members_are_those_of_the_last_fold_and_weights_add_up_to_1():
    runs = [run("a", 1.0), run("b", 2.0), run("c", 3.0, 3.0), run("d", 4.0)]
    runs[0].data.tags["gridcast.fold"] = "0"
    for one in runs[1:]:
        one.data.tags["gridcast.fold"] = "1"
    chosen = ensemble.choose_members(Ensemble(top=3, combine="weighted"), runs, "best_val_loss", last_fold=1)
    assert [one.info.run_id for one in chosen.runs] == ["b", "c", "d"]
    assert chosen.weights == pytest.approx((3 / 7, 1 / 7, 3 / 7))
    assert chosen.name == "weighted mean of the 3 best runs"
    with pytest.raises(GridcastError, match="no run has a finite"):
        ensemble.choose_members(Ensemble(), runs, "best_val_loss", last_fold=2)


def packed(*settings, weights=(0.25, 0.75), combine="weighted"):
    """The files of an ensemble of members with these settings, and its own settings."""
    members = [
        {SETTINGS_FILE: json.dumps(own).encode(), NETWORK_FILE: f"network {number}".encode()}
        for number, own in enumerate(settings)
    ]
    files = ensemble.pack_members(members, weights, combine)
    return files, json.loads(files[SETTINGS_FILE])


def test_members_are_packed_in_their_order_and_the_longest_lookback_is_asked_for():
    files, settings = packed({"lookback": 7, "x": 1}, {"lookback": 30, "x": 2})
    assert settings == {"lookback": 30, "x": 2}
    names = [["member-0.json", "member-0.keras"], ["member-1.json", "member-1.keras"]]
    assert json.loads(files[MEMBERS_FILE]) == {"members": names, "weights": [0.25, 0.75]}
    assert set(files) == {MEMBERS_FILE, SETTINGS_FILE, *names[0], *names[1]}
    assert json.loads(files["member-0.json"]) == {"lookback": 7, "x": 1}
    assert (files["member-0.keras"], files["member-1.keras"]) == (b"network 0", b"network 1")
    assert packed({"lookback": 30, "x": 1}, {"lookback": 7, "x": 2})[1]["x"] == 1


@pytest.mark.parametrize(
    ("members", "whole"), [(("gaussian", "quantile"), "quantile"), (("student-t", "gaussian"), "student-t")]
)
def test_an_ensemble_draws_paths_only_where_each_member_can(members, whole):
    own = [{"lookback": 7, "quantiles": {"likelihood": name, "correction": [1], "levels": [0.5]}} for name in members]
    quantiles = {"likelihood": whole, "correction": None, "levels": [0.5]}
    assert packed(*own)[1] == {"lookback": 7, "quantiles": quantiles}


def test_a_detector_of_several_has_no_threshold_of_its_members():
    own = {"lookback": 7, "detector": {"kind": "both", "usual": [1.0], "online": [2], "threshold": 3.0}}
    detector = {"kind": "ensemble", "usual": [], "combine": "mean", "online": [], "threshold": 3.0}
    assert packed(own, own, combine="mean")[1] == {"lookback": 7, "detector": detector}


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("members"), sales(100), window={"horizon": 2})


def two_members(combine="weighted"):
    runs = [run("a", 1.0, 2.0, parameters=10, fit_seconds=1.5), run("b", 3.0, 4.0, parameters=30, fit_seconds=2.0)]
    for one in runs:
        one.data.tags["mlflow.runName"] = f"GRU {one.info.run_id}"
    return ensemble.choose_members(Ensemble(top=2, combine=combine), runs, "best_val_loss", last_fold=0)


def table_of(entry):
    return pd.read_csv(io.BytesIO(entry.artifacts[ensemble.MEMBERS_TABLE]))


def test_the_record_of_an_ensemble_has_its_own_error_and_what_its_members_cost_together(plan):
    files = packed({"lookback": 7}, {"lookback": 7})[0]
    index = plan.dataset.origins("validation", 1)
    actual = plan.dataset.targets(index)
    entry = ensemble.ensemble_entry(plan, two_members(), files, Forecasts(index, actual + 0.5))
    expected = {"best_val_loss": 2.0, "best_val_mae": pytest.approx(0.5), "parameters": 40.0, "fit_seconds": 3.5}
    assert {name: entry.metrics[name] for name in expected} == expected
    measured = validation_measures(plan.dataset, index, actual + 0.5)
    assert entry.metrics == expected | {name: pytest.approx(value) for name, value in measured.items()}
    assert dict(entry.params) == {"ensemble": "weighted", "members": 2, "lookback": 7, "horizon": 2}
    table = table_of(entry)
    assert table.columns.tolist() == ["run", "name", "weight", "validation error"]
    assert table[["run", "name", "validation error"]].to_numpy().tolist() == [["a", "GRU a", 2.0], ["b", "GRU b", 4.0]]
    assert table["weight"].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert entry.files == files
    assert len(entry.example["data"]) >= 7
    quantiles = np.stack([actual - 1, actual + 1], axis=-1)
    entry = ensemble.ensemble_entry(plan, two_members(), files, Forecasts(index, actual, (0.25, 0.75), quantiles))
    # Both ends are off by 1, by 0.25 of it each; twice their mean over the mean of the actual values.
    assert entry.metrics["best_val_wql"] == pytest.approx(0.5 / actual.mean())


def test_the_record_of_a_median_has_no_weights_and_that_of_detectors_their_own_metrics(plan):
    files, calibrated = packed({"lookback": 7}, {"lookback": 7}, weights=None)[0], {"calibrated": b""}
    result = TrainingResult({}, {"val_faults_missed": 0.2}, (), calibrated)
    entry = ensemble.ensemble_entry(plan, two_members("median"), files, result)
    assert table_of(entry)["weight"].isna().all()
    assert entry.metrics == {"best_val_loss": 2.0, "val_faults_missed": 0.2, "parameters": 40.0, "fit_seconds": 3.5}
    assert entry.files == calibrated


def test_the_record_of_a_greedy_ensemble_with_a_baseline_has_its_measures_and_no_loss(plan):
    """A baseline has neither parameters nor a loss of training."""
    files, pool = packed({"lookback": 7}, {"lookback": 7})[0], two_members("greedy")
    baseline = pool.runs[1]
    for name in ("best_val_loss", "parameters", "fit_seconds"):
        del baseline.data.metrics[name]
    entry = ensemble.ensemble_entry(plan, pool, files, GreedyEnsemble((0.5, 0.5), {"val_mase": 0.8}))
    own = pool.runs[0].data.metrics
    expected = {"val_mase": 0.8, "parameters": own["parameters"], "fit_seconds": own["fit_seconds"]}
    assert entry.metrics == expected
    assert entry.name == "greedy ensemble of 2 models"
