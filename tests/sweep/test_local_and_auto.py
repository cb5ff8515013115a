"""Models for single series, rolling origins, and the one forecaster made of the best: through the sweep to models:/."""

import contextlib
import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gridcast import cli
from gridcast.config import read
from gridcast.evaluation import artifact_files, backtest
from gridcast.models import baselines
from gridcast.models.baselines.dataset_task import baseline_task
from gridcast.reporting import record, report, report_findings, report_page
from gridcast.runtime.errors import ConfigError
from gridcast.sweep import plan, routing, runner
from gridcast.sweep.events import SweepEvents
from gridcast.sweep.worker_job import WorkerSettings
from gridcast.tracking import mlflow_runs, model_loading, promotion, ranking, store
from small_experiments import sales, write_experiment

DAYS = 130
SHORT = "quince"
COMMON = {
    "data": {"past": ["price"], "future": ["day_of_week"]},
    "window": {"horizon": 2},
    "training": {"epochs": 4, "patience": 2},
    "baselines": ["last value"],
    "grid": {"learning_rate": [0.01, 0.003]},
    "selection": {"promote_to": "shop", "when_beaten": "warn"},
}
SECTIONS = {
    "local": COMMON | {"mode": "local"},
    "auto": COMMON
    | {"mode": "auto", "split": {"folds": 2, "horizon": 6}, "training": {"epochs": 12, "patience": 5}, "grid": {}},
}


def table():
    """Three whole products and one that begins days before the training span ends."""
    whole = sales(DAYS, ("apple", "pear", "plum"))
    late = sales(DAYS, (SHORT,), seed=3)
    return pd.concat([whole, late[late["date"] >= "2023-04-08"]], ignore_index=True)


class Story:
    """A sweep in a folder of its own, and what MLflow holds of it."""

    def __init__(self, folder, name, cache, frame=None):
        self.folder, self.name, self.cache = folder, name, cache
        (table() if frame is None else frame).to_csv(folder / "sales.csv", index=False)
        write_experiment(folder / f"{name}.yaml", str(folder / "sales.csv"), name=name, **SECTIONS[name])
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.start()

    def start(self):
        path = self.folder / f"{self.name}.yaml"
        self.plan = plan.make_plan(read(path), path.read_text(), "jax")
        with contextlib.chdir(self.folder):
            self.store = store.open_store(self.name, self.uri)
            self.result = runner.run_sweep(self.plan, self.store, WorkerSettings(1, "jax", self.cache), SweepEvents())
        return self

    def tested(self):
        return mlflow_runs.search_runs(self.store, f"tags.`{mlflow_runs.TESTED_TAG}` like '%'")

    def of(self, kind):
        return mlflow_runs.search_runs(
            self.store, f"tags.`{mlflow_runs.KIND_TAG}` = '{kind}' and attributes.status = 'FINISHED'"
        )

    def promote(self):
        return promotion.promote(
            self.plan.experiment,
            self.store,
            self.result.winner,
            test_measures=self.result.test_measures,
            evaluate_champion=lambda _: {"mase": np.inf},
        )

    def loaded(self, jax_backend=None):
        return model_loading.load_model("models:/shop@champion", self.uri)

    def routes(self):
        content = mlflow_runs.read_artifact(self.store, self.result.winner.info.run_id, routing.ROUTES_TABLE)
        return pd.read_csv(io.BytesIO(content)).set_index("series")


@pytest.fixture(scope="module")
def local(tmp_path_factory, programs, jax_backend):
    return Story(tmp_path_factory.mktemp("local"), "local", programs)


@pytest.fixture(scope="module")
def auto(tmp_path_factory, programs, jax_backend):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(routing, "PRIOR_WINDOWS", 0)  # errors are compared as they are
        return Story(tmp_path_factory.mktemp("auto"), "auto", programs)


def test_every_series_that_is_long_enough_has_a_run_of_each_configuration(local):
    runs = local.of("run")
    assert len(runs) == 3 * 2 == len(local.plan.runs)
    counts = pd.Series([run.data.tags["gridcast.series"] for run in runs]).value_counts()
    assert counts.to_dict() == {"apple": 2, "pear": 2, "plum": 2}
    assert {run.data.params["series"] for run in runs} == {"apple", "pear", "plum"}
    assert any("1 series too short to train a model of their own" in note for note in local.plan.panel.notes)


