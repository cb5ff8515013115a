"""A small grid of detectors, from a table of sensors to a champion that tells anomalies, and the report on it."""

import contextlib
import io
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gridcast.config.grid import Run
from gridcast.evaluation import detection_metrics, detection_results, span_evaluation, thresholds
from gridcast.reporting import record, report
from gridcast.runtime import loading
from gridcast.runtime.errors import PromotionRefused
from gridcast.runtime.model_files import SETTINGS_FILE
from gridcast.sweep import runner
from gridcast.sweep.events import SweepEvents
from gridcast.sweep.plan import Plan
from gridcast.sweep.session import SweepSession
from gridcast.sweep.sweep_result import SweepResult
from gridcast.sweep.worker_job import WorkerSettings
from gridcast.tracking import mlflow_runs, model_loading, promotion
from gridcast.tracking.store import Store, open_store
from gridcast.training import calibration
from small_experiments import readings, watched, with_training

pytestmark = [pytest.mark.usefixtures("jax_backend"), pytest.mark.xdist_group("anomaly")]

FRAME = readings()
SECTIONS: dict[str, Any] = {
    "grid": {"learning_rate": [0.02, 0.015]},
    "baselines": ["z-score", "PCA"],
    "baseline": {"detector": "both"},
    "training": {"epochs": 12, "patience": 12},
    "selection": {"metric": "val_online_faults_missed", "promote_to": "watched", "when_beaten": "warn"},
}


@dataclass
class Story:
    """A sweep that is over."""

    plan: Plan
    store: Store
    result: SweepResult
    counted: list[str]

    def tested(self):
        return mlflow_runs.search_runs(self.store, f"tags.`{mlflow_runs.TESTED_TAG}` like '%'")

    @property
    def winner_name(self):
        return mlflow_runs.run_name(self.result.winner)

    def of(self, kind):
        condition = f"tags.`{mlflow_runs.KIND_TAG}` = '{kind}' and attributes.status = 'FINISHED'"
        return mlflow_runs.search_runs(self.store, condition)


class Counts(SweepEvents):
    """Names of the runs that a person sees counted."""

    def __init__(self):
        self.names = []

    def finished(self, name, cost, metrics):
        self.names += [] if metrics is None else [name]


@pytest.fixture(scope="module")
def story(tmp_path_factory, programs):
    folder, counts = tmp_path_factory.mktemp("anomaly"), Counts()
    plan = watched(folder, FRAME, **SECTIONS)
    with contextlib.chdir(folder):
        store = open_store("watched", f"sqlite:///{folder}/mlflow.db")
        result = runner.run_sweep(plan, store, WorkerSettings(1, "jax", programs), counts)
    return Story(plan, store, result, counts.names)


@pytest.fixture(scope="module")
def champion(story):
    experiment, result = story.plan.experiment, story.result
    made = promotion.promote(
        experiment, story.store, result.winner, test_measures=result.test_measures, evaluate_champion=lambda _: {}
    )
    return model_loading.load_model("models:/watched@champion", story.store.uri), made


def test_every_run_is_recorded_with_its_threshold_and_its_false_alarms(story):
    runs = story.of("run")
    assert len(runs) == story.result.trained == 2
    for run in runs:
        assert (run.data.params["detector"], run.data.params["latent"]) == ("both", "2")
        assert (run.data.params["threshold"], run.data.params["least"]) == ("mean-std", "1")
        assert run.data.metrics["threshold"] > 0
        assert run.data.metrics["val_false_alarms_per_day"] >= 0
        assert 0 < run.data.metrics["val_faults_missed"] < 0.9
        assert 0 < run.data.metrics["val_online_faults_missed"] < 1
        assert run.data.metrics["online_threshold"] not in (0, run.data.metrics["threshold"])
        assert run.data.metrics["best_val_loss"] == min(
            mlflow_runs.metric_history(story.store, run.info.run_id, "val_loss").values()
        )


def test_the_own_settings_are_trained_beside_the_runs_that_are_counted(story):
    assert sorted(story.counted) == sorted(map(story.plan.run_name, story.plan.runs.values()))
    assert "own settings" in story.result.test_measures


