"""Gates, aliases, roll back and loading, against a real MLflow store with real small networks."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import warm_python
import yaml
from killed_client import Killed, KilledClient

from gridcast import cli, config
from gridcast.api import folders
from gridcast.data import prediction_files
from gridcast.evaluation import artifact_files, forecast_results, forecast_table, span_evaluation
from gridcast.models import baselines
from gridcast.models.baselines import NAIVE_BASELINES
from gridcast.models.baselines.dataset_task import baseline_task
from gridcast.monitoring import recalibration
from gridcast.monitoring.new_threshold import NewThreshold
from gridcast.runtime import loading
from gridcast.runtime.errors import ChampionChanged, ConfigError, GridcastError, PromotionRefused, TrackingError
from gridcast.sweep import records
from gridcast.sweep.plan import Plan, configuration_name, make_plan
from gridcast.tracking import champion_change, looks, mlflow_runs, model_loading, promotion, registry, run_recording
from gridcast.tracking.promotion_case import EvaluateForecaster
from gridcast.tracking.registry import BEATEN_BY_TAG, CHAMPION, FORCED_TAG, PREVIOUS
from gridcast.tracking.run_recording import RunEntry
from gridcast.tracking.store import Store, open_store
from small_experiments import settings

pytestmark = [
    pytest.mark.xdist_group("registry"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),  # MLflow's own imports
]

GOOD, FAIR, BAD = 0.05, 0.005, 1e-6
"""Learning rates: in a few epochs the network learns much, something, nothing."""


@dataclass(frozen=True)
class Shop:
    """A store with one plan and its three networks, recorded as a sweep does; `files` by learning rate."""

    folder: Path
    store: Store
    plan: Plan
    files: dict[float, dict[str, bytes]]
    runs: dict[float, Any]

    @property
    def client(self) -> Any:
        return self.store.client

    def promote(self, rate: float, name: str, *, force: str | None = None, **selection: Any) -> registry.Promotion:
        """Promote a recorded network; the champion must be judged by its record."""
        return promote(self.store, self.plan, self.runs[rate], name, unneeded, force, **selection)


def unneeded(_: dict[str, bytes]) -> pd.DataFrame:
    raise AssertionError("the champion's record on these very data was there")


def promote(
    store: Store,
    planned: Plan,
    run: Any,
    name: str,
    evaluate: EvaluateForecaster,
    force: str | None = None,
    if_not_worse: bool = False,
    **selection: Any,
) -> registry.Promotion:
    section = planned.experiment.selection.model_copy(update={"promote_to": name, **selection})
    experiment = planned.experiment.model_copy(update={"selection": section})
    tested = promotion.recorded_test_measures(store, run, planned.baseline_keys)
    return promotion.promote(
        experiment,
        store,
        run,
        test_measures=tested,
        evaluate_champion=evaluate,
        force=force,
        if_not_worse=if_not_worse,
    )


def prices(folder: Path, days: int) -> Path:
    """A CSV of two products that jump from side to side: last values are bad forecasts, a network learns the jumps."""
    random = np.random.default_rng(0)
    tables = []
    for product in ("01", "02"):
        values = 1.5 * (-1) ** np.arange(days) + random.normal(0, 0.2, days)
        dates = pd.date_range("2023-01-02", periods=days).strftime("%Y-%m-%d")
        tables.append(pd.DataFrame({"date": dates, "product": product, "quantity": np.round(20 + values, 3)}))
    path = folder / f"jumps-{days}.csv"
    pd.concat(tables).to_csv(path, index=False)
    return path


def planned(folder: Path, days: int, name: str = "jumps", **sections: Any) -> Plan:
    sections = {
        "name": name,
        "window": {"lookback": 3, "horizon": 1},
        "split": {"train": 0.6, "validation": 0.1, "test": 0.3},
        "baseline": {"dropout": 0.0, "units": 8, "batch_size": 8},
        "grid": {"learning_rate": [GOOD, FAIR, BAD]},
        "training": {"epochs": 4, "patience": 4},
        "selection": {"metric": "best_val_loss"},
        **sections,
    }
    text = yaml.safe_dump(settings(str(prices(folder, days)), **sections), sort_keys=False)
    return make_plan(config.parse(text), text, "jax")


def record(
    store: Store, planned: Plan, rate: float, files: dict[str, bytes], key: str | None = None, **metrics: float
) -> Any:
    """Write a run, its test, the naive baselines and their parent as a sweep does; `metrics` replace true ones."""
    from gridcast.evaluation import span_evaluation

    parent = mlflow_runs.open_sweep(store, records.sweep_entry(planned))
    known, run = next(item for item in planned.runs.items() if item[1].configuration.learning_rate == rate)
    key = key or known
    tags = {mlflow_runs.FINGERPRINT_TAG: planned.fingerprint}
    configuration = json.dumps(run.configuration.model_dump(), sort_keys=True)
    run_id = run_recording.record_run(
        store,
        parent,
        RunEntry(
            configuration_name(run.configuration),
            kind="run",
            key=key,
            tags=tags | {mlflow_runs.SEED_TAG: "0", mlflow_runs.CONFIGURATION_TAG: configuration},
            params=planned.run_params(run),
            metrics={"best_val_loss": rate, "best_val_mae": 1.0, **_of_run(metrics)},
            files=files,
            backend="jax",
        ),
    )

    def tested(
        name: str, kind: str, key: str, found: forecast_results.Forecasts, own: dict[str, str], **other: float
    ) -> None:
        table = forecast_table.tabulate_forecasts(found, planned.dataset, planned.panel)
        measures = forecast_table.measure_forecasts(table) | other
        artifacts = {artifact_files.FORECASTS: artifact_files.parquet_bytes(table)}
        entry = RunEntry(name, kind, key, tags=tags | own, metrics=measures, artifacts=artifacts)
        run_recording.record_run(store, parent, entry)

    other = {name: value for name, value in metrics.items() if name.startswith("test_")}
    forecasts = span_evaluation.predict_span(planned.dataset, files)
    tested(configuration_name(run.configuration), "test", key, forecasts, {"gridcast.winner": run_id}, **other)
    if not mlflow_runs.finished_runs(store, planned.baseline_keys.values(), "baseline"):
        task = baseline_task(planned.dataset, 3)
        for name in ("last value", "training mean", "training median"):
            found = forecast_results.Forecasts(task.index, baselines.BASELINES[name](task).point)
            tested(name, "baseline", planned.baseline_keys[name], found, {})
    return store.client.get_run(run_id)


def _of_run(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith("test_")}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, jax_backend: None) -> Shop:
    from gridcast.training import fused_fit

    folder = tmp_path_factory.mktemp("shop")
    own = planned(folder, 160)
    rates = [run.configuration.learning_rate for run in own.runs.values()]
    outcomes = fused_fit.train(
        own.dataset, list(own.runs.values()), state_paths=[None] * len(rates), siblings=len(rates)
    )
    files = {rate: outcome.files for rate, outcome in zip(rates, outcomes, strict=True)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # MLflow keeps artifacts where the store was made
        store = open_store("jumps", f"sqlite:///{folder}/mlflow.db")
    runs = {rate: record(store, own, rate, files[rate]) for rate in files}
    return Shop(folder, store, own, files, runs)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A registered model of each test's own."""
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)


