"""Promote the winner of a sweep: pass the gates, describe the version, make it champion in the Model Registry."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gridcast.evaluation import artifact_files
from gridcast.runtime.errors import ChampionChanged, ConfigError, GridcastError, PromotionRefused
from gridcast.tracking import champion_change, mlflow_runs, ranking, registry
from gridcast.tracking.gates import best_baseline_ahead, first_refusal
from gridcast.tracking.mlflow_runs import FINGERPRINT_TAG, KEY_TAG, MODEL_NAME
from gridcast.tracking.model_card import model_card
from gridcast.tracking.promotion_case import EvaluateForecaster, PromotionCase
from gridcast.tracking.store import MAX_TEXT, Store, mlflow_errors

if TYPE_CHECKING:
    from gridcast.config import Experiment, Metric


MAX_ATTEMPTS = 3
"""How often a promotion is tried while others change the champion."""
REGISTERED_MODEL_DESCRIPTION = (
    "Winners of gridcast's sweeps. The alias `champion` is the version in use, `previous` the one that it replaced."
)


def promote(
    experiment: Experiment,
    store: Store,
    winner: Any,
    *,
    test_measures: Mapping[str, Mapping[str, float]],
    evaluate_champion: EvaluateForecaster,
    force: str | None = None,
    if_not_worse: bool = False,
    metrics: Mapping[str, Metric] = MappingProxyType({}),
) -> registry.Promotion:
    """Register the MLflow run `winner` as `selection.promote_to` and make it champion.

    `test_measures` are the measures on the test span by name, the winner's first, then the baselines';
    `evaluate_champion` applies another model to the same test span. The alias `previous` goes to the champion that is
    replaced. If the run is champion already, nothing changes; a version that a crash left without an alias is used
    again. `force` is the reason for promoting against the gates; with `if_not_worse` a champion is replaced too that
    cannot be told apart from the run. `metrics` are the user's own metrics.

    With `training.refit` the gates judge the winner, and the model of its refitted run is registered.

    Raises PromotionRefused with the gate and the figures, with the registry unchanged; ConfigError without `promote_to`
    or with an empty reason; TrackingError if MLflow fails.
    """
    name = _model_name(experiment, force)
    winner_name, *baseline_names = test_measures
    with mlflow_errors(store.uri):
        case = PromotionCase(
            experiment=experiment,
            store=store,
            run=store.client.get_run(winner.info.run_id),
            measures=test_measures[winner_name],
            baseline_measures={name: test_measures[name] for name in baseline_names},
            champion=None,
            evaluate=evaluate_champion,
            if_not_worse=if_not_worse,
            metrics=metrics,
        )
        return _promote_over_champion(name, case, test_measures, force=force)


def _promote_over_champion(
    name: str,
    case: PromotionCase,
    test_measures: Mapping[str, Mapping[str, float]],
    *,
    force: str | None,
    attempts: int = MAX_ATTEMPTS,
) -> registry.Promotion:
    """Promote the run of `case` over the present champion, or over the next one where that changes meanwhile."""
    client = case.store.client
    champion_change.settle_change(client, name)
    model = registry.registered_model(client, name)
    champion = registry.version_with_alias(client, model, registry.CHAMPION)
    deployed = deployed_run(case.experiment, case.store, case.run)
    if champion is not None and champion.run_id == deployed.info.run_id:
        return _unchanged(client, model, champion)
    same_network = _has_the_network_of(client, champion, case.run)
    case = replace(case, champion=champion, if_not_worse=case.if_not_worse or same_network)
    refusal = first_refusal(case)
    if refusal and force is None:
        raise PromotionRefused(_refusal_text(name, gate=refusal[0], reason=refusal[1]))
    model_id = _model_id(client, deployed)
    beaten_by = best_baseline_ahead(case)
    note = _manual_change_note(client, name, deployed, model=model, champion=champion)
    try:
        version, previous = register_champion(
            client,
            name,
            deployed,
            verb="promotion",
            model_id=model_id,
            tags=_version_tags(case, beaten_by, force),
            card=_card(name, case, test_measures, beaten_by, refusal=refusal, force=force),
            expected=registry.alias_number(model, registry.CHAMPION),
        )
    except ChampionChanged:  # whom the gates have not compared with
        if attempts == 1:
            raise
        return _promote_over_champion(name, case, test_measures, force=force, attempts=attempts - 1)
    return registry.Promotion(version=version, name=name, beaten_by=beaten_by, previous=previous, note=note)


def _has_the_network_of(client: Any, champion: Any, run: Any) -> bool:
    """Whether `run` is the `champion` with another threshold, which the experiment file wants and no error shows.

    It replaces the champion unless it is worse.
    """
    if champion is None or not champion.run_id:
        return False
    return mlflow_runs.trained_by(run) == mlflow_runs.trained_by(client.get_run(champion.run_id))


def _card(
    name: str,
    case: PromotionCase,
    test_measures: Mapping[str, Mapping[str, float]],
    beaten_by: str | None,
    *,
    refusal: tuple[str, str] | None,
    force: str | None,
) -> str:
    remarks = _remarks(case, beaten_by, refusal=refusal, force=force)
    return model_card(name, case, test_measures=test_measures, remarks=remarks)


def _model_id(client: Any, run: Any) -> str:
    model_id = registry.logged_model_id(client, run)
    if model_id is None:
        raise GridcastError(f"run {run.info.run_id} has no model '{MODEL_NAME}'; nothing can be registered")
    if not registry.has_files(client, model_id):
        raise GridcastError(
            f"the files of the model of run {run.info.run_id} are gone; put mlruns back, or delete the run in MLflow "
            "and train it again: gridcast run"
        )
    return model_id


def deployed_run(experiment: Experiment, store: Store, run: Any) -> Any:
    """Return the run whose model is promoted: the refitted winner where there is one."""
    if not experiment.training.refit:
        return run
    key = mlflow_runs.refit_key(run)
    return mlflow_runs.finished_runs(store, [key], "refit").get(key, run)


def recorded_test_measures(store: Store, winner: Any, baseline_keys: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Return the recorded measures on the test span by name: the winner's first, then those of each baseline.

    Baselines without a record are left out. Raises GridcastError if the winner was not tested yet.
    """
    key = winner.data.tags[KEY_TAG]
    tests = mlflow_runs.tested_runs(store, [key])
    if not tests:
        raise GridcastError(
            f"the best run, {mlflow_runs.run_name(winner)}, was not evaluated on the test span yet; "
            "finish the sweep: gridcast run"
        )
    baselines = mlflow_runs.finished_runs(store, baseline_keys.values(), "baseline")
    runs = [tests[key], *(baselines[key] for key in baseline_keys.values() if key in baselines)]
    return ranking.measures_by_name(runs)