def test_the_winner_is_the_best_run_of_each_series_and_stands_there_once(local):
    (joined,) = local.of("winner")
    assert joined.info.run_id == local.result.winner.info.run_id
    routes = local.routes()
    for name in ("apple", "pear", "plum"):
        own = [run for run in local.of("run") if run.data.tags["gridcast.series"] == name]
        best = min(own, key=lambda run: run.data.metrics["best_val_loss"])
        assert routes.loc[name, "run"] == best.info.run_id
        assert routes.loc[name, routing.ERROR_COLUMN] == pytest.approx(best.data.metrics["best_val_mae"])
    assert routes.loc[SHORT, "model"] == "seasonal naive"


def test_a_second_start_trains_records_and_tests_nothing(local):
    before = {run.info.run_id for run in mlflow_runs.search_runs(local.store, "attributes.status = 'FINISHED'")}
    tested = local.result.test_measures
    assert local.start().result.trained == 0
    assert {run.info.run_id for run in mlflow_runs.search_runs(local.store, "attributes.status = 'FINISHED'")} == before
    assert local.result.test_measures == tested
    assert len(local.tested()) == 1


def test_the_promoted_forecaster_answers_for_every_series_and_says_which_model_does(local):
    assert local.promote().version == "1"
    frame = table()
    found = local.loaded().predict(frame)
    assert list(found) == ["product", "date", "forecast", "rolled_forward", "model"]
    assert found.groupby("product").size().to_dict() == dict.fromkeys(("apple", "pear", "plum", SHORT), 2)
    models = found.drop_duplicates("product").set_index("product")["model"]
    assert models[SHORT] == "seasonal naive"
    assert models["apple"].startswith("GRU-4 b32 lr")
    history = frame[frame["product"] == SHORT]["quantity"].to_numpy()
    own = found[found["product"] == SHORT]["forecast"]
    np.testing.assert_allclose(own, history[-7:-5], rtol=1e-5)


def test_a_series_gets_the_forecast_of_its_own_run_whoever_else_is_asked_for(local):
    whole = local.loaded().predict(table())
    for name in ("pear", "plum"):
        run_id = local.routes().loc[name, "run"]
        alone = model_loading.load_model(f"runs:/{run_id}/model", local.uri).predict(table().query("product == @name"))
        routed = local.loaded().predict(table().query("product == @name"))
        np.testing.assert_allclose(routed["forecast"], alone["forecast"], rtol=1e-5)
        np.testing.assert_allclose(whole[whole["product"] == name]["forecast"], alone["forecast"], rtol=1e-5)


def test_a_short_history_is_enough_for_a_rule_that_reads_little(local):
    frame = table()
    few = frame[frame["product"] == SHORT].tail(7)
    assert len(local.loaded().predict(few)) == 2
    with pytest.raises(Exception, match="6 of the last 7 steps of history have a value"):
        local.loaded().predict(few.tail(6))


def test_the_test_span_has_the_same_windows_for_the_winner_and_the_baselines(local):
    (tested,) = local.tested()
    tables = [
        artifact_files.read_parquet_bytes(
            mlflow_runs.read_artifact(local.store, run.info.run_id, artifact_files.FORECASTS)
        )
        for run in (tested, next(run for run in local.of("baseline") if mlflow_runs.run_name(run) == "seasonal naive"))
    ]
    pd.testing.assert_frame_equal(*(found.drop(columns="forecast") for found in tables))
    both = [found[found["series"] == SHORT]["forecast"] for found in tables]
    assert len(both[0]) > 0
    np.testing.assert_allclose(*both, rtol=1e-4)