def mase(shop: Shop, rate: float) -> float:
    return recorded(shop, rate)["mase"]


def error(shop: Shop, rate: float) -> float:
    """The error that the gates compare: these networks were trained on squared errors."""
    return recorded(shop, rate)["msse"]


def recorded(shop: Shop, rate: float) -> dict[str, float]:
    return next(iter(promotion.recorded_test_measures(shop.store, shop.runs[rate], {}).values()))


def state(shop: Shop, name: str) -> Any:
    """All that the registry holds of a model, times of change included; None without it."""
    if name not in [model.name for model in shop.client.search_registered_models()]:
        return None
    versions = shop.client.search_model_versions(f"name='{name}'")
    contents = [(v.version, v.run_id, v.description, dict(v.tags), v.last_updated_timestamp) for v in versions]
    return shop.client.get_registered_model(name).aliases, sorted(contents)


def aliases(shop: Shop, name: str) -> dict[str, str]:
    return {alias: str(number) for alias, number in shop.client.get_registered_model(name).aliases.items()}


def test_a_champion_has_tags_a_card_and_loads_through_mlflow(shop: Shop, name: str) -> None:
    made = shop.promote(GOOD, name)
    assert (made.version, made.already_champion, made.previous, made.note) == ("1", False, None, None)
    version = shop.client.get_model_version_by_alias(name, CHAMPION)
    run = shop.runs[GOOD]
    assert version.run_id == run.info.run_id
    assert version.tags[mlflow_runs.KEY_TAG] == run.data.tags[mlflow_runs.KEY_TAG]
    assert version.tags[mlflow_runs.FINGERPRINT_TAG] == shop.plan.fingerprint
    assert float(version.tags["test_mase"]) == mase(shop, GOOD)
    for said in (
        mlflow_runs.run_name(run),
        f" {mase(shop, GOOD):.4g} ",
        "\nlast value ",
        "learning_rate 0.05",
        "- train: 2023-01-02 to",
        "best_val_loss 0.05",
        "## Limits",
        f'load_model("models:/{name}@champion")',
    ):
        assert said in version.description
    (output,) = run.outputs.model_outputs
    page = json.loads(shop.client.get_logged_model(output.model_id).tags["mlflow.modelVersions"])
    assert {"name": name, "version": "1"} in page  # MLflow shows these on the model's page
    history = pd.read_csv(shop.folder / "jumps-160.csv", dtype={"product": str})
    forecasts = mlflow.pyfunc.load_model(f"models:/{name}@champion").predict(history)
    assert list(forecasts["product"]) == ["01", "02"]
    assert forecasts["forecast"].between(10, 30).all()


def test_promoting_the_same_run_twice_changes_nothing(shop: Shop, name: str) -> None:
    first = shop.promote(GOOD, name)
    before = state(shop, name)
    second = shop.promote(GOOD, name)
    assert second.already_champion
    assert (second.version, second.beaten_by) == (first.version, first.beaten_by)
    assert state(shop, name) == before