def test_the_threshold_is_that_of_the_scores_of_all_before_the_test(story, champion):
    own, dataset = champion[0].model, story.plan.dataset
    scores = own.contributions(dataset.channels[0, : dataset.spans.validation]).mean(axis=1)
    assert own.threshold == pytest.approx(thresholds.fit_threshold(scores, "mean-std", 3.0), rel=1e-5)
    assert [one.wait for one in own.online] == [0, 3]
    for one in own.online:
        (online,) = own.contributions_after(dataset.channels[0, : dataset.spans.validation], (one.wait,))
        fitted = thresholds.fit_threshold(online.mean(axis=1), "mean-std", 3.0)
        assert own.threshold_after(one.wait).threshold == one.threshold == pytest.approx(fitted, rel=1e-5)


def test_the_winner_and_the_baselines_met_the_test_span_once(story):
    assert len(story.tested()) == 1
    assert sorted(map(mlflow_runs.run_name, story.of("baseline"))) == ["PCA", "own settings", "z-score"]
    for measures in story.result.test_measures.values():
        assert 0 < measures["auc_pr"] <= 1
        assert measures["alarms_per_day"] >= measures["false_alarms_per_day"]
        assert {"wait_steps", "at_once_auc_pr", "hindsight_auc_pr"} <= measures.keys()
    assert {name: measures["wait_steps"] for name, measures in story.result.test_measures.items()} == {
        story.winner_name: 3,
        "own settings": 3,
        "PCA": 3,
        "z-score": 0,
    }


def test_the_champion_tells_of_the_heat_and_of_little_else(champion):
    answer = champion[0].predict(FRAME)
    found = answer[answer["anomaly"]]
    within = found["time"].between(pd.Timestamp("2024-01-01 06:40"), pd.Timestamp("2024-01-01 06:59"))
    assert within.sum() == 20
    assert (found[within][["flow", "heat"]].idxmax(axis=1) == "heat").mean() > 0.5
    assert answer[answer["time"] < pd.Timestamp("2024-01-01 06:00")]["anomaly"].mean() < 0.05


def test_the_champion_opens_by_the_doors_of_mlflow(story, champion):
    import mlflow

    uri = f"models:/watched/{champion[1].version}"
    mlflow.set_tracking_uri(story.store.uri)
    found = mlflow.pyfunc.load_model(uri).predict(FRAME.assign(draught=1.0))
    pd.testing.assert_frame_equal(found, champion[0].predict(FRAME))
    network = mlflow.keras.load_model(uri)
    assert [tensor.shape for tensor in network.inputs] == [(None, 6, 2)]


