"""The gates before a promotion, the promotion itself, and the card that goes with a version."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gridcast.evaluation import artifact_files
from gridcast.runtime.errors import ConfigError, GridcastError, PromotionRefused
from gridcast.tracking import mlflow_runs, ranking, registry
from gridcast.tracking.gates import EvaluateForecaster, PromotionCase, best_baseline_ahead, first_refusal
from gridcast.tracking.mlflow_runs import FINGERPRINT_TAG, KEY_TAG, MODEL_NAME
from gridcast.tracking.model_card import model_card
from gridcast.tracking.store import MAX_TEXT, Store, mlflow_errors

if TYPE_CHECKING:
    from gridcast.config import Experiment


def promote(
    experiment: Experiment,
    store: Store,
    winner: Any,
    *,
    test_measures: Mapping[str, Mapping[str, float]],
    evaluate_champion: EvaluateForecaster,
    force: str | None = None,
) -> registry.Promotion:
    """Register the MLflow run `winner` as `selection.promote_to` and make it champion.

    `test_measures` are the measures on the test span by name, the winner's first, then the baselines';
    `evaluate_champion` gives those of another forecaster on the same test span. The alias
    `previous` goes to the champion that is replaced. A run that is champion already stays so and
    nothing changes; a version that a crash left without alias is used again. `force` is the
    reason for promoting whatever the gates say.

    Raises PromotionRefused with the gate and the figures, the registry as it was; ConfigError
    without `promote_to` or with an empty reason; TrackingError when MLflow fails.
    """
    name = experiment.selection.promote_to
    if name is None:
        raise ConfigError(f"selection.promote_to: is missing; name the registered model, such as {experiment.name}")
    if force is not None and not force.strip():
        raise ConfigError("--force: the reason is empty; say why the gates do not count, it is kept with the version")
    client = store.client
    with mlflow_errors(store.uri):
        model = registry.registered_model(client, name)
        champion = registry.version_with_alias(client, model, registry.CHAMPION)
        run = client.get_run(winner.info.run_id)
        if champion is not None and champion.run_id == run.info.run_id:
            previous = registry.version_with_alias(client, model, registry.PREVIOUS)
            beaten = champion.tags.get(registry.BEATEN_BY_TAG)
            return registry.Promotion(
                registry.version_number(champion), name, True, beaten, previous and registry.version_number(previous)
            )
        first, *rest = test_measures
        case = PromotionCase(
            experiment,
            store,
            run,
            test_measures[first],
            {n: test_measures[n] for n in rest},
            champion,
            evaluate_champion,
        )
        gate, refusal = first_refusal(case)
        if refusal and force is None:
            raise PromotionRefused(
                f"'{name}' was not promoted, the gate '{gate}' refused: {refusal}; "
                "--force REASON promotes all the same and keeps the reason"
            )
        model_id = registry.logged_model_id(client, run)
        if model_id is None:
            raise GridcastError(f"run {run.info.run_id} has no model '{MODEL_NAME}'; nothing can be registered")
        beaten = best_baseline_ahead(case)
        remarks = [f"Beaten by {beaten} on the test span, see below."] if beaten else []
        untold = "Nothing is labelled in the test span: whether it beats the baselines cannot be told."
        remarks += [untold] if case.untold else []
        if force is not None:
            against = f" The gate '{gate}' had refused: {refusal}." if refusal else ""
            remarks.append(f"Promoted by force: {force}.{against}")
        tags = {KEY_TAG: run.data.tags[KEY_TAG], FINGERPRINT_TAG: run.data.tags[FINGERPRINT_TAG]}
        tags |= {artifact_files.TEST_PREFIX + measure: repr(value) for measure, value in case.own.items()}
        tags |= {registry.BEATEN_BY_TAG: beaten} if beaten else {}
        tags |= {registry.FORCED_TAG: force[:MAX_TEXT]} if force is not None else {}
        card = model_card(name, case, test_measures, remarks)
        note = _manual_change_note(client, name, run, model, champion)
        version, previous = register_champion(client, name, run, model_id, tags, card, champion)
    return registry.Promotion(version, name, False, beaten, previous, note)


def recorded_test_measures(store: Store, winner: Any, baseline_keys: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Recorded measures on the test span: the winner's first, then those of each baseline that has some.

    Raises GridcastError when the winner has not met the test span yet.
    """
    key = winner.data.tags[KEY_TAG]
    own = mlflow_runs.finished_runs(store, [key], "test")
    if not own:
        raise GridcastError(
            f"the best run, {mlflow_runs.run_name(winner)}, has not met the test span yet; finish the sweep: gridcast run"
        )
    known = mlflow_runs.finished_runs(store, baseline_keys.values(), "baseline")
    runs = [own[key], *(known[key] for key in baseline_keys.values() if key in known)]
    return {mlflow_runs.run_name(run): ranking.test_measures(run) for run in runs}


def register_champion(
    client: Any, name: str, run: Any, model_id: str, tags: Mapping[str, str], card: str, champion: Any
) -> tuple[str, str | None]:
    """Make the model of `run` champion of `name` in place of the version `champion`; its number and the previous one's.

    In this order a crash leaves the old champion in its place, and a second start completes the work.
    """
    version = _create_or_update_version(client, name, run, model_id, tags, card)
    if champion is not None and registry.version_number(champion) != version:
        client.set_registered_model_alias(name, registry.PREVIOUS, champion.version)
    client.set_registered_model_alias(name, registry.CHAMPION, version)
    previous = registry.version_with_alias(client, registry.registered_model(client, name), registry.PREVIOUS)
    return version, previous and registry.version_number(previous)


def _create_or_update_version(
    client: Any, name: str, run: Any, model_id: str, tags: Mapping[str, str], card: str
) -> str:
    """Number of the version of `run`: one that is there already, brought up to date, else a new one."""
    from mlflow.exceptions import MlflowException

    if registry.registered_model(client, name) is None:
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # somebody else was faster
                raise
    own = [version for version in client.search_model_versions(f"name='{name}'") if version.run_id == run.info.run_id]
    if not own:
        logging.getLogger("mlflow.store.model_registry.abstract_store").setLevel(logging.WARNING)
        source = f"models:/{model_id}"
        made = client.create_model_version(
            name, source, run_id=run.info.run_id, tags=dict(tags), description=card, model_id=model_id
        )
        return registry.version_number(made)
    kept = max(own, key=lambda version: int(version.version))
    number = registry.version_number(kept)
    client.update_model_version(name, number, card)
    for tag, value in tags.items():
        client.set_model_version_tag(name, number, tag, value)
    for tag in {registry.BEATEN_BY_TAG, registry.FORCED_TAG} & (set(kept.tags) - set(tags)):
        client.delete_model_version_tag(name, number, tag)
    return number


def _manual_change_note(client: Any, name: str, run: Any, model: Any, champion: Any) -> str | None:
    if model is None or champion is not None:
        return None
    others = [v for v in client.search_model_versions(f"name='{name}'") if v.run_id != run.info.run_id]
    if not others and registry.CHAMPION not in model.aliases and registry.PREVIOUS not in model.aliases:
        return None
    return (
        f"'{name}' had no champion to compare with: its version or its alias was deleted by hand "
        f"({registry.describe_versions(client, name)})"
    )
