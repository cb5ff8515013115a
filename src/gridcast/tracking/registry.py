"""The Model Registry: versions and their aliases, roll back, find, load."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gridcast.runtime.errors import DataError, TrackingError, UnknownModel, suggest
from gridcast.runtime.forecaster import SETTINGS
from gridcast.tracking import store
from gridcast.tracking.mlflow_runs import MODEL

CHAMPION, PREVIOUS = "champion", "previous"
BEATEN, FORCED = "gridcast.beaten_by", "gridcast.forced"


@dataclass(frozen=True)
class Promotion:
    """A champion: `already` says that nothing had to be done.

    `beaten_by` names the best baseline that beats it; `previous` the version that has that alias;
    `note` tells of a registry that somebody changed by hand.
    """

    version: str
    name: str
    already: bool = False
    beaten_by: str | None = None
    previous: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Found:
    """A model in MLflow: its exact URI and run; `name` and `version` where it is registered.

    `beaten_by` names the best baseline that beat it when it was promoted.
    """

    uri: str
    run_id: str | None
    name: str | None = None
    version: str | None = None
    beaten_by: str | None = None


@dataclass(frozen=True)
class Loaded:
    """A forecaster from MLflow, run by the code that it carries, and where it was found."""

    forecaster: Any
    found: Found

    def predict(
        self, table: pd.DataFrame, horizon: int | None = None, quantiles: Sequence[float] | None = None
    ) -> pd.DataFrame:
        """Forecasts in data units from a tidy table, see `Forecaster.predict`. Raises DataError."""
        asked = {"horizon": horizon, "quantiles": quantiles}
        try:
            return self.forecaster.predict(table, {name: value for name, value in asked.items() if value is not None})
        except Exception as error:
            # The carried code has error classes of its own.
            if getattr(error, "exit_code", None) == DataError.exit_code:
                raise DataError(str(error)) from None
            raise


def rollback(client: Any, name: str) -> Promotion:
    """Let `champion` and `previous` change places; twice is as if never.

    Raises TrackingError, nothing changed, when the model, one of the versions or its alias is not there.
    """
    with asking():
        model = _known(client, name)
        champion, previous = (aliased(client, model, alias) for alias in (CHAMPION, PREVIOUS))
        if champion is None:
            raise TrackingError(_gone(client, model, CHAMPION))
        if previous is None or previous.version == champion.version:
            raise TrackingError(_gone(client, model, PREVIOUS))
        client.set_registered_model_alias(name, CHAMPION, previous.version)
        client.set_registered_model_alias(name, PREVIOUS, champion.version)
    return Promotion(version_number(previous), name, False, previous.tags.get(BEATEN), version_number(champion))


def find(model: str, uri: str | None = None) -> Found:
    """The model that `model` means: the name of a registered model (its champion), a runs:/ or a models:/ URI.

    `uri` is the MLflow store, see `tracking.connect`. Raises TrackingError when there is no such
    model, version, alias or run.
    """
    client, uri = store.connect(uri)
    scheme, _, rest = model.partition(":/")
    with asking(uri):
        if scheme == "runs" and rest:
            run = client.get_run(rest.strip("/").split("/")[0])
            if run.info.lifecycle_stage == "deleted":
                raise TrackingError(f"run {run.info.run_id} is deleted; restore it: mlflow runs restore --run-id ID")
            return Found(model, str(run.info.run_id))
        name = rest.strip("/") if scheme == "models" else model
        if scheme == "models" and name.startswith("m-"):
            return Found(model, client.get_logged_model(name).source_run_id)
        if "/" in name:
            name, number = name.split("/", 1)
            _known(client, name)
            version = _version(client, name, number)
            missing = f"'{name}' has no version '{number}', or no more ({versions(client, name)})"
        else:
            name, _, alias = name.partition("@")
            registered = _known(client, name)
            version = aliased(client, registered, alias or CHAMPION)
            missing = _gone(client, registered, alias or CHAMPION)
        if version is None:
            raise TrackingError(missing)
    exact = f"models:/{name}/{version.version}"
    return Found(exact, version.run_id, name, version_number(version), version.tags.get(BEATEN))


def load(model: str, uri: str | None = None) -> Loaded:
    """The forecaster that `model` means, see `find`, run by the code that it carries.

    Start Keras first (`training.backend.start`), or it announces itself on standard error. Raises
    TrackingError when there is no such model or its files cannot be read.
    """
    found = find(model, uri)
    from mlflow import pyfunc

    with _downloaded(found.uri) as folder:
        path = list(sys.path)
        try:
            opened = pyfunc.load_model(str(folder), suppress_warnings=True)
        except Exception as error:  # noqa: BLE001 - MLflow, Keras and the carried code each have errors of their own
            raise TrackingError(f"{found.uri}: the model cannot be loaded: {first_line(error)}") from None
        finally:
            sys.path[:] = path  # MLflow leaves the folder's code on the path, and the folder goes
    forecaster = opened._model_impl
    if not hasattr(forecaster, "preprocessing"):
        raise TrackingError(f"{found.uri}: this model was not made by gridcast")
    return Loaded(forecaster, found)


def model_id(client: Any, run: Any) -> str | None:
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
        if logged.name == MODEL and logged.status == LoggedModelStatus.READY:
            return str(logged.model_id)
    return None


def registered(client: Any, name: str) -> Any:
    """The registered model of this name, or None."""
    return _or_none(lambda: client.get_registered_model(name))


def _version(client: Any, name: str, number: str) -> Any:
    return _or_none(lambda: client.get_model_version(name, number)) if number.isdigit() else None


def aliased(client: Any, model: Any, alias: str) -> Any:
    """The version with this alias; None without model or alias, or when the version was deleted."""
    number = model.aliases.get(alias) if model is not None else None
    return None if number is None else _version(client, model.name, str(number))


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


def _known(client: Any, name: str) -> Any:
    model = registered(client, name)
    if model is None:
        names = [known.name for known in client.search_registered_models()]
        there = suggest(name, names) or (f" (there are: {', '.join(names)})" if names else "; promote one first")
        raise UnknownModel(f"{client.tracking_uri}: no registered model '{name}'{there}")
    return model


def _gone(client: Any, model: Any, alias: str) -> str:
    """What to say of an alias that leads nowhere."""
    name = model.name
    promote = "promote a run (gridcast promote EXPERIMENT.yaml), or " if alias == CHAMPION else ""
    return (
        f"'{name}' has no {alias}: its version or its alias was deleted by hand, or there never was one "
        f"({versions(client, name)}); {promote}"
        f"set it: MlflowClient().set_registered_model_alias('{name}', '{alias}', VERSION)"
    )


def versions(client: Any, name: str) -> str:
    """The versions of a registered model with their aliases, as a text for messages."""
    aliases: dict[str, list[str]] = {}
    for alias, number in client.get_registered_model(name).aliases.items():
        aliases.setdefault(str(number), []).append(alias)
    numbers = sorted((version_number(version) for version in client.search_model_versions(f"name='{name}'")), key=int)
    told = [f"{number} ({', '.join(aliases[number])})" if number in aliases else number for number in numbers]
    return f"versions: {', '.join(told)}" if told else "it has no versions"


def files(uri: str) -> dict[str, bytes]:
    """The forecaster files of the model at `uri`. Raises TrackingError."""
    with _downloaded(uri) as folder:
        data = folder / "data"
        if not (data / SETTINGS).is_file():
            raise TrackingError(f"{uri} was not made by gridcast")
        return {path.name: path.read_bytes() for path in data.iterdir()}


@contextlib.contextmanager
def _downloaded(uri: str) -> Iterator[Path]:
    """A copy of the model folder for as long as it is read: MLflow would write into the original."""
    from mlflow.artifacts import download_artifacts

    logging.getLogger("mlflow.store.artifact.artifact_repo").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = Path(download_artifacts(artifact_uri=uri, dst_path=folder))
        except Exception as error:  # noqa: BLE001 - whatever the artifact store raises
            raise TrackingError(f"{uri}: the model's files cannot be read: {first_line(error)}") from None
        if not (path / "MLmodel").is_file():  # MLflow gives an empty folder for one that is gone
            raise TrackingError(f"{uri}: the model's files are gone from the artifact store")
        yield path


@contextlib.contextmanager
def asking(uri: str = "MLflow") -> Iterator[None]:
    """Turn what MLflow raises into one line."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise TrackingError(f"{uri}: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """Of the error's message, or the name of its class."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
