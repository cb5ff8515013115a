"""The Model Registry: versions and their aliases, roll back, find, load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gridcast.runtime.errors import TrackingError, UnknownModel, suggest
from gridcast.tracking.mlflow_runs import MODEL_NAME
from gridcast.tracking.store import mlflow_errors

CHAMPION, PREVIOUS = "champion", "previous"
BEATEN_BY_TAG, FORCED_TAG = "gridcast.beaten_by", "gridcast.forced"


@dataclass(frozen=True)
class Promotion:
    """A champion: `already_champion` says that nothing had to be done.

    `beaten_by` names the best baseline that beats it; `previous` the version that has that alias;
    `note` tells of a registry that somebody changed by hand.
    """

    version: str
    name: str
    already_champion: bool = False
    beaten_by: str | None = None
    previous: str | None = None
    note: str | None = None


def rollback(client: Any, name: str) -> Promotion:
    """Let `champion` and `previous` change places; twice is as if never.

    Raises TrackingError, nothing changed, when the model, one of the versions or its alias is not there.
    """
    with mlflow_errors():
        model = require_model(client, name)
        champion, previous = (version_with_alias(client, model, alias) for alias in (CHAMPION, PREVIOUS))
        if champion is None:
            raise TrackingError(missing_alias_message(client, model, CHAMPION))
        if previous is None or previous.version == champion.version:
            raise TrackingError(missing_alias_message(client, model, PREVIOUS))
        client.set_registered_model_alias(name, CHAMPION, previous.version)
        client.set_registered_model_alias(name, PREVIOUS, champion.version)
    return Promotion(version_number(previous), name, False, previous.tags.get(BEATEN_BY_TAG), version_number(champion))


def logged_model_id(client: Any, run: Any) -> str | None:
    """The logged model `model` of a run, if it is whole."""
    from mlflow.entities import LoggedModelStatus
    from mlflow.exceptions import MlflowException

    for output in run.outputs.model_outputs if run.outputs else ():
        try:
            logged = client.get_logged_model(output.model_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            continue
        if logged.name == MODEL_NAME and logged.status == LoggedModelStatus.READY:
            return str(logged.model_id)
    return None


def registered_model(client: Any, name: str) -> Any:
    """The registered model of this name, or None."""
    return _or_none(lambda: client.get_registered_model(name))


def find_version(client: Any, name: str, number: str) -> Any:
    return _or_none(lambda: client.get_model_version(name, number)) if number.isdigit() else None


def version_with_alias(client: Any, model: Any, alias: str) -> Any:
    """The version with this alias; None without model or alias, or when the version was deleted."""
    number = model.aliases.get(alias) if model is not None else None
    return None if number is None else find_version(client, model.name, str(number))


def version_number(version: Any) -> str:
    """Of a model version, as text: the SQL store gives an int, a server a string."""
    return str(version.version)


def _or_none(ask: Callable[[], Any]) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def require_model(client: Any, name: str) -> Any:
    model = registered_model(client, name)
    if model is None:
        names = [known.name for known in client.search_registered_models()]
        there = suggest(name, names) or (f" (there are: {', '.join(names)})" if names else "; promote one first")
        raise UnknownModel(f"{client.tracking_uri}: no registered model '{name}'{there}")
    return model


def missing_alias_message(client: Any, model: Any, alias: str) -> str:
    """What to say of an alias that leads nowhere."""
    name = model.name
    promote = "promote a run (gridcast promote EXPERIMENT.yaml), or " if alias == CHAMPION else ""
    return (
        f"'{name}' has no {alias}: its version or its alias was deleted by hand, or there never was one "
        f"({describe_versions(client, name)}); {promote}"
        f"set it: MlflowClient().set_registered_model_alias('{name}', '{alias}', VERSION)"
    )


def describe_versions(client: Any, name: str) -> str:
    """The versions of a registered model with their aliases, as a text for messages."""
    aliases: dict[str, list[str]] = {}
    for alias, number in client.get_registered_model(name).aliases.items():
        aliases.setdefault(str(number), []).append(alias)
    numbers = sorted((version_number(version) for version in client.search_model_versions(f"name='{name}'")), key=int)
    told = [f"{number} ({', '.join(aliases[number])})" if number in aliases else number for number in numbers]
    return f"versions: {', '.join(told)}" if told else "it has no versions"
