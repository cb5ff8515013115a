"""A sweep in which baselines may win: chosen by validation, promoted, loaded through both URIs, found again."""

import contextlib
import json

import numpy as np
import pytest
import yaml

import gridcast
from gridcast import config
from gridcast.config import read
from gridcast.evaluation import artifact_files, span_evaluation
from gridcast.monitoring import champion
from gridcast.reporting import record, report_findings
from gridcast.runtime.errors import ConfigError
from gridcast.serving.models import loading
from gridcast.sweep import plan, runner
from gridcast.sweep.candidates import CANDIDATES_FILE
from gridcast.sweep.events import SweepEvents
from gridcast.sweep.winner import find_winner
from gridcast.sweep.worker_job import WorkerSettings
from gridcast.tracking import mlflow_runs, model_loading, promotion
from gridcast.tracking.store import open_store
from gridcast.training.refit import refit_dataset
from small_experiments import experiment, readings, sales, watched, watching, write_experiment

FRAME = sales(130)


class Story:
    """Sweeps of one tiny network that has hardly been trained."""

    def __init__(self, folder, cache):
        self.folder, self.cache, self.uri = folder, cache, f"sqlite:///{folder}/mlflow.db"
        FRAME.to_csv(folder / "sales.csv", index=False)

    def start(self, name="shop", **sections):
        path = self.folder / f"{name}.yaml"
        selection = {"metric": "val_mase", "promote_to": name, "when_beaten": "warn", "contenders": "all"}
        selection |= sections.pop("selection", {})
        training = {"epochs": 1, "patience": 1}
        baselines = ["last value", "ridge"]
        sections = {"window": {"horizon": 2}, "training": training, "baselines": baselines} | sections
        write_experiment(path, str(self.folder / "sales.csv"), name=name, selection=selection, **sections)
        self.plan = plan.make_plan(read(path), path.read_text(), "jax")
        with contextlib.chdir(self.folder):
            self.store = open_store(name, self.uri)
            self.result = runner.run_sweep(self.plan, self.store, WorkerSettings(1, "jax", self.cache), SweepEvents())
        return self.result

    def promote(self):
        return promotion.promote(
            self.plan.experiment,
            self.store,
            self.result.winner,
            test_measures=self.result.test_measures,
            evaluate_champion=lambda _: {},
        )

    def candidates(self):
        content = mlflow_runs.read_artifact(self.store, self.result.sweep_id, CANDIDATES_FILE)
        return {one["name"]: one["cost"] for one in json.loads(content)}

    def verdict(self):
        kept = record.read_sweep(self.store, self.plan.experiment.name)
        return report_findings.compute_findings(kept).verdict


@pytest.fixture(scope="module")
def story(tmp_path_factory, programs, jax_backend):
    made = Story(tmp_path_factory.mktemp("contenders"), programs)
    made.start()
    return made


def test_the_candidate_with_the_lowest_validation_error_wins(story):
    costs = story.candidates()
    winner = mlflow_runs.run_name(story.result.winner)
    assert set(costs) > {"last value", "ridge", "seasonal naive", "training mean"}
    assert winner == min(costs, key=costs.get)
    assert story.result.winner.data.params["baseline"] == winner
    assert story.result.winner.data.metrics["val_mase"] == costs[winner]


def test_its_test_is_that_of_the_baseline_and_no_baseline_is_compared_with_itself(story):
    name = mlflow_runs.run_name(story.result.winner)
    key = story.result.winner.data.tags[mlflow_runs.KEY_TAG]
    tested = mlflow_runs.tested_runs(story.store, [key])[key]
    baseline = mlflow_runs.finished_runs(story.store, [story.plan.baseline_keys[name]], "baseline")
    ours, theirs = (
        artifact_files.read_parquet_bytes(
            mlflow_runs.read_artifact(story.store, run.info.run_id, artifact_files.FORECASTS)
        )
        for run in (tested, *baseline.values())
    )
    np.testing.assert_array_equal(ours["forecast"], theirs["forecast"])
    assert next(iter(story.result.test_measures)) == name
    assert f"the winner is {name}" not in story.verdict()
    assert f"{name} has the lowest validation MASE" in story.verdict()