def test_the_report_tells_who_answers_and_compares_settings_within_series(local, monkeypatch):
    kept = record.read_sweep(local.store, "local")
    findings = report_findings.compute_findings(kept)
    assert findings.routes["series"].tolist() == list(local.plan.panel.series)
    assert np.isfinite(findings.routes["mase"]).all()
    assert "GRU-4" in findings.verdict
    assert f"{SHORT} could not be trained" in findings.verdict
    best = findings.leaders[findings.leaders["rank"] == 1]
    assert best["series"].tolist() == ["apple", "pear", "plum"]
    monkeypatch.setattr(report, "draw_figures", lambda *_: {})  # its pictures are those of any other sweep
    page, _ = report.write_report(kept, local.store, local.folder / "reports")
    assert "Which model forecasts which series" in page.read_text()


def test_auto_trains_each_series_and_all_together_on_each_fold(auto):
    found = [(run.data.tags.get("gridcast.series"), run.data.tags["gridcast.fold"]) for run in auto.of("run")]
    assert sorted(found, key=str) == sorted(
        [(name, fold) for name in (None, "apple", "pear", "plum", SHORT) for fold in ("0", "1")], key=str
    )
    assert {run.data.params["fold"] for run in auto.of("run")} == {"0", "1"}


def test_auto_takes_for_each_series_what_has_the_lowest_error_on_validation_over_the_folds(auto):
    routes, runs = auto.routes(), auto.of("run")
    of = {name: [run for run in runs if run.data.tags.get("gridcast.series") == name] for name in (None, *routes.index)}
    together = [
        mlflow_runs.validation_errors(auto.store, run.info.run_id, mlflow_runs.MAE_BY_SERIES) for run in of[None]
    ]
    for row, name in enumerate(auto.plan.panel.series):
        errors = {"all series": np.mean([curve[row] for curve in together])}
        errors |= {"GRU-4": np.mean([run.data.metrics["best_val_mae"] for run in of[name]])} if of[name] else {}
        for rule in baselines.NAIVE_BASELINES:
            found = []
            for dataset in auto.plan.datasets:
                task = baseline_task(dataset, 7, "validation")
                own = task.index[:, 0] == row
                error = baselines.BASELINES[rule](task).point[own] - dataset.targets(task.index)[own]
                found.append(np.abs(error).mean())
            errors[rule] = np.mean(found)
        best = min(errors, key=errors.get)
        assert routes.loc[name, "model"].startswith(best)
        assert routes.loc[name, routing.ERROR_COLUMN] == pytest.approx(errors[best], rel=1e-5)
    answering = [run for run in runs if run.info.run_id in set(routes["run"])]
    assert {run.data.tags["gridcast.fold"] for run in answering} <= {"1"}
    assert len(auto.tested()) == len(auto.of("winner")) == 1


def test_with_few_windows_the_errors_of_a_series_are_drawn_to_those_of_all():
    """Of three models the second is best on average, but in the last series the third is, by luck or not."""
    errors = np.array([[4.0, 2.0, 3.0], [40.0, 20.0, 30.0], [4.0, 2.0, 1.8]])
    scales = np.array([1.0, 10.0, 1.0])
    few, many = (routing.shrunken_errors(errors, scales, np.full(3, count)) for count in (4, 4000))
    assert few.argmin(axis=1).tolist() == [1, 1, 1]
    assert many.argmin(axis=1).tolist() == [1, 1, 2]
    np.testing.assert_allclose(few[1], few[0])  # in units of the series
    np.testing.assert_allclose(many, errors / scales[:, None], rtol=0.02)
    missing = routing.shrunken_errors(np.array([[1.0, np.nan], [2.0, 1.0]]), np.ones(2), np.full(2, 4))
    assert np.isnan(missing[0, 1])
    assert np.isfinite(missing[[0, 1, 1], [0, 0, 1]]).all()


def test_auto_stores_the_network_of_all_series_once_and_promotes_it(auto):
    auto.promote()
    files = model_loading.download_files("models:/shop/1")
    routes = json.loads(files["routes.json"])
    assert {name for name in files if name.endswith(".keras")} == {r["network"] for r in routes if r["network"]}
    found = auto.loaded().predict(table())
    assert np.isfinite(found["forecast"]).all()
    assert len(found) == 8


