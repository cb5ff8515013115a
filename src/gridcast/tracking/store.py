"""The connection to MLflow, and its errors as one line that says what to do."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from gridcast.runtime.errors import ConfigError, TrackingError, Unreachable, install_remedy, suggest
from gridcast.tracking import artifact_paths, sqlite_store
from gridcast.tracking.addresses import readable_address, without_credentials
from gridcast.tracking.patient_client import PatientClient, refused_status

MAX_TEXT = 5000
"""Characters that MLflow stores of a description or a tag."""
DEFAULT_URI = "sqlite:///mlflow.db"
TRANSIENT_ERRORS = (
    "INTERNAL_ERROR",
    "TEMPORARILY_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "DEADLINE_EXCEEDED",
    "ABORTED",
)
"""Error codes of MLflow after which the same call may succeed later."""

ARTIFACT_REMEDY = "put mlruns back, then run the same command again; `gridcast doctor` says what is gone"

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Store:
    """One MLflow experiment on one tracking server: `experiment` is its id."""

    client: Any
    uri: str
    experiment: str


@contextlib.contextmanager
def mlflow_errors(uri: str) -> Iterator[None]:
    """Turn what MLflow raises inside the block into one line that names the store `uri`.

    Raises Unreachable where the same call may succeed later (no answer, a locked database), else TrackingError.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        raise _tracking_error(uri, error) from error
    except OSError as error:
        if error.errno not in (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
            raise
        raise TrackingError(
            f"{without_credentials(uri)}: artifacts are missing, or were removed meanwhile ({first_line(error)}); "
            f"{ARTIFACT_REMEDY}"
        ) from None


def translate_mlflow_errors(function: Callable[Concatenate[Store, P], T]) -> Callable[Concatenate[Store, P], T]:
    """Run each call `function(store, …)` inside `mlflow_errors` of its store."""

    @functools.wraps(function)
    def call(store: Store, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with mlflow_errors(store.uri):
            return function(store, *args, **kwargs)

    return call


def _tracking_error(uri: str, error: Exception) -> TrackingError:
    text = f"{without_credentials(uri)}: {first_line(error)}"
    message = str(error).lower()
    if "disk is full" in message or "no space left" in message:
        return TrackingError(f"{text}; free some space there, then run the same command again to continue")
    if "readonly database" in message or "disk i/o error" in message:
        return TrackingError(f"{text}; make it writable, then run the same command again to continue")
    if "malformed" in message or "not a database" in message:
        return TrackingError(f"{text}; the file is damaged: run `gridcast doctor` for what can be done")
    if status := refused_status(error):
        return TrackingError(f"{text} (HTTP {status}); see user and password, then run the same command again")
    is_transient = (
        isinstance(error, OSError)
        or getattr(error, "error_code", "") in TRANSIENT_ERRORS
        or "is locked" in message  # SQLite's word for a database that another process writes to
    )
    return (Unreachable if is_transient else TrackingError)(text)


def open_store(name: str, uri: str | None = None, *, create: bool = True) -> Store:
    """Return the MLflow experiment `name`, created if it is missing unless `create` is False.

    The tracking URI is `uri`, else MLFLOW_TRACKING_URI, else `sqlite:///mlflow.db` in the working
    directory, so that a plain `mlflow ui` shows it. Raises TrackingError, and ConfigError if MLflow's settings for
    other programs ask for another place than this experiment.
    """
    client, uri = connect(uri)
    if create:
        _refuse_other_destination(name)
    _refuse_stale_location(uri, name)
    if uri.startswith("http"):
        client = PatientClient(client, uri)
    with mlflow_errors(uri):
        experiment = client.get_experiment_by_name(name)
        if experiment is None and not create:
            names = [other.name for other in client.search_experiments()]
            raise TrackingError(f"{without_credentials(uri)}: no MLflow experiment '{name}'{suggest(name, names)}")
        if experiment is None:
            # The tag makes the web page open on runs rather than on traces of language models.
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return Store(client, uri, client.create_experiment(name, tags=kind))
        if experiment.lifecycle_stage == "deleted":
            raise TrackingError(f"the MLflow experiment '{name}' is deleted; restore it, or rename the experiment")
        return Store(client, uri, experiment.experiment_id)


def connect(uri: str | None = None) -> tuple[Any, str]:
    """Return an MLflow client and its tracking URI. Raises TrackingError when the store cannot be opened."""
    mlflow = _import_mlflow()
    from mlflow.exceptions import MlflowException

    uri = readable_address(uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI)
    sqlite_store.check_file(uri)
    path, shown = sqlite_store.sqlite_path(uri), without_credentials(uri)
    try:
        if path is not None and not path.exists():
            sqlite_store.create_database(path, create_tables)
        mlflow.set_tracking_uri(uri)
        client = mlflow.MlflowClient(uri)
        client.search_experiments(max_results=1)
    except MlflowException as error:
        raise TrackingError(f"{shown}: the MLflow store cannot be used: {first_line(error)}") from None
    except Exception as error:  # noqa: BLE001 - SQLAlchemy and file errors come as they are
        reason = f"{first_line(error)}{install_remedy(error)}"
        raise TrackingError(f"{shown}: the MLflow store cannot be opened: {reason}") from None
    return client, uri


def require_store(uri: str | None = None) -> None:
    """Raise TrackingError if the SQLite file of the store does not exist yet; `connect` would create it.

    The store is `uri`, else MLFLOW_TRACKING_URI, else the default one.
    """
    path = sqlite_store.sqlite_path(uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI)
    if path is not None and not path.exists():
        raise TrackingError(
            f"{path}: there is no MLflow store here yet; `gridcast run EXPERIMENT.yaml` creates it; if you have one, "
            "work in its folder or set MLFLOW_TRACKING_URI"
        )


def _import_mlflow() -> Any:
    """Import MLflow with quiet logs and short timeouts."""
    # MLflow reads these when it is imported; with its own defaults a dead server blocks a sweep for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    import mlflow

    logging.getLogger("alembic").setLevel(logging.WARNING)
    # These log a lost server or a full disk over many lines; our own errors say it in one.
    for name in ("mlflow.store.db.utils", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return mlflow


def create_tables(uri: str) -> None:
    """Let MLflow create its tables and its default experiment in a new database.

    Its sixty migrations take 1.5 seconds, and run once per user: later databases begin as a copy of the tables.
    """
    path = sqlite_store.sqlite_path(uri)
    has_tables = path is not None and sqlite_store.copy_tables(path)
    _import_mlflow().MlflowClient(uri).search_experiments(max_results=1)
    if path is not None and not has_tables:
        sqlite_store.keep_tables(path)


def find_sweep(run_id: str | None, uri: str | None = None) -> tuple[Store, str]:
    """Return the MLflow experiment of a run, and the run id of the sweep that it belongs to. Raises TrackingError."""
    client, uri = connect(uri)
    if uri.startswith("http"):
        client = PatientClient(client, uri)
    with mlflow_errors(uri):
        run = client.get_run(run_id or "")
        experiment = client.get_experiment(run.info.experiment_id)
    _refuse_stale_location(uri, experiment.name)
    sweep_id = run.data.tags.get("gridcast.sweep") or run.data.tags.get("mlflow.parentRunId")
    if sweep_id is None:
        raise TrackingError(f"{without_credentials(uri)}: run {run_id} belongs to no sweep of gridcast")
    return Store(client, uri, run.info.experiment_id), str(sweep_id)


def _refuse_other_destination(name: str) -> None:
    """Raise ConfigError where MLflow is set to record in another experiment or run than a sweep of `name` does."""
    import mlflow

    if (wanted := os.environ.get("MLFLOW_EXPERIMENT_NAME", name)) != name:
        raise ConfigError(
            f"MLFLOW_EXPERIMENT_NAME: '{wanted}', but this experiment is recorded under its own name, '{name}'; unset "
            f"the variable, or write name: {wanted} in the experiment file"
        )
    for variable in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):
        if variable in os.environ:
            raise ConfigError(
                f"{variable}: '{os.environ[variable]}', but a sweep is recorded in the MLflow experiment '{name}', in "
                "runs of its own; unset the variable"
            )
    if (active := mlflow.active_run()) is not None:
        raise ConfigError(
            f"the MLflow run {active.info.run_id} is active, but a sweep is recorded in runs of its own; call "
            "mlflow.end_run() first"
        )


def _refuse_stale_location(uri: str, experiment: str) -> None:
    """Raise TrackingError, with the remedy, if the store keeps artifacts of `experiment` in a folder that has moved."""
    if message := artifact_paths.stale_location_message(uri, experiment):
        raise TrackingError(message)


def first_line(error: Exception) -> str:
    """Return the first line of the error's message, without passwords, or the name of its class if it has none."""
    return without_credentials((str(error).strip() or type(error).__name__).splitlines()[0])