def test_a_better_challenger_replaces_the_champion(shop: Shop, name: str) -> None:
    shop.promote(FAIR, name)
    made = shop.promote(GOOD, name)
    assert (made.version, made.previous) == ("2", "1")
    assert aliases(shop, name) == {CHAMPION: "2", PREVIOUS: "1"}


def test_a_worse_challenger_is_refused_by_the_champion_gate(shop: Shop, name: str) -> None:
    shop.promote(GOOD, name)
    before = state(shop, name)
    with pytest.raises(PromotionRefused) as refused:
        shop.promote(FAIR, name)
    said = str(refused.value)
    assert "'champion is beaten'" in said
    errors = [f"{error(shop, rate):.4g}" for rate in (FAIR, GOOD)]
    assert f"squared scaled error {errors[0]} does not beat the champion, version 1, with {errors[1]}" in said
    assert state(shop, name) == before


def test_a_champion_that_cannot_be_told_apart_stays_unless_the_challenger_is_simpler_or_asked_for(
    shop: Shop, name: str
) -> None:
    def twin(number: int, parameters: float) -> Any:
        return record(shop.store, shop.plan, GOOD, shop.files[GOOD], key=f"{name}{number}", parameters=parameters)

    def challenge(run: Any, **options: Any) -> str:
        return promote(shop.store, shop.plan, run, name, unneeded, **options).version

    assert challenge(twin(0, 100.0)) == "1"
    before = state(shop, name)
    for parameters in (100.0, 101.0):
        with pytest.raises(PromotionRefused) as refused:
            challenge(twin(1, parameters))
        said = str(refused.value)
        assert f"does not beat the champion, version 1, with {error(shop, GOOD):.4g} on the same test span" in said
        assert "they cannot be told apart, so the champion stays, unless you promote with --if-not-worse" in said
        assert state(shop, name) == before
    assert challenge(twin(2, 99.0)) == "2"
    assert challenge(twin(3, 200.0), if_not_worse=True) == "3"
    assert aliases(shop, name) == {CHAMPION: "3", PREVIOUS: "2"}


def test_asking_for_a_challenger_that_is_not_worse_does_not_promote_a_worse_one(shop: Shop, name: str) -> None:
    shop.promote(GOOD, name)
    with pytest.raises(PromotionRefused, match="does not beat the champion") as refused:
        promote(shop.store, shop.plan, shop.runs[FAIR], name, unneeded, if_not_worse=True)
    assert "told apart" not in str(refused.value)


@pytest.fixture(scope="module")
def later(shop: Shop) -> Shop:
    """The same experiment 20 days later: new data, whose networks are those trained before."""
    own = planned(shop.folder, 180, "later")
    store = open_store("later", shop.store.uri)
    runs = {rate: record(store, own, rate, shop.files[rate]) for rate in (GOOD, FAIR)}
    return Shop(shop.folder, store, own, shop.files, runs)


def on(own: Plan) -> EvaluateForecaster:
    return lambda files: span_evaluation.tabulate_test_span(loading.load_from_bytes(files), own.dataset, own.panel)


def measured_on(own: Plan, files: dict[str, bytes], measure: str = "msse") -> float:
    return forecast_table.measure_forecasts(on(own)(files))[f"test_{measure}"]


def test_the_champion_is_judged_on_the_new_data_not_by_its_old_number(shop: Shop, later: Shop, name: str) -> None:
    shop.promote(GOOD, name)
    before = state(shop, name)
    with pytest.raises(PromotionRefused) as refused:
        promote(later.store, later.plan, later.runs[FAIR], name, on(later.plan))
    old, new = f"{error(shop, GOOD):.4g}", f"{measured_on(later.plan, shop.files[GOOD]):.4g}"
    assert old != new
    assert f"version 1, with {new} on" in str(refused.value)
    assert old not in str(refused.value)
    assert state(shop, name) == before
    spans = records.sweep_entry(later.plan).artifact_texts["sweep.json"]
    seen = looks.find_looks(later.store, later.plan.fingerprint, json.loads(spans)["spans"]["test"])
    (look,) = (look for look in seen if look.purpose == looks.PROMOTION)
    mase_there = measured_on(later.plan, shop.files[GOOD], "mase")
    assert (look.run_id, look.error) == (shop.runs[GOOD].info.run_id, pytest.approx(mase_there))


def test_the_same_data_split_another_way_are_not_the_same_test(shop: Shop, name: str) -> None:
    shop.promote(GOOD, name)
    resplit = planned(shop.folder, 160, split={"train": 0.5, "validation": 0.1, "test": 0.4})
    assert resplit.fingerprint == shop.plan.fingerprint
    run = record(shop.store, resplit, FAIR, shop.files[FAIR])
    with pytest.raises(PromotionRefused) as refused:
        promote(shop.store, resplit, run, name, on(resplit))
    assert f"version 1, with {measured_on(resplit, shop.files[GOOD]):.4g} on" in str(refused.value)
    assert f"with {error(shop, GOOD):.4g} on" not in str(refused.value)


