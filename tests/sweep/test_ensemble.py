"""The best runs as one forecaster: through a sweep to models:/, and the report that says what it gains."""

import contextlib
import io
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from gridcast import cli, config
from gridcast.config import read
from gridcast.evaluation.metrics import mae
from gridcast.reporting import record, report_findings, report_page
from gridcast.runtime import loading
from gridcast.runtime.errors import ConfigError
from gridcast.sweep import candidates, ensemble, plan, runner
from gridcast.sweep.events import SweepEvents
from gridcast.sweep.worker_job import WorkerSettings
from gridcast.tracking import mlflow_runs, model_loading, promotion
from gridcast.tracking.store import open_store
from small_experiments import SMALL, experiment, readings, sales, watched, watching, write_experiment

FRAME = sales(130)
RATES = [0.02, 0.03]
GRID = [{"learning_rate": RATES}, {"lookback": [5], "layer": ["LSTM"], "learning_rate": RATES}]
"""Two programs to compile, the first that of many other tests; the best three runs are of both."""
SELECTION = {"metric": "best_val_mae", "promote_to": "both", "when_beaten": "warn"}


class Story:
    """A sweep of four runs whose file asks for an ensemble, once it is trained without one."""

    def __init__(self, folder, cache, **sections):
        self.folder, self.cache, self.sections = folder, cache, {**SMALL, "grid": GRID} | sections
        FRAME.to_csv(folder / "sales.csv", index=False)
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.results = {}

    def start(self, asked):
        path = self.folder / "both.yaml"
        chosen = SELECTION | ({"ensemble": asked} if asked else {})
        write_experiment(path, str(self.folder / "sales.csv"), name="both", selection=chosen, **self.sections)
        self.plan = plan.make_plan(read(path), path.read_text(), "jax")
        with contextlib.chdir(self.folder):
            self.store = open_store("both", self.uri)
            self.result = runner.run_sweep(self.plan, self.store, WorkerSettings(1, "jax", self.cache), SweepEvents())
        return self.result

    def tested(self):
        return mlflow_runs.search_runs(self.store, f"tags.`{mlflow_runs.TESTED_TAG}` like '%'")

    def of(self, kind):
        return mlflow_runs.search_runs(
            self.store, f"tags.`{mlflow_runs.KIND_TAG}` = '{kind}' and attributes.status = 'FINISHED'"
        )

    def members(self):
        content = mlflow_runs.read_artifact(self.store, self.result.winner.info.run_id, ensemble.MEMBERS_TABLE)
        return pd.read_csv(io.BytesIO(content))

    def alone(self, run_id, table=FRAME, **asked):
        return model_loading.load_model(f"runs:/{run_id}/model", self.uri).predict(table, **asked)


@pytest.fixture(scope="module")
def story(tmp_path_factory, programs, jax_backend):
    made = Story(tmp_path_factory.mktemp("ensemble"), programs)
    made.single = made.start(None)
    made.start({"top": 3, "combine": "weighted"})
    return made


def test_an_ensemble_asked_for_later_is_made_without_training(story):
    assert (story.single.trained, story.single.winner_is_new) == (4, True)
    assert (story.result.trained, story.result.winner_is_new, story.result.skipped) == (0, True, 4)
    assert len(story.of("winner")) == 1
    assert len(story.tested()) == 2
    again = story.start({"top": 3, "combine": "weighted"})
    assert not again.winner_is_new
    assert again.test_measures == story.result.test_measures
    assert len(story.of("winner")) == 1


def test_it_has_the_best_runs_weighted_by_one_over_their_error(story):
    ranked = sorted(story.of("run"), key=lambda run: run.data.metrics["best_val_mae"])[:3]
    members = story.members()
    assert members["run"].tolist() == [run.info.run_id for run in ranked]
    errors = np.array([run.data.metrics["best_val_mae"] for run in ranked])
    np.testing.assert_allclose(members["weight"], 1 / errors / np.sum(1 / errors))
    assert mlflow_runs.run_name(story.result.winner) == "weighted mean of the 3 best runs"


def test_its_forecasts_are_those_of_its_members_combined(story):
    members = story.members()
    each = [story.alone(run_id)["forecast"] for run_id in members["run"]]
    whole = story.alone(story.result.winner.info.run_id)
    np.testing.assert_allclose(whole["forecast"], np.tensordot(members["weight"], each, 1), rtol=1e-5)
    assert np.ptp(each, axis=0).min() > 0