def test_nothing_that_is_fitted_knows_labels_or_the_test_span(story, tmp_path):
    """Other labels, and other readings in the test span: the same weights and the same threshold, to the bit."""
    from gridcast.training import fused_fit

    first = story.plan.dataset.spans.validation
    other = FRAME.copy()
    other["anomaly"] = np.arange(len(other)) % 7 == 0
    other.loc[first:, "heat"] += 50
    plan = watched(tmp_path, other.astype({"anomaly": int}), **SECTIONS)
    assert "are learnt as if normal" in plan.panel.notes[-1]
    runs = story.plan.runs
    key = next(iter(runs))
    known = mlflow_runs.finished_runs(story.store, [key])[key]
    files = mlflow_runs.read_model_files(story.store, known.info.run_id)
    again, _ = fused_fit.train(plan.dataset, list(runs.values()), state_paths=[None, None], siblings=2)
    assert again.files[SETTINGS_FILE] == files[SETTINGS_FILE]  # the threshold
    for one, other in zip(
        *(loading.load_from_bytes(own).network.get_weights() for own in (files, again.files)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert again.metrics["val_faults_missed"] == known.data.metrics["val_faults_missed"]
    for name in ("z-score", "PCA", "isolation forest"):
        limits = (
            calibration.simple_detector_scores(name, one).online.thresholds
            for one in (plan.dataset, story.plan.dataset)
        )
        np.testing.assert_allclose(*limits)


def test_a_conformal_threshold_is_that_of_the_validation_span(story):
    dataset = story.plan.dataset
    anomaly = dataset.anomaly.model_copy(update={"threshold": "conformal", "level": 0.05})
    found = calibration.simple_detector_scores("z-score", replace(dataset, anomaly=anomaly))
    start, end = dataset.spans["validation"]
    training, values = dataset.channels[0, :start], dataset.channels[0, start:end]
    away = (values - np.nanmean(training, axis=0)) / np.nanstd(training, axis=0)
    scores = np.sort((away**2).mean(axis=1))
    assert found.online.thresholds == pytest.approx(scores[int(np.ceil((len(scores) + 1) * 0.95)) - 1])


def test_a_running_threshold_knows_of_the_test_span_what_lies_before_a_step_alone(story, champion, tmp_path):
    """Other labels, and other readings from a step on: up to that step each threshold is what it was."""
    own, (start, end) = champion[0].model, story.plan.dataset.spans["test"]
    changed = (start + end) // 2
    other = FRAME.copy()
    other.loc[changed:, "heat"] += 50
    other["anomaly"] = 1 - other["anomaly"]
    plans = story.plan, watched(tmp_path, other, **SECTIONS)
    rule = story.plan.dataset.anomaly.model_copy(update={"threshold": "running"})
    for detect in (
        lambda dataset: calibration.simple_detector_scores("z-score", dataset),
        lambda dataset: detection_results.detector_scores(
            calibration.calibrate_threshold(dataset, replace(own, rule="running"))[1], dataset
        ),
    ):
        expected, found = (detect(replace(plan.dataset, anomaly=rule)).hindsight.thresholds for plan in plans)
        before = changed - start - own.lookback  # a window reaches so far past a step
        np.testing.assert_array_equal(found[:before], expected[:before])
        assert (found[changed - start + own.lookback :] > expected[changed - start + own.lookback :]).all()
        assert expected.min() < expected.max()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "scaling"), [("both", "none"), ("both", "standard"), ("prediction", "none")])
def test_both_engines_train_alike(story, kind, scaling):
    from gridcast.training import fused_fit, keras_fit

    dataset = with_training(story.plan.dataset, epochs=3)
    asked = {"detector": kind, "scaling": scaling, "dropout": 0.2}
    own = Run(story.plan.reference_run.configuration.model_copy(update=asked), 0)
    alone, (together,) = keras_fit.train(dataset, own), fused_fit.train(dataset, [own], state_paths=[None], siblings=1)
    for name, curve in alone.curves.items():
        np.testing.assert_allclose(together.curves[name], curve, rtol=1e-4, atol=1e-5)
    assert together.metrics["threshold"] == pytest.approx(alone.metrics["threshold"], rel=1e-3)
    assert dict(together.origin_losses) == pytest.approx(dict(alone.origin_losses), rel=1e-3, abs=1e-4)
    assert all(step % 6 == 0 for step in dict(alone.origin_losses))


def test_a_winner_that_a_baseline_beats_is_refused(story, champion):
    chosen = story.plan.experiment.selection.model_copy(update={"when_beaten": "refuse", "promote_to": "strict"})
    strict = story.plan.experiment.model_copy(update={"selection": chosen})
    first, *rest = story.result.test_measures
    worse = {first: {"auc_pr": 0.3}} | {name: {"auc_pr": 0.6 if name == "PCA" else 0.2} for name in rest}
    with pytest.raises(PromotionRefused, match=r"1 - AUC-PR 0.7 on the test span does not beat PCA \(0.4\)"):
        promotion.promote(strict, story.store, story.result.winner, test_measures=worse, evaluate_champion=lambda _: {})
    kept = story.plan.experiment.model_copy(update={"selection": chosen.model_copy(update={"when_beaten": "warn"})})
    made = promotion.promote(
        kept, story.store, story.result.winner, test_measures=worse, evaluate_champion=lambda _: {}
    )
    assert made.beaten_by == "PCA"