def test_a_challenger_that_is_better_on_the_new_data_replaces_the_champion(shop: Shop, later: Shop, name: str) -> None:
    shop.promote(FAIR, name)
    made = promote(later.store, later.plan, later.runs[GOOD], name, on(later.plan))
    assert (made.version, made.previous) == ("2", "1")


def test_a_forecaster_measured_on_its_own_plan_has_its_recorded_measures(shop: Shop) -> None:
    assert measured_on(shop.plan, shop.files[GOOD], "mase") == pytest.approx(mase(shop, GOOD))


def test_a_forecaster_is_measured_on_what_it_can_forecast_only(shop: Shop) -> None:
    other = planned(shop.folder, 160, window={"lookback": 3, "horizon": 2})
    with pytest.raises(GridcastError, match="its horizon is 1, here it is 2"):
        on(other)(shop.files[GOOD])
    few = planned(shop.folder, 160, data={"select": {"only": ["02"]}})
    assert measured_on(few, shop.files[GOOD], "mase") < 1  # one of the series that it knows, by its own code


def test_the_champion_gate_refuses_when_the_champion_cannot_be_evaluated(shop: Shop, later: Shop, name: str) -> None:
    shop.promote(FAIR, name)

    def broken(files: dict[str, bytes]) -> pd.DataFrame:
        assert sorted(files) == ["forecaster.json", "model.keras"]
        raise ValueError("no such layer")

    with pytest.raises(PromotionRefused, match="version 1, cannot be evaluated on these data: no such layer"):
        promote(later.store, later.plan, later.runs[GOOD], name, broken)
    forced = promote(later.store, later.plan, later.runs[GOOD], name, broken, "the old one does not load")
    assert (forced.version, forced.previous) == ("2", "1")