def test_a_level_is_that_of_the_training_span(auto):
    choice = routing.SeriesChoice("pear", "training mean", 1.0)
    row = auto.plan.panel.series.index("pear")
    route = routing._route(auto.plan, row, choice, {})
    scaler = auto.plan.dataset.preprocessing.target_scaler
    level = scaler.inverse(route.rule(np.zeros((1, 7)), 2), np.array([row]))
    assert level.ravel().tolist() == pytest.approx([np.nanmean(auto.plan.panel.training_target[row])] * 2)


def test_the_last_steps_are_the_test_span(auto):
    (tested,) = auto.tested()
    times = artifact_files.read_parquet_bytes(
        mlflow_runs.read_artifact(auto.store, tested.info.run_id, artifact_files.FORECASTS)
    )["time"]
    assert (times.min(), times.max()) == (auto.plan.panel.times[-6], auto.plan.panel.times[-1])
    about = json.loads(mlflow_runs.read_artifact(auto.store, auto.result.sweep_id, "sweep.json"))
    assert [fold["validation"][1][:10] for fold in about["folds"]] == ["2023-04-29", "2023-05-05"]
    assert about["spans"] == about["folds"][1]


def test_the_winner_has_the_best_mean_over_folds_and_is_its_run_of_the_last():
    def run(configuration, fold, loss):
        tags = {"gridcast.configuration": configuration, "gridcast.fold": str(fold), "gridcast.run_key": f"{loss}"}
        return SimpleNamespace(data=SimpleNamespace(tags=tags, metrics={"best_val_loss": loss}))

    steady = [run("steady", 0, 2.0), run("steady", 1, 3.0), run("steady", 1, 2.5)]
    lucky = [run("lucky", 0, 1.0), run("lucky", 1, 5.0), run("lucky", 1, 5.5)]
    early = [run("early", 0, 0.1)] * 3
    assert ranking.best_run([*lucky, *steady, *early], "best_val_loss", 1) is steady[2]


def test_nothing_is_fitted_beyond_the_training_span_of_a_fold(tmp_path):
    frame = sales(DAYS)
    changed = frame.copy()
    late = changed["date"] >= "2023-05-06"  # the test span
    later = changed["date"] >= "2023-04-24"  # all that comes after the training of the first fold
    changed.loc[later, ["quantity", "price"]] *= 7.0

    def made(frame, name):
        folder = tmp_path / name
        folder.mkdir()
        frame.to_csv(folder / "sales.csv", index=False)
        path = write_experiment(
            folder / "e.yaml", str(folder / "sales.csv"), **(COMMON | {"split": {"folds": 2, "horizon": 6}})
        )
        return plan.make_plan(read(path), "", "jax")

    assert late.sum() == 12
    one, other = made(frame, "one"), made(changed, "other")
    first, second = one.datasets[0], other.datasets[0]
    assert first.spans.train == int((pd.to_datetime("2023-04-24") - one.panel.times[0]).days)
    assert first.preprocessing.to_json() == second.preprocessing.to_json()
    np.testing.assert_array_equal(first.channels[:, : first.spans.train], second.channels[:, : first.spans.train])
    assert one.datasets[1].preprocessing.to_json() != other.datasets[1].preprocessing.to_json()


def test_folds_of_equal_length_forget_what_lies_before(tmp_path):
    frame = sales(DAYS)
    folder = tmp_path
    frame.loc[frame["date"] < "2023-01-08", "quantity"] = 1000.0
    frame.to_csv(folder / "sales.csv", index=False)
    sections = COMMON | {"split": {"folds": 2, "horizon": 6, "expanding": False}}
    made = plan.make_plan(read(write_experiment(folder / "e.yaml", str(folder / "sales.csv"), **sections)), "", "jax")
    scales = [(m.preprocessing.target_scaler.offset + m.preprocessing.target_scaler.scale).max() for m in made.datasets]
    assert scales[0] == 1000.0
    assert scales[1] < 100.0


