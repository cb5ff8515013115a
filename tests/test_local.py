"""Models for single series, rolling origins, and the one forecaster made of the best: through the sweep to models:/."""

import contextlib
import io
import json

import numpy as np
import pandas as pd
import pytest

from gridcast import evaluation, plan, promotion, registry, sweep, tracking, winner
from gridcast.analysis import record, report
from gridcast.config import read
from gridcast.execution import Place
from gridcast.models import baselines
from gridcast.sweep import Events
from samples import sales, write_experiment

DAYS = 130
SHORT = "quince"
COMMON = {
    "data": {"past": ["price"], "future": ["day_of_week"]},
    "window": {"horizon": 2},
    "training": {"epochs": 4, "patience": 2},
    "grid": {"learning_rate": [0.01, 0.003]},
    "selection": {"promote_to": "shop", "when_beaten": "warn"},
}
SECTIONS = {
    "local": COMMON | {"mode": "local"},
    "auto": COMMON | {"mode": "auto", "training": {"epochs": 30, "patience": 5}, "grid": {"learning_rate": [0.03]}},
    "folds": COMMON | {"split": {"folds": 2, "horizon": 6}, "grid": {"learning_rate": [0.01, 0.003]}},
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
        self.plan = plan.make(read(self.folder / f"{self.name}.yaml"), "", "jax")
        with contextlib.chdir(self.folder):
            self.store = tracking.open_store(self.name, self.uri)
            self.result = sweep.run(self.plan, self.store, Place(1, "jax", self.cache), Events())
        return self

    def of(self, kind):
        return tracking.search(self.store, f"tags.`{tracking.KIND}` = '{kind}' and attributes.status = 'FINISHED'")

    def promote(self):
        return promotion.promote(
            self.plan.experiment, self.store, self.result.winner, self.result.tested, lambda _: {"mase": np.inf}
        )

    def loaded(self, jax_backend=None):
        return registry.load("models:/shop@champion", self.uri)

    def routes(self):
        content = tracking.artifact(self.store, self.result.winner.info.run_id, winner.TABLE)
        return pd.read_csv(io.BytesIO(content)).set_index("series")


@pytest.fixture(scope="module")
def local(tmp_path_factory, programs, jax_backend):
    return Story(tmp_path_factory.mktemp("local"), "local", programs)


@pytest.fixture(scope="module")
def auto(tmp_path_factory, programs, jax_backend):
    return Story(tmp_path_factory.mktemp("auto"), "auto", programs)


@pytest.fixture(scope="module")
def folds(tmp_path_factory, programs, jax_backend):
    return Story(tmp_path_factory.mktemp("folds"), "folds", programs, sales(DAYS))


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
        assert routes.loc[name, winner.ERROR] == pytest.approx(best.data.metrics["best_val_mae"])
    assert routes.loc[SHORT, "model"] == "seasonal naive"


def test_a_second_start_trains_records_and_tests_nothing(local):
    before = {run.info.run_id for run in tracking.search(local.store, "attributes.status = 'FINISHED'")}
    tested = local.result.tested
    assert local.start().result.trained == 0
    assert {run.info.run_id for run in tracking.search(local.store, "attributes.status = 'FINISHED'")} == before
    assert local.result.tested == tested
    assert len(local.of("test")) == 1


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
        alone = registry.load(f"runs:/{run_id}/model", local.uri).predict(table().query("product == @name"))
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
    (tested,) = local.of("test")
    tables = [
        evaluation.from_bytes(tracking.artifact(local.store, run.info.run_id, evaluation.FORECASTS))
        for run in (tested, next(run for run in local.of("baseline") if tracking.name(run) == "seasonal naive"))
    ]
    pd.testing.assert_frame_equal(*(found.drop(columns="forecast") for found in tables))
    both = [found[found["series"] == SHORT]["forecast"] for found in tables]
    assert len(both[0]) > 0
    np.testing.assert_allclose(*both, rtol=1e-4)


def test_the_report_tells_who_answers_and_compares_settings_within_series(local):
    kept = record.read(local.store, "local")
    findings = report.find(kept)
    assert findings.routes["series"].tolist() == list(local.plan.panel.series)
    assert np.isfinite(findings.routes["mase"]).all()
    assert "GRU-4" in findings.verdict
    assert f"{SHORT} could not be trained" in findings.verdict
    best = findings.leaders[findings.leaders["rank"] == 1]
    assert best["series"].tolist() == ["apple", "pear", "plum"]
    page, _ = report.write(kept, local.store, local.folder / "reports")
    assert "Who answers for which series" in page.read_text()


def test_auto_takes_for_each_series_what_has_the_lowest_error_on_validation(auto):
    material, routes = auto.plan.material, auto.routes()
    runs = {run.data.tags.get("gridcast.series"): run for run in auto.of("run")}
    assert set(runs) == {None, "apple", "pear", "plum"}
    together = tracking.history(auto.store, runs[None].info.run_id, tracking.BY_SERIES)
    task = material.baseline(7, "validation")
    for row, name in enumerate(auto.plan.panel.series):
        own = task.index[:, 0] == row
        actual = material.actual(task.index)[own]
        errors = {"all series": together[row]} if row in together else {}
        errors |= {"GRU-4": runs[name].data.metrics["best_val_mae"]} if name in runs else {}
        for rule in baselines.NAIVE:
            errors[rule] = np.abs(baselines.BASELINES[rule](task)[own] - actual).mean()
        best = min(errors, key=errors.get)
        assert routes.loc[name, "model"].startswith(best)
        assert routes.loc[name, winner.ERROR] == pytest.approx(errors[best], rel=1e-5)
    assert len(auto.of("test")) == len(auto.of("winner")) == 1


def test_auto_stores_the_network_of_all_series_once_and_promotes_it(auto):
    auto.promote()
    files = registry.files("models:/shop/1")
    routes = json.loads(files["routes.json"])
    assert {name for name in files if name.endswith(".keras")} == {r["network"] for r in routes if r["network"]}
    found = auto.loaded().predict(table())
    assert np.isfinite(found["forecast"]).all()
    assert len(found) == 8


def test_a_level_is_that_of_the_training_span(auto):
    choice = winner.Choice("pear", "training mean", 1.0)
    row = auto.plan.panel.series.index("pear")
    route = winner._route(auto.plan, row, choice, {})
    scaler = auto.plan.material.preprocessing.target_scaler
    level = scaler.inverse(route.rule(np.zeros((1, 7)), 2), np.array([row]))
    assert level.ravel().tolist() == pytest.approx([np.nanmean(auto.plan.panel.training_target[row])] * 2)


def test_each_configuration_is_trained_on_each_fold_and_judged_by_the_mean(folds):
    runs = folds.of("run")
    assert len(runs) == 4
    losses = pd.DataFrame(
        [
            (r.data.params["learning_rate"], int(r.data.tags["gridcast.fold"]), r.data.metrics["best_val_loss"])
            for r in runs
        ],
        columns=["rate", "fold", "loss"],
    )
    best = losses.groupby("rate")["loss"].mean().idxmin()
    assert folds.result.winner.data.params["learning_rate"] == best
    assert folds.result.winner.data.tags["gridcast.fold"] == "1"
    assert folds.result.winner.data.params["fold"] == "1"


def test_the_last_steps_are_the_test_span_and_met_by_the_winner_of_the_last_fold_alone(folds):
    (tested,) = folds.of("test")
    content = tracking.artifact(folds.store, tested.info.run_id, evaluation.FORECASTS)
    times = evaluation.from_bytes(content)["time"]
    assert (times.min(), times.max()) == (folds.plan.panel.times[-6], folds.plan.panel.times[-1])
    about = json.loads(tracking.artifact(folds.store, folds.result.parent, "sweep.json"))
    assert [fold["validation"][1][:10] for fold in about["folds"]] == ["2023-04-29", "2023-05-05"]
    assert len(report.find(record.read(folds.store, "folds")).configurations) == 2


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
        path = write_experiment(folder / "e.yaml", str(folder / "sales.csv"), **SECTIONS["folds"])
        return plan.make(read(path), "", "jax")

    assert late.sum() == 12
    one, other = made(frame, "one"), made(changed, "other")
    first, second = one.materials[0], other.materials[0]
    assert first.spans.train == int((pd.to_datetime("2023-04-24") - one.panel.times[0]).days)
    assert first.preprocessing.to_json() == second.preprocessing.to_json()
    np.testing.assert_array_equal(first.channels[:, : first.spans.train], second.channels[:, : first.spans.train])
    assert one.materials[1].preprocessing.to_json() != other.materials[1].preprocessing.to_json()


def test_folds_of_equal_length_forget_what_lies_before(tmp_path):
    frame = sales(DAYS)
    folder = tmp_path
    frame.loc[frame["date"] < "2023-01-08", "quantity"] = 1000.0
    frame.to_csv(folder / "sales.csv", index=False)
    sections = SECTIONS["folds"] | {"split": {"folds": 2, "horizon": 6, "expanding": False}}
    made = plan.make(read(write_experiment(folder / "e.yaml", str(folder / "sales.csv"), **sections)), "", "jax")
    scales = [
        (m.preprocessing.target_scaler.offset + m.preprocessing.target_scaler.scale).max() for m in made.materials
    ]
    assert scales[0] == 1000.0
    assert scales[1] < 100.0