@pytest.mark.parametrize("metric", ["best_val_loss", "test_mase"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_metrics_that_are_not_finite_are_refused(shop: Shop, name: str, metric: str, value: float) -> None:
    run = record(shop.store, shop.plan, GOOD, shop.files[GOOD], key=name, **{metric: value})
    with pytest.raises(PromotionRefused, match=f"'metrics are finite' refused: {metric} .* is {value}, not"):
        promote(shop.store, shop.plan, run, name, unneeded)
    assert state(shop, name) is None


def test_a_test_without_mase_is_refused(shop: Shop, name: str) -> None:
    section = shop.plan.experiment.selection.model_copy(update={"promote_to": name})
    experiment = shop.plan.experiment.model_copy(update={"selection": section})
    tested = {"own": {"mae": 1.0}, "last value": {"mase": 2.0}}
    with pytest.raises(PromotionRefused, match=r"test_mase .* is missing"):
        promotion.promote(experiment, shop.store, shop.runs[GOOD], test_measures=tested, evaluate_champion=unneeded)


def test_the_naive_gate_refuses_a_bad_model(shop: Shop, name: str) -> None:
    with pytest.raises(PromotionRefused) as refused:
        shop.promote(BAD, name)
    said = str(refused.value)
    assert "'naive baselines are beaten'" in said
    assert f"squared scaled error {error(shop, BAD):.4g} on the test span does not beat training m" in said
    assert "--force" in said
    assert state(shop, name) is None


def test_the_margin_counts_relative_to_the_baseline(shop: Shop, name: str) -> None:
    tests = promotion.recorded_test_measures(shop.store, shop.runs[GOOD], shop.plan.baseline_keys)
    naive = min(own["msse"] for baseline, own in tests.items() if baseline in NAIVE_BASELINES)
    reached = 1 - error(shop, GOOD) / naive
    assert reached > 0.02
    with pytest.raises(PromotionRefused, match="at most"):
        shop.promote(GOOD, name, margin=reached + 0.01)
    assert state(shop, name) is None
    assert shop.promote(GOOD, name, margin=reached - 0.01).version == "1"


def test_without_any_naive_baseline_nothing_is_promoted(shop: Shop, name: str) -> None:
    section = shop.plan.experiment.selection.model_copy(update={"promote_to": name, "when_beaten": "warn"})
    experiment = shop.plan.experiment.model_copy(update={"selection": section})
    tested = {"own": {"mase": 0.1}, "ridge": {"mase": 2.0}}
    with pytest.raises(PromotionRefused, match="no naive baseline was tested"):
        promotion.promote(experiment, shop.store, shop.runs[GOOD], test_measures=tested, evaluate_champion=unneeded)
    assert state(shop, name) is None


def test_a_beaten_winner_is_promoted_with_a_mark_where_the_experiment_wants_that(shop: Shop, name: str) -> None:
    made = shop.promote(BAD, name, when_beaten="warn")
    tests = promotion.recorded_test_measures(shop.store, shop.runs[BAD], shop.plan.baseline_keys)
    best = min(tests, key=lambda one: tests[one]["msse"])
    assert made.beaten_by == best
    version = shop.client.get_model_version_by_alias(name, CHAMPION)
    assert version.tags[BEATEN_BY_TAG] == best
    assert FORCED_TAG not in version.tags
    assert f"**Its error on the test span is not shown to be below that of {best}" in version.description


@pytest.mark.parametrize(("ridge", "beaten_by"), [(0.49, "ridge"), (0.51, None)])
def test_a_baseline_that_knows_more_leaves_a_mark_and_refuses_nothing(
    shop: Shop, name: str, ridge: float, beaten_by: str | None
) -> None:
    section = shop.plan.experiment.selection.model_copy(update={"promote_to": name, "margin": 0.1})
    experiment = shop.plan.experiment.model_copy(update={"selection": section})
    tested = {"own": {"mase": 0.5}, "last value": {"mase": 1.0}, "ETS": {"mase": 0.6}, "ridge": {"mase": ridge}}
    made = promotion.promote(experiment, shop.store, shop.runs[GOOD], test_measures=tested, evaluate_champion=unneeded)
    assert made.beaten_by == beaten_by
    assert shop.client.get_model_version(name, "1").tags.get(BEATEN_BY_TAG) == beaten_by


def test_force_promotes_and_keeps_its_reason(shop: Shop, name: str) -> None:
    with pytest.raises(ConfigError, match="reason is empty"):
        shop.promote(BAD, name, force=" ")
    assert state(shop, name) is None
    made = shop.promote(BAD, name, force="for a demonstration")
    version = shop.client.get_model_version(name, made.version)
    assert version.tags[FORCED_TAG] == "for a demonstration"
    assert "Promoted by force: for a demonstration. The gate 'naive baselines are beaten'" in version.description
    assert shop.promote(BAD, name).already_champion  # it is champion, and stays so without force


def test_without_a_name_there_is_nothing_to_promote_to(shop: Shop) -> None:
    tested = promotion.recorded_test_measures(shop.store, shop.runs[GOOD], {})
    with pytest.raises(ConfigError, match="promote_to: is missing"):
        promotion.promote(
            shop.plan.experiment, shop.store, shop.runs[GOOD], test_measures=tested, evaluate_champion=unneeded
        )


@pytest.mark.parametrize("end", ["KILLED", "deleted"])
def test_a_run_that_is_not_finished_is_refused(shop: Shop, name: str, end: str) -> None:
    run = record(shop.store, shop.plan, GOOD, shop.files[GOOD], key=name)
    if end == "deleted":
        shop.client.delete_run(run.info.run_id)
    else:
        shop.client.set_terminated(run.info.run_id, end)
    with pytest.raises(PromotionRefused, match=f"'run is finished' refused: run {run.info.run_id} is {end}"):
        promote(shop.store, shop.plan, run, name, unneeded)
    assert state(shop, name) is None


def test_a_version_that_a_crash_left_without_alias_is_used_again(shop: Shop, name: str) -> None:
    shop.promote(FAIR, name)
    run_id = shop.runs[GOOD].info.run_id
    shop.client.create_model_version(
        name, f"runs:/{run_id}/model", run_id, tags={FORCED_TAG: "stale"}, description="old"
    )
    assert shop.promote(GOOD, name).version == "2"
    assert len(shop.client.search_model_versions(f"name='{name}'")) == 2
    version = shop.client.get_model_version(name, "2")
    assert version.tags[mlflow_runs.KEY_TAG] == shop.runs[GOOD].data.tags[mlflow_runs.KEY_TAG]
    assert FORCED_TAG not in version.tags
    assert version.description.startswith(f"# {name}")
    assert aliases(shop, name) == {CHAMPION: "2", PREVIOUS: "1"}


def made_up_threshold(old: float, new: float) -> NewThreshold:
    day = pd.Timestamp("2024-01-01")
    return NewThreshold(old, new, 100, 50, 0.0, 0, (), labelled=True, first=day, last=day)


every_write = pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])


def under_kills(
    shop: Shop, name: str, act: Callable[[Store, str], Any], goal: dict[str, str], step: int
) -> tuple[list[str], int]:
    """Kill `act` before every `step`-th of its writes, then repeat it, each time with a model of its own.

    Return the writes, and how often it ended.
    """
    for count, allowed in enumerate(itertools.count(step=step), start=1):
        own = f"{name}{allowed}"
        shop.promote(FAIR, own)
        killed = KilledClient(shop.client, allowed)
        try:
            act(dataclasses.replace(shop.store, client=killed), own)
        except Killed:
            pass
        else:
            return killed.written, count
        assert aliases(shop, own)[CHAMPION] in ("1", goal[CHAMPION])
        act(shop.store, own)
        assert aliases(shop, own) == goal
        assert len(shop.client.search_model_versions(f"name='{own}'")) == 2
        assert shop.client.get_registered_model(own).tags == {}
    raise AssertionError