def test_its_validation_error_is_its_own(story):
    dataset, members = story.plan.dataset, story.members()
    index = dataset.origins("validation", 7)
    files = [mlflow_runs.read_model_files(story.store, run_id) for run_id in members["run"]]

    each = [loading.load_from_bytes(own).forecast(dataset.channels, index, dataset.series_codes) for own in files]
    expected = mae(dataset.targets(index), np.tensordot(members["weight"], each, 1))
    assert story.result.winner.data.metrics["best_val_mae"] == pytest.approx(expected, rel=1e-5)


def test_it_is_promoted_and_found_again(story):
    made = promotion.promote(
        story.plan.experiment,
        story.store,
        story.result.winner,
        test_measures=story.result.test_measures,
        evaluate_champion=lambda _: {"mase": np.inf},
    )
    loaded = model_loading.load_model(f"models:/both/{made.version}", story.uri)
    assert len(loaded.predict(FRAME, horizon=5)) == 2 * 5
    with pytest.raises(Exception, match="of the last 7 steps"):  # the longest that any member reads
        loaded.predict(FRAME.groupby("product").tail(6))


def test_the_report_says_what_the_ensemble_gains_over_its_best_member(story):
    kept = record.read_sweep(story.store, "both")
    findings = report_findings.compute_findings(kept)
    best = min(run.data.metrics["best_val_mae"] for run in story.of("run"))
    assert f"The winner is the {mlflow_runs.run_name(story.result.winner)}" in findings.verdict
    assert f"that of the best run alone ({best:.4g}; not tested)" in findings.verdict
    assert str(kept.best["name"]) in findings.sentences[0]
    page = report_page.render_page(kept, findings, {})
    assert f"runs:/{story.result.winner.info.run_id}/model" in page
    assert "mlflow.keras.load_model" not in page


@pytest.mark.slow
def test_quantiles_are_combined_level_by_level(tmp_path, programs, jax_backend, monkeypatch):
    monkeypatch.setattr(candidates, "is_better", lambda *_: True)  # whether it is better is not the question
    probabilistic = {
        "task": "probabilistic",
        "transform": {"scale": "mean-abs"},
        "probabilistic": {"quantiles": [0.1, 0.5, 0.9], "paths": 60},
        "grid": {"learning_rate": [0.01, 0.003]},
        "training": {"epochs": 2, "patience": 2, "steps": 5},
    }
    made = Story(tmp_path, programs, **probabilistic)
    made.start({"top": 2, "combine": "median"})
    levels = ["q0.1", "q0.5", "q0.9"]
    each = [made.alone(run.info.run_id)[levels].to_numpy() for run in made.of("run")]
    whole = made.alone(made.result.winner.info.run_id)
    np.testing.assert_allclose(whole[levels], np.median(each, axis=0), rtol=1e-5)
    asked = made.alone(made.result.winner.info.run_id, horizon=3, quantiles=(0.25,))
    assert list(asked) == ["product", "date", "forecast", "q0.25", "rolled_forward"]
    assert made.result.winner.data.metrics["best_val_wql"] > 0


def test_networks_of_single_series_are_not_combined():
    with pytest.raises(ConfigError, match="selection.ensemble: combines networks of all series, and mode: local"):
        experiment(mode="local", selection={"ensemble": {"top": 3}})


def test_one_run_alone_is_no_ensemble():
    with pytest.raises(ConfigError, match="selection.ensemble.top: must be greater than or equal to 2"):
        experiment(selection={"ensemble": {"top": 1}})