def test_backtest_marks_the_folds_that_the_model_has_seen_and_leaves_them_out_of_the_means(local):
    spans = json.loads(mlflow_runs.read_artifact(local.store, local.result.sweep_id, "sweep.json"))["spans"]
    chosen = backtest.backtest_folds(local.plan.panel.times, spans, horizon=2, count=5, steps=6)
    # 104 steps of training, 13 of validation, 13 of test; the folds are the last 30 steps.
    assert [(fold.start, fold.end, fold.seen_in) for fold in chosen] == [
        (100, 106, "training"),
        (106, 112, "validation"),
        (112, 118, "validation"),
        (118, 124, ""),
        (124, 130, ""),
    ]
    local.promote()
    found = backtest.run_backtest(local.loaded().model, local.plan.dataset, local.plan.panel, lookback=7, folds=chosen)
    panel, last = local.plan.panel, found[(found["model"] == "last value") & (found["step"] == 2)].set_index("fold")
    errors = [abs(panel.target[:, at + 1] - panel.target[:, at - 1]).mean() for at in range(124, 129)]
    assert last.loc[4, "mae"] == pytest.approx(np.mean(errors))
    means = backtest.mean_errors(found)
    whole = found[(found["step"] == 0) & (found["model"] == backtest.FORECASTER_NAME)].set_index("fold")["mae"]
    assert means.loc[0, backtest.FORECASTER_NAME] == pytest.approx(whole[[3, 4]].mean())
    assert list(means.index) == [0, 1, 2]


def test_backtest_shares_out_what_the_model_has_not_seen():
    times = pd.date_range("2023-01-01", periods=100)
    spans = {"train": ["2023-01-01", "2023-03-01"], "validation": ["2023-03-02", "2023-03-21"]}  # 80 steps
    found = backtest.backtest_folds(times, spans, horizon=3, count=2, steps=None)
    assert [(fold.start, fold.end, fold.seen_in) for fold in found] == [(82, 91, ""), (91, 100, "")]
    with pytest.raises(ConfigError, match="4 folds of 2 steps do not fit; give at least the model's horizon .3."):
        backtest.backtest_folds(times, spans, horizon=3, count=4, steps=2)


@pytest.mark.parametrize(
    ("steps", "touches"), [((90, 95), True), ((82, 91), True), ((94, 100), False), ((70, 82), False)]
)
def test_a_backtest_looks_at_the_test_span_where_a_fold_has_a_step_of_it(steps, touches):
    times = pd.date_range("2023-01-01", periods=100)
    test_span = [str(times[84]), str(times[93])]
    found = backtest.touches_test_span(times, [backtest.Fold(60, 65, ""), backtest.Fold(*steps, "")], test_span)
    assert found == touches


def test_the_command_backtests_what_is_registered(local, capsys):
    local.promote()
    with contextlib.chdir(local.folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", local.uri)
        cli.app(["backtest", "shop", "--folds", "2", "--steps", "8", "-o", "errors.csv"], standalone_mode=False)
        kept = pd.read_csv("errors.csv")
    shown = capsys.readouterr().out
    assert "shop version 1 on rolling origins" in shown
    assert "in validation" in shown
    assert "Left out of the means, seen by the model in training or validation: 1 of the folds." in shown
    assert set(kept["model"]) == {backtest.FORECASTER_NAME, *baselines.NAIVE_BASELINES}
    assert "touch the test span of the model's sweep, which has now been looked at 2 times (1 sweep, 1 backtest)." in (
        " ".join(shown.split())
    )
    with contextlib.chdir(local.folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", local.uri)
        cli.app(["backtest", "shop", "--folds", "2", "--steps", "8"], standalone_mode=False)  # the same look
        cli.app(["backtest", "shop", "--folds", "1", "--steps", "8"], standalone_mode=False)
    assert re.findall(r"looked at \d times", " ".join(capsys.readouterr().out.split())) == [
        "looked at 2 times",
        "looked at 3 times",
    ]


def test_the_report_of_folds_ranks_within_each_and_names_their_dates(auto):
    kept = record.read_sweep(auto.store, "auto")
    findings = report_findings.compute_findings(kept)
    assert findings.leaders["rank"].tolist() == [1] * 10
    assert findings.leaders.loc[findings.leaders["series"] == "pear", "fold"].tolist() == [1, 0]
    page = report_page.render_page(kept, findings, {})
    assert "trained on 2023-01-02 to 2023-04-23, validated on 2023-04-24 to 2023-04-29" in page
    assert "Configurations over 4 series on 2 folds" in page
