"""Find a model in MLflow by its name or URI, and load it with the code that it carries."""

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

from gridcast.runtime.errors import DataError, TrackingError, is_data_error
from gridcast.runtime.model_files import SETTINGS_FILE
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
    """A model in MLflow: its exact URI and run; `name` and `version` if it is registered.

    `beaten_by` names the best baseline that beat it when it was promoted.
    """

    uri: str
    run_id: str | None
    name: str | None = None
    version: str | None = None
    beaten_by: str | None = None


@dataclass(frozen=True)
class LoadedModel:
    """A forecaster or detector from MLflow, run by the code that it carries, and its reference."""

    model: Any
    reference: ModelReference

    def predict(
        self, table: pd.DataFrame, horizon: int | None = None, quantiles: Sequence[float] | None = None
    ) -> pd.DataFrame:
        """Return forecasts in data units from a tidy table, see `Forecaster.predict`. Raises DataError."""
        with _own_data_errors():
            forecasts: pd.DataFrame = self.model.predict(table, _params(horizon, quantiles))
            return forecasts

    def predict_each_series(
        self,
        table: pd.DataFrame,
        horizon: int | None = None,
        quantiles: Sequence[float] | None = None,
        *,
        ended: bool = False,
    ) -> tuple[pd.DataFrame, dict[str, str]]:
        """Return the same where something is wrong with some series, and what, see `Forecaster.predict_each_series`.

        A model that was made by a version without it refuses the whole table. Raises DataError.
        """
        if not hasattr(self.model, "predict_each_series"):
            return self.predict(table, horizon, quantiles), {}
        with _own_data_errors():
            forecasts, problems = self.model.predict_each_series(table, _params(horizon, quantiles), ended=ended)
            return forecasts, problems


def _params(horizon: int | None, quantiles: Sequence[float] | None) -> dict[str, Any]:
    params = {"horizon": horizon, "quantiles": quantiles}
    return {name: value for name, value in params.items() if value is not None}


@contextlib.contextmanager
def _own_data_errors() -> Iterator[None]:
    """Raise what the code that a model carries says of its input as a DataError of this package."""
    try:
        yield
    except Exception as error:
        if is_data_error(error):
            raise DataError(str(error)) from None
        raise


def find_model(model: str, uri: str | None = None) -> ModelReference:
    """Return the model that `model` names: a registered model (its champion), a runs:/ or a models:/ URI.

    `uri` is the MLflow store, see `store.connect`. Raises TrackingError if there is no such model,
    version, alias or run.
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
        return _find_registered(client, name)


def _find_registered(client: Any, name: str) -> ModelReference:
    """Return the version that `NAME`, `NAME@ALIAS` or `NAME/VERSION` names. Raises TrackingError."""
    if "/" in name:
        name, number = name.split("/", 1)
        require_model(client, name)
        version = find_version(client, name, number)
        if version is None:
            versions = describe_versions(client, name)
            raise TrackingError(f"'{name}' has no version '{number}', or it was deleted ({versions})")
    else:
        name, _, alias = name.partition("@")
        model = require_model(client, name)
        version = version_with_alias(client, model, alias or CHAMPION)
        if version is None:
            raise TrackingError(missing_alias_message(client, model, alias or CHAMPION))
    return ModelReference(
        uri=f"models:/{name}/{version.version}",
        run_id=version.run_id,
        name=name,
        version=version_number(version),
        beaten_by=version.tags.get(BEATEN_BY_TAG),
    )


def load_model(model: str, uri: str | None = None) -> LoadedModel:
    """Return the model that `model` names, see `find_model`, run by the code that it carries.

    Call `keras_backend.start` first; otherwise Keras prints its backend on standard error. Raises
    TrackingError if there is no such model or its files cannot be read.
    """
    reference = find_model(model, uri)
    from mlflow import pyfunc

    with _downloaded(reference.uri) as folder:
        path = list(sys.path)
        try:
            pyfunc_model = pyfunc.load_model(str(folder), suppress_warnings=True)
        except Exception as error:  # noqa: BLE001 - MLflow, Keras and the carried code each have errors of their own
            raise TrackingError(f"{reference.uri}: the model cannot be loaded: {first_line(error)}") from None
        finally:
            sys.path[:] = path  # MLflow leaves the model's code on the path, and its folder is about to go
    loaded = pyfunc_model._model_impl
    if not hasattr(loaded, "preprocessing"):
        raise TrackingError(f"{reference.uri}: this model was not made by gridcast")
    return LoadedModel(loaded, reference)


def download_files(uri: str) -> dict[str, bytes]:
    """Return the files of the forecaster or detector at `uri`, by name. Raises TrackingError."""
    with _downloaded(uri) as folder:
        data = folder / "data"
        if not (data / SETTINGS_FILE).is_file():
            raise TrackingError(f"{uri} was not made by gridcast")
        return {path.name: path.read_bytes() for path in data.iterdir()}


@contextlib.contextmanager
def _downloaded(uri: str) -> Iterator[Path]:
    """Yield a temporary copy of the model folder: reading the original, MLflow would write into it."""
    from mlflow.artifacts import download_artifacts

    logging.getLogger("mlflow.store.artifact.artifact_repo").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = Path(download_artifacts(artifact_uri=uri, dst_path=folder))
        except Exception as error:  # noqa: BLE001 - whatever the artifact store raises
            raise TrackingError(f"{uri}: the model's files cannot be read: {first_line(error)}") from None
        if not (path / "MLmodel").is_file():  # MLflow returns an empty folder for one that is gone
            raise TrackingError(f"{uri}: the model's files are gone from the artifact store")
        yield path