def test_without_labels_it_is_promoted_and_the_card_says_that_nobody_can_tell(story):
    chosen = story.plan.experiment.selection.model_copy(update={"when_beaten": "refuse", "promote_to": "untold"})
    strict = story.plan.experiment.model_copy(update={"selection": chosen})
    untold = {name: {"alarms_per_day": 1.0} for name in story.result.test_measures}
    made = promotion.promote(
        strict, story.store, story.result.winner, test_measures=untold, evaluate_champion=lambda _: {}
    )
    card = story.store.client.get_model_version("untold", made.version).description
    assert made.beaten_by is None
    assert "it is unknown whether this model beats the baselines" in card
    assert "Flags anomalous steps, from windows of 6 steps" in card


def test_another_detector_is_measured_on_the_same_span(story, champion):

    winner = story.result.winner
    files = mlflow_runs.read_model_files(story.store, winner.info.run_id)
    plan = story.plan
    table = span_evaluation.tabulate_test_span(loading.load_from_bytes(files), plan.dataset, plan.panel)
    found = detection_metrics.auc_pr(table["score"].to_numpy(), table["labelled"].to_numpy())
    assert found == pytest.approx(next(iter(story.result.test_measures.values()))["auc_pr"])


@pytest.fixture(scope="module")
def page(story, champion, tmp_path_factory):
    found = record.read_sweep(story.store, "watched")
    path, findings = report.write_report(found, story.store, tmp_path_factory.mktemp("reports"))
    return path, path.read_text(), findings


def test_the_report_tells_what_was_found_and_what_it_is_worth(page, story):
    _, text, findings = page
    found = findings.anomalies
    names = [*story.result.test_measures]
    assert found.measures["name"].iloc[0] == names[0]
    assert set(found.measures["name"]) == set(names)
    for name in names:
        assert f"<td>{name}</td>" in text
    assert "On unseen data, scored live, 3 steps after each step, it found every labelled event" in findings.verdict
    assert found.wait == 3
    assert "in hindsight, where windows that lie ahead count too" in findings.verdict
    right = found.alarms[found.alarms["right"].astype(bool)]
    assert right["start"].min() <= pd.Timestamp("2024-01-01 06:40")
    assert right["blame"].iloc[0].startswith("heat (")
    assert "2024-01-01 06:" in text
    assert not len(found.missed)
    assert "Look first at 2024-01-01 06:" in text
    assert "A typical step has a score of 1. Each detector is scored as <code>gridcast detect</code> scores" in text
    assert "<th>AUC-PR in hindsight</th>" in text


def test_the_report_has_its_pictures_and_those_of_the_grid(page):
    path, text, _ = page
    drawn = {file.stem for file in path.parent.glob("*.png")}
    assert {"scores", "contributions", "detectors", "grid_search_analysis"} <= drawn
    assert not drawn & {"model_comparison", "best_model_evaluation", "fan_charts"}
    assert re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=.?https?:", text) == []  # all of it is in the page
    for name in ("scores", "contributions", "detectors"):
        assert f'id="{name}"' in text


def test_the_workbook_has_the_events(page):
    book = pd.read_excel(io.BytesIO((page[0].parent / "leaderboard.xlsx").read_bytes()), sheet_name=None)
    assert len(book["events"]) == len(page[2].anomalies.alarms)
    assert "auc_pr" in book["detectors"]


def test_without_labels_the_report_says_so(story):
    from gridcast.reporting import anomaly_chapter, anomaly_plots

    found = record.read_sweep(story.store, "watched")
    bare = {name: {"alarms_per_day": 2.0, "alarms": 1.0} for name in found.detection.measures}
    scores = found.detection.scores.drop(columns="labelled")
    detection = replace(found.detection, scores=scores, measures=bare)
    chapter = anomaly_chapter.build_chapter(replace(found, detection=detection))
    assert not chapter.labelled
    assert "it is not known" in chapter.bottom_line
    assert "no step there is labelled" in chapter.sentences[0]
    assert list(anomaly_plots.draw_figures(chapter)) == ["scores", "contributions"]