def test_it_is_promoted_and_both_uris_answer(story):
    promoted = story.promote()
    assert not promoted.already_champion
    assert promoted.beaten_by is None
    by_run = model_loading.load_model(f"runs:/{story.result.winner.info.run_id}/model", story.uri)
    by_name = model_loading.load_model("models:/shop@champion", story.uri)
    answers = [model.predict(FRAME)["forecast"].to_numpy() for model in (by_run, by_name)]
    assert np.isfinite(answers[0]).all()
    np.testing.assert_array_equal(*answers)
    assert story.promote().already_champion


def test_a_baseline_that_is_champion_is_monitored_and_measured_on_rolling_origins(story, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", story.uri)
    monkeypatch.chdir(tmp_path)
    later = sales(150)
    findings = gridcast.monitor("models:/shop@champion", later)
    assert len(findings.live_forecasts)
    errors = findings.errors.set_index("name")
    assert np.isfinite(errors.loc["champion", ["mase", "mase_before"]].to_numpy(float)).all()
    measured = gridcast.backtest("shop", folds=2, data=later)
    assert set(measured.table["model"]) >= {"forecaster", "last value"}
    assert np.isfinite(measured.errors().to_numpy(float)).all()


def test_a_second_start_finds_the_same_winner_and_computes_nothing(story):
    before = story.result.winner.info.run_id
    again = story.start()
    assert (again.trained, again.winner_is_new, again.new_baselines) == (0, False, 0)
    assert again.winner.info.run_id == before
    finished = mlflow_runs.finished_runs(story.store, story.plan.runs)
    assert find_winner(story.plan, story.store, list(finished.values())).info.run_id == before


def test_a_greedy_ensemble_must_be_better_than_its_best_member(story):
    story.start(selection={"ensemble": {"top": 2, "combine": "greedy"}})
    combined = next(name for name in story.candidates() if name.startswith("greedy"))
    winner, costs = mlflow_runs.run_name(story.result.winner), story.candidates()
    assert winner == min(costs, key=costs.get)
    (run,) = [
        run
        for run in mlflow_runs.search_runs(story.store, f"tags.`{mlflow_runs.KIND_TAG}` = 'winner'")
        if run.data.params.get("ensemble") == "greedy"
    ]
    model = model_loading.load_model(f"runs:/{run.info.run_id}/model", story.uri)
    assert np.isfinite(model.predict(FRAME)["forecast"]).all()
    if winner != combined:
        assert f"The {combined} was not taken: its validation MASE is" in story.verdict()


def test_where_networks_alone_may_win_the_report_names_the_better_baseline(story):
    story.start(selection={"contenders": "networks"})
    assert mlflow_runs.run_name(story.result.winner).startswith("GRU-4")
    assert "On the validation span the baseline" in story.verdict()
    assert "With selection.contenders: all it would be the winner, and on the test span" in story.verdict()


@pytest.mark.parametrize("contenders", ["networks", "all"])
def test_the_winner_is_refitted_on_training_and_validation_and_that_model_is_promoted(story, contenders):
    name = f"refit-{contenders}"
    training = {"epochs": 1, "patience": 1, "refit": True}
    result = story.start(name, training=training, baselines=["ridge"], selection={"contenders": contenders})
    assert ("baseline" in result.winner.data.params) == (contenders == "all")
    (refitted,) = mlflow_runs.search_runs(story.store, f"tags.`{mlflow_runs.KIND_TAG}` = 'refit'")
    assert refitted.data.params["refit_of"] == result.winner.info.run_id
    promoted = story.promote()
    version = story.store.client.get_model_version(name, promoted.version)
    assert version.run_id == refitted.info.run_id
    # The service has its examples, and the monitor its errors, from the test of the model before.
    assert mlflow_runs.before_refit(story.store, refitted).info.run_id == result.winner.info.run_id
    loaded = model_loading.load_model(f"models:/{name}@champion", story.uri)
    examples = loading._examples(loaded.reference, story.uri, loading._example_series)
    assert [one["id"] for one in examples] == ["apple", "pear"]
    about = json.loads(mlflow_runs.read_artifact(story.store, result.sweep_id, "sweep.json"))
    watched = champion.watched_model(loaded, story.store, parent=result.sweep_id, about=about, plan=story.plan)
    assert len(watched.test_forecasts)
    before, after = (
        model_loading.load_model(uri, story.uri).predict(FRAME)["forecast"].to_numpy()
        for uri in (f"runs:/{result.winner.info.run_id}/model", f"models:/{name}@champion")
    )
    assert np.isfinite(after).all()
    assert not np.allclose(before, after)
    np.testing.assert_allclose(before, after, rtol=1)  # the same kind of model, from a fifth more windows
    assert "Trained once more, on training and validation span together, it has a MASE of" in story.verdict()
    again = story.start(name, training=training, baselines=["ridge"], selection={"contenders": contenders})
    assert (again.trained, again.winner_is_new) == (0, False)
    assert story.promote().already_champion


def test_a_refitted_dataset_trains_on_both_spans_and_scales_as_before(story):
    dataset = story.plan.dataset
    both = refit_dataset(dataset)
    lookback, spans = dataset.preprocessing.lookback, dataset.spans
    assert both.origins("train", lookback)[:, 1].max() == spans.validation - dataset.preprocessing.horizon
    assert both.preprocessing is dataset.preprocessing
    np.testing.assert_array_equal(both.origins("test", lookback), dataset.origins("test", lookback))


def test_auto_routes_series_to_baselines(story):
    baselines = ["ETS", "ridge", "seasonal naive"]
    story.start("routes", mode="auto", baselines=baselines, selection={"metric": "best_val_mae"})
    story.promote()
    files = model_loading.download_files("models:/routes/1")
    routes = json.loads(files["routes.json"])
    assert any(route["baseline"] for route in routes)
    answer = model_loading.load_model("models:/routes@champion", story.uri).predict(FRAME)
    assert np.isfinite(answer["forecast"]).all()
    assert answer["model"].unique().tolist() == list(dict.fromkeys(route["model"] for route in routes))


@pytest.fixture(scope="module")
def plant(tmp_path_factory, programs, jax_backend):
    """The sweep of a detector that has hardly been trained, beside three simple ones: plan, store and result."""
    folder = tmp_path_factory.mktemp("plant")
    selection = {
        "metric": "val_online_faults_missed",
        "promote_to": "plant",
        "when_beaten": "warn",
        "contenders": "all",
    }
    # The program is that of test_ensemble.py.
    shared = {"baseline": {"detector": "both"}, "training": {"epochs": 1, "patience": 1, "seeds": [0, 1, 2]}}
    baselines = ["z-score", "sub-window PCA", "isolation forest"]
    made = watched(folder, readings(), baselines=baselines, selection=selection, **shared)
    with contextlib.chdir(folder):
        store = open_store("watched", f"sqlite:///{folder}/mlflow.db")
        result = runner.run_sweep(made, store, WorkerSettings(1, "jax", programs), SweepEvents())
        promotion.promote(
            made.experiment, store, result.winner, test_measures=result.test_measures, evaluate_champion=lambda _: {}
        )
    return made, store, result


def test_a_simple_detector_wins_and_scores_as_its_record(plant):
    made, store, result = plant
    content = json.loads(mlflow_runs.read_artifact(store, result.sweep_id, CANDIDATES_FILE))
    best = min(content, key=lambda one: one["cost"])
    assert {one["kind"] for one in content} == {"network", "baseline"}
    assert (best["kind"], best["name"]) == ("baseline", mlflow_runs.run_name(result.winner))
    model = model_loading.load_model("models:/plant@champion", store.uri).model
    assert model.kind == best["name"]
    assert np.isfinite(model.predict(readings())["score"]).any()
    own = span_evaluation.tabulate_test_span(model, made.dataset, made.panel)
    recorded = record.read_sweep(store, "watched").detection.scores
    np.testing.assert_allclose(own["score"], recorded["score"], rtol=1e-6)
    np.testing.assert_allclose(own["threshold"], recorded["threshold"], rtol=1e-6)
    verdict = report_findings.compute_findings(record.read_sweep(store, "watched")).verdict
    assert f"{best['name']} has the lowest share of faults missed" in verdict


def test_networks_and_baselines_are_compared_by_what_both_have():
    with pytest.raises(ConfigError, match="best_val_loss is the loss of networks.*write best_val_wql"):
        experiment(task="probabilistic", transform={"scale": "mean-abs"}, selection={"contenders": "all"})
    with pytest.raises(ConfigError, match="training.refit: trains one winner again, and mode: auto has a model"):
        experiment(training={"refit": True}, mode="auto")
    with pytest.raises(ConfigError, match="write val_online_varied_faults_missed"):
        config.parse(yaml.safe_dump(watching(selection={"contenders": "all"})))
