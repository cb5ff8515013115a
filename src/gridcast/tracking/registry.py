"""The Model Registry: versions and their aliases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gridcast.runtime.errors import UnknownModel, suggest
from gridcast.tracking.addresses import without_credentials
from gridcast.tracking.mlflow_runs import MODEL_NAME

CHAMPION, PREVIOUS = "champion", "previous"
BEATEN_BY_TAG, FORCED_TAG = "gridcast.beaten_by", "gridcast.forced"


@dataclass(frozen=True)
class Promotion:
    """A champion after a promotion or a rollback.

    `already_champion` means that nothing had to be done; `beaten_by` names the best baseline that beats it;
    `previous` is the version with that alias; `note` says that somebody changed the registry by hand.
    """

    version: str
    name: str
    already_champion: bool = False
    beaten_by: str | None = None
    previous: str | None = None
    note: str | None = None


def logged_model_id(client: Any, run: Any) -> str | None:
    """Return the id of the logged model `model` of a run; None unless it was uploaded completely."""
    from mlflow.entities import LoggedModelStatus

    for output in run.outputs.model_outputs if run.outputs else ():
        logged = _or_none(client.get_logged_model, output.model_id)
        if logged is not None and logged.name == MODEL_NAME and logged.status == LoggedModelStatus.READY:
            return str(logged.model_id)
    return None


def has_files(client: Any, model_id: str) -> bool:
    """Whether the files of a logged model are where the store says."""
    from mlflow.artifacts import list_artifacts

    location = client.get_logged_model(model_id).artifact_location
    return bool(list_artifacts(artifact_uri=location, tracking_uri=client.tracking_uri))


def link_version(client: Any, model_id: str, name: str, number: str) -> None:
    """Show the version `number` of `name` on the page of its logged model, as `mlflow.register_model` does."""
    tag, version = "mlflow.modelVersions", {"name": name, "version": number}
    versions = json.loads(client.get_logged_model(model_id).tags.get(tag, "[]"))
    if version not in versions:
        client.set_logged_model_tags(model_id, {tag: json.dumps([*versions, version])})


def registered_model(client: Any, name: str) -> Any:
    """Return the registered model of this name, or None."""
    return _or_none(client.get_registered_model, name)


def require_model(client: Any, name: str) -> Any:
    """Return the registered model of this name. Raises UnknownModel with the names that exist."""
    model = registered_model(client, name)
    if model is None:
        names = [other.name for other in client.search_registered_models()]
        hint = suggest(name, names) or (f" (there are: {', '.join(names)})" if names else "; promote one first")
        raise UnknownModel(f"{without_credentials(client.tracking_uri)}: no registered model '{name}'{hint}")
    return model


def find_version(client: Any, name: str, number: str) -> Any:
    """Return the version `number` of a registered model, or None."""
    return _or_none(client.get_model_version, name, number) if number.isdigit() else None


def version_with_alias(client: Any, model: Any, alias: str) -> Any:
    """Return the version with this alias; None without the model or alias, or if the version was deleted."""
    number = alias_number(model, alias)
    return None if number is None else find_version(client, model.name, number)


def alias_number(model: Any, alias: str) -> str | None:
    """Return the number of the version with this alias; None without the model or alias."""
    number = model.aliases.get(alias) if model is not None else None
    return None if number is None else str(number)


def version_number(version: Any) -> str:
    """Return the number of a model version as text: the SQL store gives an int, a server a string."""
    return str(version.version)


def missing_alias_message(client: Any, model: Any, alias: str) -> str:
    """Return the error message for an alias that points to no version, with the remedy."""
    name = model.name
    promote = "promote a run (gridcast promote EXPERIMENT.yaml), or " if alias == CHAMPION else ""
    return (
        f"'{name}' has no {alias}: its version or its alias was deleted by hand, or there never was one "
        f"({describe_versions(client, name)}); {promote}"
        f"set it: MlflowClient().set_registered_model_alias('{name}', '{alias}', VERSION)"
    )


def describe_versions(client: Any, name: str) -> str:
    """Return the versions of a registered model and their aliases, such as `versions: 1, 2 (champion)`."""
    aliases: dict[str, list[str]] = {}
    for alias, number in client.get_registered_model(name).aliases.items():
        aliases.setdefault(str(number), []).append(alias)
    numbers = sorted((version_number(version) for version in client.search_model_versions(f"name='{name}'")), key=int)
    versions = [f"{number} ({', '.join(aliases[number])})" if number in aliases else number for number in numbers]
    return f"versions: {', '.join(versions)}" if versions else "it has no versions"


def _or_none(get: Callable[..., Any], *identifiers: str) -> Any:
    """Return `get(*identifiers)`, or None if MLflow answers that there is no such thing."""
    from mlflow.exceptions import MlflowException

    try:
        return get(*identifiers)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