def test_the_report_tells_where_a_running_threshold_starts_and_where_it_ends(story):
    from gridcast.reporting import anomaly_chapter, anomaly_plots

    found = record.read_sweep(story.store, "watched")
    about = found.about | {"anomaly": found.about["anomaly"] | {"threshold": "running", "level": 2.0}}
    scores = found.detection.scores
    scores = scores.assign(threshold=np.geomspace(4, 8, len(scores)))
    detection = replace(found.detection, scores=scores)
    chapter = anomaly_chapter.build_chapter(replace(found, about=about, detection=detection))
    sentence = "running at level 2, recomputed at each step from all scores before it: 4 at the start of the test span"
    assert f"{sentence}, 8 at its end" in chapter.sentences[-1]
    (line,) = (
        one for one in anomaly_plots.draw_figures(chapter)["scores"].axes[0].lines if one.get_label() == "threshold"
    )
    np.testing.assert_allclose(line.get_ydata(), scores["threshold"])


@pytest.fixture(scope="module")
def promising(story, tmp_path_factory, programs):
    """The same sweep with a promise of few false alarms, in the store of the first: its plan, result, and its tasks."""
    folder, tasks = tmp_path_factory.mktemp("promise"), []
    plan = watched(folder, FRAME, **SECTIONS, anomaly={"false_alarms": "1 per week"})

    def execute(session, asked, *others):
        tasks.extend(asked)
        return SweepSession.execute(session, asked, *others)

    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "SweepSession", type("CountingSession", (SweepSession,), {"execute": execute}))
        result = runner.run_sweep(plan, story.store, WorkerSettings(1, "jax", programs), SweepEvents())
    return replace(story, plan=plan, result=result), tasks


def test_another_threshold_trains_no_epoch(story, promising):
    changed, tasks = promising
    assert [task.name for task in tasks if task.is_training] == []
    assert changed.result.trained == 0
    former = mlflow_runs.finished_runs(story.store, story.plan.runs)
    runs = mlflow_runs.finished_runs(story.store, changed.plan.runs)
    assert len(runs) == 2
    for key, run in runs.items():
        (same,) = [other for name, other in former.items() if story.plan.runs[name] == changed.plan.runs[key]]
        assert run.data.tags["gridcast.recalibrated_from"] == same.info.run_id
        assert run.data.params["false_alarms"] == "1 per week"
        assert run.data.metrics["best_val_loss"] == same.data.metrics["best_val_loss"]
        assert run.data.metrics["online_threshold"] > same.data.metrics["online_threshold"]
        curves = [mlflow_runs.metric_history(story.store, one.info.run_id, "val_loss") for one in (run, same)]
        assert len(curves[0]) == 12
        assert curves[0] == curves[1]


def test_the_champion_gets_the_threshold_that_the_file_promises(story, champion, promising):
    changed, _ = promising
    made = promotion.promote(
        changed.plan.experiment,
        story.store,
        changed.result.winner,
        test_measures=changed.result.test_measures,
        evaluate_champion=lambda _: span_evaluation.tabulate_test_span(
            champion[0].model, story.plan.dataset, story.plan.panel
        ),
    )
    assert (made.version, made.previous) == ("2", "1")


def test_the_promise_is_in_the_model_and_the_verdict(story, promising, tmp_path):
    changed, _ = promising
    detector = loading.load_from_bytes(mlflow_runs.read_model_files(story.store, changed.result.winner.info.run_id))
    assert detector.promise == pytest.approx(1 / 7 / 1440)
    assert (detector.least, detector.gap) == (1, 6)
    path, findings = report.write_report(record.read_sweep(story.store, "watched"), story.store, tmp_path)
    assert "cannot show that: " in findings.verdict
    assert path.is_file()


def test_runs_that_another_metric_ranked_get_the_one_of_varied_faults(promising, tmp_path, programs):
    selection = SECTIONS["selection"] | {"metric": "val_online_varied_faults_missed"}
    changed, _ = promising
    sections = SECTIONS | {"selection": selection, "anomaly": {"false_alarms": "1 per week"}}
    with contextlib.chdir(tmp_path):
        plan = watched(tmp_path, FRAME, **sections)
        assert plan.runs.keys() == changed.plan.runs.keys()
        result = runner.run_sweep(plan, changed.store, WorkerSettings(1, "jax", programs), SweepEvents())
    assert result.trained == 0
    for run in mlflow_runs.finished_runs(changed.store, plan.runs).values():
        assert 0 < run.data.metrics["val_online_varied_faults_missed"] < 1