def register_champion(
    client: Any,
    name: str,
    run: Any,
    *,
    verb: str,
    model_id: str,
    tags: Mapping[str, str],
    card: str,
    expected: str | None,
) -> tuple[str, str | None]:
    """Make the model of `run` champion of `name`, replacing the version `expected` (None if there is none).

    Return the numbers of the new champion and of the previous version. Raises ChampionChanged, with the old champion
    in place, where another version is champion by now.
    """
    # In this order a crash leaves the old champion in place, and a second start completes the work.
    version = _create_or_update_version(client, name, run, model_id=model_id, tags=tags, card=card)
    registry.link_version(client, model_id, name, version)
    model = registry.require_model(client, name)
    former = registry.version_with_alias(client, model, registry.CHAMPION)
    previous = expected if former is not None and expected != version else None
    champion_change.exchange_champion(client, name, verb=verb, champion=version, previous=previous, expected=expected)
    return version, _previous_number(client, registry.registered_model(client, name))


def _model_name(experiment: Experiment, force: str | None) -> str:
    """Return the name of the registered model. Raises ConfigError without one, or if the reason to force is empty."""
    name = experiment.selection.promote_to
    if name is None:
        raise ConfigError(f"selection.promote_to: is missing; name the registered model, such as {experiment.name}")
    if force is not None and not force.strip():
        raise ConfigError("--force: the reason is empty; say why the gates do not count, it is kept with the version")
    return name


