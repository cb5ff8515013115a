"""The MLflow store: connect to it, and turn its errors into one line."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from gridcast.runtime.errors import TrackingError, Unreachable, suggest
from gridcast.tracking import artifact_paths, sqlite_store

MAX_TEXT = 5000
"""Characters that MLflow keeps of a description or a tag."""


DEFAULT_URI = "sqlite:///mlflow.db"


TRANSIENT_ERRORS = (
    "INTERNAL_ERROR",
    "TEMPORARILY_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "DEADLINE_EXCEEDED",
    "ABORTED",
)
"""What a server says, or MLflow for it, when the same question may be answered later."""


P = ParamSpec("P")


T = TypeVar("T")


@dataclass(frozen=True)
class Store:
    """One MLflow experiment on one tracking server."""

    client: Any
    uri: str
    experiment: str


def translate_mlflow_errors(function: Callable[Concatenate[Store, P], T]) -> Callable[Concatenate[Store, P], T]:
    """Let `function(store, …)` raise what a user can read: TrackingError, Unreachable where waiting may help."""

    @functools.wraps(function)
    def asked(store: Store, /, *args: P.args, **kwargs: P.kwargs) -> T:
        from mlflow.exceptions import MlflowException
        from requests import RequestException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return function(store, *args, **kwargs)
        except (MlflowException, RequestException, SQLAlchemyError) as error:
            raise _tracking_error(store.uri, error) from error

    return asked


def _tracking_error(uri: str, error: Exception) -> TrackingError:
    text = f"{uri}: {first_line(error)}"
    whole = str(error).lower()
    if "disk is full" in whole or "no space left" in whole:
        return TrackingError(f"{text}; free some space there, then the same command goes on")
    if "readonly database" in whole or "disk i/o error" in whole:
        return TrackingError(f"{text}; make it writable, then the same command goes on")
    if "malformed" in whole or "not a database" in whole:
        return TrackingError(f"{text}; the file is damaged: gridcast doctor tells what can be done")
    waiting = isinstance(error, OSError) or getattr(error, "error_code", "") in TRANSIENT_ERRORS or "is locked" in whole
    return (Unreachable if waiting else TrackingError)(text)


def open_store(name: str, uri: str | None = None, *, create: bool = True) -> Store:
    """The MLflow experiment `name`, made where it is missing unless `create` is False.

    The tracking URI is `uri`, else MLFLOW_TRACKING_URI, else `sqlite:///mlflow.db` in the working
    directory, so that a plain `mlflow ui` shows it. Raises TrackingError.
    """
    client, uri = connect(uri)
    if moved := artifact_paths.stale_location_message(uri, name):
        raise TrackingError(moved)
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_experiment_by_name(name)
        if found is None and not create:
            names = [known.name for known in client.search_experiments()]
            raise TrackingError(f"{uri}: no MLflow experiment '{name}'{suggest(name, names)}")
        if found is None:
            # The tag makes the web page open on runs rather than on traces of language models.
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return Store(client, uri, client.create_experiment(name, tags=kind))
        if found.lifecycle_stage == "deleted":
            raise TrackingError(f"the MLflow experiment '{name}' is deleted; restore it, or rename the experiment")
        return Store(client, uri, found.experiment_id)
    except MlflowException as error:
        raise TrackingError(f"{uri}: {first_line(error)}") from None


def connect(uri: str | None = None) -> tuple[Any, str]:
    """An MLflow client and its tracking URI. Raises TrackingError when the store cannot be opened."""
    mlflow = _import_mlflow()
    from mlflow.exceptions import MlflowException

    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    sqlite_store.check_file(uri)
    path = sqlite_store.sqlite_path(uri)
    try:
        if path is not None and not path.exists():
            sqlite_store.create_database(path, create_tables)
        mlflow.set_tracking_uri(uri)
        client = mlflow.MlflowClient(uri)
        client.search_experiments(max_results=1)
    except MlflowException as error:
        raise TrackingError(f"{uri}: the MLflow store cannot be used: {first_line(error)}") from None
    except Exception as error:  # noqa: BLE001 - SQLAlchemy and file errors come as they are
        raise TrackingError(f"{uri}: the MLflow store cannot be opened: {first_line(error)}") from None
    return client, uri


def _import_mlflow() -> Any:
    """MLflow, imported so that it is quiet and gives a dead server up soon."""
    # MLflow reads these when it is imported; a dead server must not hang a sweep for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    import mlflow

    logging.getLogger("alembic").setLevel(logging.WARNING)
    # What these have to say of a lost server or a full disk, our own errors say in a line.
    for noisy in ("mlflow.store.db.utils", "urllib3.connectionpool"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    return mlflow


def create_tables(uri: str) -> None:
    """Let MLflow make its tables in a new file, in some sixty migrations."""
    _import_mlflow().MlflowClient(uri).search_experiments(max_results=1)


def find_sweep(run_id: str | None, uri: str | None = None) -> tuple[Store, str]:
    """The MLflow experiment of a run, and the id of the sweep that it belongs to. Raises TrackingError."""
    from mlflow.exceptions import MlflowException

    client, uri = connect(uri)
    try:
        run = client.get_run(run_id or "")
    except MlflowException as error:
        raise TrackingError(f"{uri}: {first_line(error)}") from None
    parent = run.data.tags.get("mlflow.parentRunId")
    if parent is None:
        raise TrackingError(f"{uri}: run {run_id} belongs to no sweep of gridcast")
    return Store(client, uri, run.info.experiment_id), str(parent)


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def mlflow_errors(uri: str = "MLflow") -> Iterator[None]:
    """Turn what MLflow raises into one line."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise TrackingError(f"{uri}: {first_line(error)}") from None
