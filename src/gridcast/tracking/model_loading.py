"""Find a model in MLflow and load it with the code that it carries."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gridcast.runtime.errors import DataError, TrackingError
from gridcast.runtime.forecaster import SETTINGS_FILE
from gridcast.tracking.registry import (
    BEATEN_BY_TAG,
    CHAMPION,
    describe_versions,
    find_version,
    missing_alias_message,
    require_model,
    version_number,
    version_with_alias,
)
from gridcast.tracking.store import connect, first_line, mlflow_errors


@dataclass(frozen=True)
class ModelReference:
    """A model in MLflow: its exact URI and run; `name` and `version` where it is registered.

    `beaten_by` names the best baseline that beat it when it was promoted.
    """

    uri: str
    run_id: str | None
    name: str | None = None
    version: str | None = None
    beaten_by: str | None = None


@dataclass(frozen=True)
class LoadedModel:
    """A forecaster from MLflow, run by the code that it carries, and where it was found."""

    model: Any
    reference: ModelReference

    def predict(
        self, table: pd.DataFrame, horizon: int | None = None, quantiles: Sequence[float] | None = None
    ) -> pd.DataFrame:
        """Forecasts in data units from a tidy table, see `Forecaster.predict`. Raises DataError."""
        asked = {"horizon": horizon, "quantiles": quantiles}
        try:
            return self.model.predict(table, {name: value for name, value in asked.items() if value is not None})
        except Exception as error:
            # The carried code has error classes of its own.
            if getattr(error, "exit_code", None) == DataError.exit_code:
                raise DataError(str(error)) from None
            raise


def find_model(model: str, uri: str | None = None) -> ModelReference:
    """The model that `model` means: the name of a registered model (its champion), a runs:/ or a models:/ URI.

    `uri` is the MLflow store, see `tracking.connect`. Raises TrackingError when there is no such
    model, version, alias or run.
    """
    client, uri = connect(uri)
    scheme, _, rest = model.partition(":/")
    with mlflow_errors(uri):
        if scheme == "runs" and rest:
            run = client.get_run(rest.strip("/").split("/")[0])
            if run.info.lifecycle_stage == "deleted":
                raise TrackingError(f"run {run.info.run_id} is deleted; restore it: mlflow runs restore --run-id ID")
            return ModelReference(model, str(run.info.run_id))
        name = rest.strip("/") if scheme == "models" else model
        if scheme == "models" and name.startswith("m-"):
            return ModelReference(model, client.get_logged_model(name).source_run_id)
        if "/" in name:
            name, number = name.split("/", 1)
            require_model(client, name)
            version = find_version(client, name, number)
            missing = f"'{name}' has no version '{number}', or no more ({describe_versions(client, name)})"
        else:
            name, _, alias = name.partition("@")
            registered = require_model(client, name)
            version = version_with_alias(client, registered, alias or CHAMPION)
            missing = missing_alias_message(client, registered, alias or CHAMPION)
        if version is None:
            raise TrackingError(missing)
    exact = f"models:/{name}/{version.version}"
    return ModelReference(exact, version.run_id, name, version_number(version), version.tags.get(BEATEN_BY_TAG))


def load_model(model: str, uri: str | None = None) -> LoadedModel:
    """The forecaster that `model` means, see `find`, run by the code that it carries.

    Start Keras first (`training.backend.start`), or it announces itself on standard error. Raises
    TrackingError when there is no such model or its files cannot be read.
    """
    found = find_model(model, uri)
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
    return LoadedModel(forecaster, found)


def download_files(uri: str) -> dict[str, bytes]:
    """The forecaster files of the model at `uri`. Raises TrackingError."""
    with _downloaded(uri) as folder:
        data = folder / "data"
        if not (data / SETTINGS_FILE).is_file():
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