def _refusal_text(name: str, gate: str, reason: str) -> str:
    return (
        f"'{name}' was not promoted, the gate '{gate}' refused: {reason}; --force REASON promotes it anyway and keeps "
        "the reason"
    )


def _unchanged(client: Any, model: Any, champion: Any) -> registry.Promotion:
    return registry.Promotion(
        version=registry.version_number(champion),
        name=model.name,
        already_champion=True,
        beaten_by=champion.tags.get(registry.BEATEN_BY_TAG),
        previous=_previous_number(client, model),
    )


def _previous_number(client: Any, model: Any) -> str | None:
    previous = registry.version_with_alias(client, model, registry.PREVIOUS)
    return None if previous is None else registry.version_number(previous)


def _remarks(
    case: PromotionCase, beaten_by: str | None, *, refusal: tuple[str, str] | None, force: str | None
) -> list[str]:
    """Return what the card says first: anything that speaks against the promotion."""
    remarks = (
        [f"Its error on the test span is not shown to be below that of {beaten_by}, see below."] if beaten_by else []
    )
    if case.is_unlabelled:
        remarks.append("The test span has no labels: it is unknown whether this model beats the baselines.")
    if case.broken_promise:
        remarks.append(case.broken_promise)
    if force is not None:
        refused = f" The gate '{refusal[0]}' had refused: {refusal[1]}." if refusal else ""
        remarks.append(f"Promoted by force: {force}.{refused}")
    return remarks


def _version_tags(case: PromotionCase, beaten_by: str | None, force: str | None) -> dict[str, str]:
    tags = {name: case.run.data.tags[name] for name in (KEY_TAG, FINGERPRINT_TAG)}
    tags |= {artifact_files.TEST_PREFIX + measure: repr(value) for measure, value in case.measures.items()}
    tags |= {registry.BEATEN_BY_TAG: beaten_by} if beaten_by else {}
    tags |= {registry.FORCED_TAG: force[:MAX_TEXT]} if force is not None else {}
    return tags


def _create_or_update_version(
    client: Any, name: str, run: Any, *, model_id: str, tags: Mapping[str, str], card: str
) -> str:
    """Return the number of the version of `run`: an existing one, brought up to date, else a new one."""
    from mlflow.exceptions import MlflowException

    if registry.registered_model(client, name) is None:
        try:
            client.create_registered_model(name, description=REGISTERED_MODEL_DESCRIPTION)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process created it in between
                raise
    versions = [v for v in client.search_model_versions(f"name='{name}'") if v.run_id == run.info.run_id]
    if not versions:
        logging.getLogger("mlflow.store.model_registry.abstract_store").setLevel(logging.WARNING)
        source = f"models:/{model_id}"
        version = client.create_model_version(
            name, source, run_id=run.info.run_id, tags=dict(tags), description=card, model_id=model_id
        )
        return registry.version_number(version)
    newest = max(versions, key=lambda version: int(version.version))
    number = registry.version_number(newest)
    client.update_model_version(name, number, card)
    for tag, value in tags.items():
        client.set_model_version_tag(name, number, tag, value)
    for tag in {registry.BEATEN_BY_TAG, registry.FORCED_TAG} & (set(newest.tags) - set(tags)):
        client.delete_model_version_tag(name, number, tag)
    return number


def _manual_change_note(client: Any, name: str, run: Any, *, model: Any, champion: Any) -> str | None:
    """Return a note if the model has versions or aliases but no champion, which only a manual change explains."""
    if model is None or champion is not None:
        return None
    others = [v for v in client.search_model_versions(f"name='{name}'") if v.run_id != run.info.run_id]
    if not others and not {registry.CHAMPION, registry.PREVIOUS} & set(model.aliases):
        return None
    return (
        f"'{name}' had no champion to compare with: its version or its alias was deleted by hand, or its first "
        f"promotion was interrupted "
        f"({registry.describe_versions(client, name)})"
    )