@every_write
def test_a_promotion_that_was_killed_before_any_write_is_completed_by_the_next(
    shop: Shop, name: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(champion_change, "GRACE_SECONDS", 0)

    def act(store: Store, own: str) -> None:
        promote(store, shop.plan, shop.runs[GOOD], own, unneeded)

    writes, _ = under_kills(shop, name, act, {CHAMPION: "2", PREVIOUS: "1"}, step)
    assert writes[0] == "create_model_version"
    assert writes.count("set_registered_model_alias") == 2


@every_write
def test_a_recalibration_that_was_killed_before_any_write_is_completed_by_the_next(
    shop: Shop, name: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(champion_change, "GRACE_SECONDS", 0)
    parent = mlflow_runs.open_sweep(shop.store, records.sweep_entry(shop.plan))
    threshold = made_up_threshold(old=1.0, new=2.0)

    def act(store: Store, own: str) -> None:
        champion = model_loading.find_model(own, shop.store.uri)
        if champion.version == "2":  # which has the threshold
            return recalibrate(store, dataclasses.replace(threshold, old=2.0), champion)
        return recalibrate(store, threshold, champion)

    def recalibrate(store: Store, found: NewThreshold, champion: model_loading.ModelReference) -> None:
        settings = json.loads(shop.files[GOOD]["forecaster.json"]) | {"made for": champion.name}
        files = {**shop.files[GOOD], "forecaster.json": json.dumps(settings).encode()}
        monkeypatch.setattr(recalibration, "_files_with_threshold", lambda *_: files)
        monkeypatch.setattr(recalibration, "find_sweep", lambda _: (store, parent))
        loaded = model_loading.LoadedModel(None, champion)
        recalibration.recalibrate(loaded, found, source="normal.csv", max_false_alarms=1.0)

    writes, count = under_kills(shop, name, act, {CHAMPION: "2", PREVIOUS: "1"}, step)
    assert writes[0] == "create_run"
    assert len(writes) > 10
    runs = mlflow_runs.search_runs(shop.store, "tags.`gridcast.kind` = 'recalibration'")
    own = [run for run in runs if run.data.tags["gridcast.model"].startswith(name)]
    assert {run.info.status for run in own} == {"FINISHED"}
    assert len(own) == count


def test_a_threshold_of_a_version_that_is_not_champion_any_more_is_refused(
    shop: Shop, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.promote(FAIR, name)
    champion = model_loading.LoadedModel(None, model_loading.find_model(name, shop.store.uri))
    shop.promote(GOOD, name)
    before = state(shop, name)
    monkeypatch.setattr(recalibration, "find_sweep", lambda _: (shop.store, ""))
    with pytest.raises(ChampionChanged, match="the threshold is that of version 1, but version 2 is the champion now"):
        recalibration.recalibrate(
            champion, made_up_threshold(old=1.0, new=2.0), source="normal.csv", max_false_alarms=1.0
        )
    assert state(shop, name) == before


def test_a_promotion_compares_with_the_champion_that_came_meanwhile(shop: Shop, name: str) -> None:
    shop.promote(BAD, name, force="to begin with")

    def another(write: str) -> None:
        if write == "set_registered_model_tag" and aliases(shop, name)[CHAMPION] == "1":
            shop.promote(GOOD, name)

    before = KilledClient(shop.client, before=another)
    with pytest.raises(PromotionRefused, match="does not beat the champion, version 3"):
        promote(dataclasses.replace(shop.store, client=before), shop.plan, shop.runs[FAIR], name, unneeded)
    assert aliases(shop, name) == {CHAMPION: "3", PREVIOUS: "1"}


def test_rolling_back_twice_returns_to_the_start(shop: Shop, name: str) -> None:
    shop.promote(FAIR, name)
    shop.promote(GOOD, name)
    back = champion_change.rollback(shop.client, name)
    assert (back.version, back.previous) == ("1", "2")
    assert aliases(shop, name) == {CHAMPION: "1", PREVIOUS: "2"}
    assert model_loading.find_model(name, shop.store.uri).run_id == shop.runs[FAIR].info.run_id
    champion_change.rollback(shop.client, name)
    assert aliases(shop, name) == {CHAMPION: "2", PREVIOUS: "1"}


def test_a_run_that_was_rolled_back_can_be_promoted_again_as_the_same_version(shop: Shop, name: str) -> None:
    shop.promote(FAIR, name)
    shop.promote(GOOD, name)
    champion_change.rollback(shop.client, name)
    assert shop.promote(GOOD, name).version == "2"
    assert aliases(shop, name) == {CHAMPION: "2", PREVIOUS: "1"}


def test_rolling_back_a_first_champion_is_refused(shop: Shop, name: str) -> None:
    shop.promote(GOOD, name)
    before = state(shop, name)
    with pytest.raises(TrackingError, match=r"no previous.*versions: 1 \(champion\)"):
        champion_change.rollback(shop.client, name)
    assert state(shop, name) == before


@pytest.mark.parametrize("deleted", ["version", "alias"])
def test_a_champion_deleted_by_hand_is_told_of_and_can_be_replaced(shop: Shop, name: str, deleted: str) -> None:
    shop.promote(FAIR, name)
    shop.promote(GOOD, name)
    if deleted == "version":
        shop.client.delete_model_version(name, "2")
    else:
        shop.client.delete_registered_model_alias(name, CHAMPION)
    message = rf"'{name}' has no champion: .* deleted by hand.*1 \(previous\).*gridcast promote"
    with pytest.raises(TrackingError, match=message):
        champion_change.rollback(shop.client, name)
    with pytest.raises(TrackingError, match=message):
        model_loading.load_model(name, shop.store.uri)
    made = shop.promote(GOOD, name)
    assert made.version == {"version": "3", "alias": "2"}[deleted]
    assert made.note is not None
    assert "deleted by hand" in made.note
    assert aliases(shop, name) == {CHAMPION: made.version, PREVIOUS: "1"}


def test_a_previous_champion_deleted_by_hand_is_told_of(shop: Shop, name: str) -> None:
    shop.promote(FAIR, name)
    shop.promote(GOOD, name)
    shop.client.delete_model_version(name, "1")
    before = state(shop, name)
    with pytest.raises(TrackingError, match=r"no previous: .* deleted by hand.*versions: 2 \(champion\)"):
        champion_change.rollback(shop.client, name)
    assert state(shop, name) == before


def test_a_model_that_does_not_exist_is_told_of_with_a_near_miss(shop: Shop, name: str) -> None:
    shop.promote(GOOD, name)
    for ask in (
        lambda: champion_change.rollback(shop.client, f"{name}x"),
        lambda: model_loading.find_model(f"{name}x", shop.store.uri),
    ):
        with pytest.raises(TrackingError, match=f"no registered model '{name}x'; did you mean '{name}'"):
            ask()
    with pytest.raises(TrackingError, match=r"no version '7'.*versions: 1 \(champion\)"):
        model_loading.find_model(f"models:/{name}/7", shop.store.uri)
    with pytest.raises(TrackingError, match="no chmpion"):
        model_loading.find_model(f"models:/{name}@chmpion", shop.store.uri)
    with pytest.raises(TrackingError, match="not found"):
        model_loading.find_model("runs:/0123456789abcdef0123456789abcdef/model", shop.store.uri)


def test_every_way_to_name_a_model_loads_it(shop: Shop, name: str) -> None:
    shop.promote(GOOD, name)
    run_id = shop.runs[GOOD].info.run_id
    model_id = shop.runs[GOOD].outputs.model_outputs[0].model_id
    history = pd.read_csv(shop.folder / "jumps-160.csv", dtype={"product": str})
    before = list(sys.path)
    found = {}
    registered = model_loading.ModelReference(f"models:/{name}/1", run_id, name, "1")
    for uri in (f"models:/{name}", f"models:/{name}@champion", f"models:/{name}/1"):
        assert model_loading.find_model(uri, shop.store.uri) == registered
    loaded = model_loading.load_model(name, shop.store.uri)
    assert loaded.reference == registered
    found[name] = loaded.predict(history, 2)
    for uri in (f"runs:/{run_id}/model", f"models:/{model_id}"):
        loaded = model_loading.load_model(uri, shop.store.uri)
        assert (loaded.reference.version, loaded.reference.run_id) == (None, run_id)
        found[uri] = loaded.predict(history, 2)
    for forecasts in found.values():
        pd.testing.assert_frame_equal(forecasts, found[name])
    assert sys.path == before


def test_a_model_whose_files_are_gone_is_reported(shop: Shop, name: str) -> None:
    run = record(shop.store, shop.plan, GOOD, shop.files[GOOD], key=name)
    promote(shop.store, shop.plan, run, name, unneeded)
    where = Path(shop.client.get_logged_model(run.outputs.model_outputs[0].model_id).artifact_location)
    (where / "data" / "model.keras").write_bytes(b"nothing")
    with pytest.raises(TrackingError, match=f"models:/{name}/1: the model cannot be loaded"):
        model_loading.load_model(name, shop.store.uri)
    where.rename(where.with_name("moved"))
    with pytest.raises(TrackingError, match=f"models:/{name}/1: the model's files are gone"):
        model_loading.load_model(name, shop.store.uri)


def command(monkeypatch: pytest.MonkeyPatch, shop: Shop, *words: str) -> int:
    """Exit code of `gridcast WORDS` in this process, in the folder of the shop."""
    monkeypatch.chdir(shop.folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shop.store.uri)
    monkeypatch.setattr(sys, "argv", ["gridcast", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_promote_and_rollback_on_the_command_line(
    shop: Shop, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.promote(FAIR, name)
    content = yaml.safe_load(shop.plan.yaml_text) | {"selection": {"promote_to": name, "margin": 0.9}}
    path = shop.folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    # The best by best_val_loss is the bad one: `record` gives each its learning rate.
    before = state(shop, name)
    assert command(monkeypatch, shop, "promote", str(path)) == 1
    assert "error: " in (said := capsys.readouterr().err)
    assert "'naive baselines are beaten'" in said
    assert state(shop, name) == before
    assert command(monkeypatch, shop, "promote", str(path), "--force", "a test") == 0
    assert f"{name}: version 2 is the champion, version 1 is the previous one" in capsys.readouterr().out
    assert command(monkeypatch, shop, "rollback", name) == 0
    assert f"{name}: version 1 is the champion, version 2 is the previous one" in capsys.readouterr().out
    assert aliases(shop, name) == {CHAMPION: "1", PREVIOUS: "2"}
    assert command(monkeypatch, shop, "rollback", "nothing") == 2
    assert "no registered model 'nothing'" in capsys.readouterr().err
    assert command(monkeypatch, shop, "promote", str(path), "--force", "") == 2


def predict(shop: Shop, folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gridcast.cli", "predict", *words]
    environment = os.environ | {"MLFLOW_TRACKING_URI": shop.store.uri}
    return warm_python.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_predict_in_a_process_of_its_own(shop: Shop, name: str, tmp_path: Path) -> None:
    shop.promote(GOOD, name)
    history = pd.read_csv(shop.folder / "jumps-160.csv", dtype=str)
    history.to_csv(tmp_path / "history.csv", index=False)
    (tmp_path / "forecast.csv").write_text("from yesterday")
    good = predict(shop, tmp_path, name, "history.csv", "--horizon", "3", "-o", "forecast.csv")
    said, noise = good.communicate(timeout=200)
    assert (good.returncode, noise) == (0, "")
    assert said == (
        f"forecast.csv: 6 forecasts by {name} version 1, 4 of them rolled forward beyond the trained horizon\n"
    )
    written = pd.read_csv(tmp_path / "forecast.csv", dtype={"product": str})
    assert list(written.columns) == ["product", "date", "forecast", "rolled_forward"]
    assert list(written["product"]) == ["01"] * 3 + ["02"] * 3
    assert list(written["rolled_forward"]) == [False, True, True] * 2
    assert list(written["date"][:3]) == ["2023-06-11", "2023-06-12", "2023-06-13"]
    own = model_loading.load_model(name, shop.store.uri).predict(history, 3)
    assert written["forecast"].to_numpy() == pytest.approx(own["forecast"].to_numpy())
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"history.csv", "forecast.csv"}


def test_predict_prints_reads_parquet_and_refuses_wrong_input(
    shop: Shop,
    name: str,
    programs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(folders, "CACHE", programs)  # compiled programs stay where the other tests have them
    shop.promote(GOOD, name)
    history = pd.read_csv(shop.folder / "jumps-160.csv", dtype={"product": str})
    csv, parquet, wrong = tmp_path / "history.csv", tmp_path / "history.parquet", tmp_path / "wrong.csv"
    history.to_csv(csv, index=False)
    history.to_parquet(parquet)
    history.assign(product=history["product"].replace("02", "03")).to_csv(wrong, index=False)

    assert command(monkeypatch, shop, "predict", name, str(csv)) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == "product,date,forecast,rolled_forward"
    assert [line.split(",")[0] for line in printed.splitlines()[1:]] == ["01", "02"]
    assert (
        command(monkeypatch, shop, "predict", f"models:/{name}/1", str(parquet), "-o", str(tmp_path / "f.parquet")) == 0
    )
    written = pd.read_parquet(tmp_path / "f.parquet")
    printed_rows = [line.split(",") for line in printed.splitlines()[1:]]
    assert [float(row[2]) for row in printed_rows] == pytest.approx(list(written["forecast"]))
    capsys.readouterr()

    refused = {
        (str(csv), "--horizon", "0"): "--horizon: must be from 1 to 100,000 (got 0)",
        (str(csv), "--horizon", "1000000000"): "--horizon: must be from 1 to 100,000 (got 1000000000)",
        (str(csv), "-o", "forecast.ods"): "'forecast.ods' must be a .csv, .xlsx or .parquet file",
        (str(csv), "-o", "nowhere/forecast.csv"): "in a folder that exists",
        (str(tmp_path / "none.csv"),): "none.csv: cannot be read",
    }
    for words, said in refused.items():
        assert command(monkeypatch, shop, "predict", name, *words) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert said in printed.err

    assert command(monkeypatch, shop, "predict", name, str(wrong)) == 1  # one of two series is answered
    printed = capsys.readouterr()
    assert [line.split(",")[0] for line in printed.out.splitlines()[1:]] == ["01", "03"]
    assert printed.out.count("series '03' was not in the training data") == 1
    assert "wrong.csv: 1 series could not be forecast" in printed.err

    history.rename(columns={"quantity": "quantty"}).to_csv(wrong, index=False)
    assert command(monkeypatch, shop, "predict", name, str(wrong), "-o", str(tmp_path / "none.csv")) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {wrong}, line 1: no column 'quantity'")
    assert "did you mean 'quantty'" in printed.err
    assert not (tmp_path / "none.csv").exists()


def test_predict_reads_future_columns_from_rows_without_a_target(shop: Shop, tmp_path: Path) -> None:
    own = dataclasses.replace(shop.plan.dataset.preprocessing, past=("price",), future=("day_of_week", "offer"))
    path = tmp_path / "history.csv"
    path.write_text("date;product;quantity;price;offer\n2023-01-02;01;1,5;2;0\n2023-01-03;01;;;1\n2023-01-04;01;;;\n")
    rows = prediction_files.read_series_table(path, own)
    assert list(rows["date"]) == list(pd.to_datetime(["2023-01-02", "2023-01-03"]))
    assert rows["quantity"].tolist() == [1.5, pytest.approx(np.nan, nan_ok=True)]
    assert rows["offer"].tolist() == [0, 1]
    assert list(rows["product"]) == ["01", "01"]