@pytest.fixture(scope="module")
def watchers(tmp_path_factory, programs, jax_backend):
    """A function from how the best two of three detectors, trained once, are combined to plan, store and champion."""
    folder = tmp_path_factory.mktemp("watchers")
    store = None

    def combined(combine):
        nonlocal store
        asked = {"ensemble": {"top": 2, "combine": combine}, "promote_to": combine}
        # Three lanes, as in test_anomaly_sweep.py: the program is the same.
        training = {"epochs": 2, "patience": 2, "seeds": [0, 1, 2]}
        selection = {"metric": "val_faults_missed", "when_beaten": "warn", **asked}
        sections = {"baseline": {"detector": "both"}, "training": training, "selection": selection}
        made = watched(folder, readings(), baselines=["z-score"], **sections)
        with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
            patch.setattr(candidates, "is_better", lambda *_: True)  # whether it is better is not the question
            store = store or open_store("watched", f"sqlite:///{folder}/mlflow.db")
            result = runner.run_sweep(made, store, WorkerSettings(1, "jax", programs), SweepEvents())
            promotion.promote(
                made.experiment,
                store,
                result.winner,
                test_measures=result.test_measures,
                evaluate_champion=lambda _: {},
            )
        assert mlflow_runs.run_name(result.winner) == f"{combine} of the 2 best runs"
        return made, store, model_loading.load_model(combine, store.uri).model

    return combined


@pytest.mark.usefixtures("one_batch_size")
def test_detectors_are_combined_with_a_threshold_of_their_own_and_served(watchers):
    from gridcast.evaluation.thresholds import fit_threshold
    from gridcast.serving.models import loading as served_loading

    made, store, own = watchers("mean")
    (whole,) = served_loading.load([model_loading.find_model("mean", store.uri)], store.uri)
    assert [one.kind for one in (own, *own.members)] == ["ensemble", "both", "both"]
    said = own.predict(readings())
    known = said["score"].to_numpy()[: made.dataset.spans.validation]
    assert own.threshold == pytest.approx(fit_threshold(known, own.rule, own.level), rel=0.02)
    np.testing.assert_allclose(whole.model.predict(readings())["score"], said["score"], rtol=1e-4)
    assert whole.examples
    kept = record.read_sweep(store, "watched")
    findings = report_findings.compute_findings(kept)
    assert "The winner is the mean of the 2 best runs: its share of faults missed is" in findings.verdict
    assert "At a score of 1 the members of the ensemble, taken together, raise an alarm" in report_page.render_page(
        kept, findings, {}
    )


def test_the_minimum_of_detectors_raises_an_alarm_where_each_of_them_does(watchers, monkeypatch, capsys, tmp_path):
    _, store, own = watchers("minimum")
    frame = readings()
    said, each = own.predict(frame), [member.predict(frame) for member in own.members]
    assert own.threshold == 1.0
    ratios = [one["score"] / one["threshold"] for one in each]
    np.testing.assert_allclose(said["score"], np.minimum(*ratios), rtol=1e-5)
    assert (said["anomaly"] == (each[0]["anomaly"] & each[1]["anomaly"])).all()
    assert said["anomaly"].any()
    verdict = report_findings.compute_findings(record.read_sweep(store, "watched")).verdict
    assert "It raises an alarm where each of them does: fewer are false, and more faults may be missed." in verdict
    assert "each of its members scores above its own threshold, mean-std" in verdict


def test_recalibration_gives_the_members_of_a_minimum_new_thresholds(watchers, monkeypatch, capsys, tmp_path):
    _, store, own = watchers("minimum")
    frame = readings(seed=1).iloc[:400]
    frame.to_csv(tmp_path / "normal.csv", index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    monkeypatch.setattr(sys, "argv", ["gridcast", "recalibrate", "minimum", "normal.csv", "--max-false-alarms", "0.1"])
    with contextlib.suppress(SystemExit):
        cli.main()
    assert "thresholds of its members" in " ".join(capsys.readouterr().out.split())
    new = model_loading.load_model("minimum", store.uri).model
    assert new.threshold == 1.0
    for before, after in zip(own.members, new.members, strict=True):
        scores = before.predict(frame)["score"].dropna().to_numpy()
        fitted = scores[: len(scores) * 2 // 3]
        assert after.threshold == pytest.approx(fitted.mean() + 3 * fitted.std(), rel=1e-3)
        assert [one.wait for one in after.online] == [one.wait for one in before.online]
        assert after.online != before.online


def test_scores_of_detectors_have_no_median():
    message = r"selection.ensemble.combine: median is not supported with task: anomaly \(scores are combined by their"
    with pytest.raises(ConfigError, match=message):
        config.parse(yaml.safe_dump(watching(selection={"ensemble": {"top": 2, "combine": "median"}})))


def test_forecasts_have_no_minimum():
    with pytest.raises(ConfigError, match="selection.ensemble.combine: minimum is not supported with task: f"):
        experiment(selection={"ensemble": {"top": 2, "combine": "minimum"}})
