"""Search, read and change the MLflow runs of an experiment: a sweep is a parent run, its runs are the children."""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gridcast.runtime.errors import TrackingError
from gridcast.tracking.addresses import without_credentials
from gridcast.tracking.store import ARTIFACT_REMEDY, MAX_TEXT, Store, first_line, translate_mlflow_errors

KIND_TAG, KEY_TAG, SEED_TAG, SWEEP_KEY_TAG = "gridcast.kind", "gridcast.run_key", "gridcast.seed", "gridcast.sweep_key"
CONFIGURATION_TAG, FINGERPRINT_TAG, ERROR_TAG = "gridcast.configuration", "gridcast.fingerprint", "gridcast.error"
SERIES_TAG, FOLD_TAG, WINNER_TAG = "gridcast.series", "gridcast.fold", "gridcast.winner"
PROMOTION_TAG, VERDICT_TAG, DESCRIPTION_TAG = "gridcast.promotion", "gridcast.verdict", "mlflow.note.content"
PROMOTED_RUN_TAG = "gridcast.promotion_of"
"""Id of the run that the outcome in PROMOTION_TAG is about."""
SHOWN_PROMOTION_TAG = "gridcast.promotion_shown"
"""The outcome of the promotion that the last report shows."""
CONFIRMATION_TAG = "gridcast.confirmation"
"""Marks a run with a further seed of a leading configuration."""
MEASURED_TAG = "gridcast.measured"
"""Digests of the metrics of one's own that a run is measured by, as JSON by name."""
TEST_MEASURED_TAG = "gridcast.measured.test"
"""The same of the test span."""
DIRECTION_TAG = "gridcast.higher_is_better"
"""Names, separated by blanks, of a run's metrics of one's own of which a higher value is better."""
SWEEP_TAG, PARENT_TAG, TESTED_TAG = "gridcast.sweep", "mlflow.parentRunId", "gridcast.tested"
TRAINED_BY_TAG = "gridcast.recalibrated_from"
REFIT_OF_PARAM = "refit_of"
"""Param of a refitted winner: the id of the run before."""
"""Id of the run that trained the network of a detector, where this one has only another threshold."""
WINNER_KIND = "winner"
"""Kind of the run that holds a forecaster made of several runs."""
STOPPED_KIND = "stopped"
"""Kind of a run that the search did not train to its end."""
GRID_KINDS = ("run", STOPPED_KIND)
"""Kinds of the runs of the grid: MLflow lists them beside their sweep, all others folded below it."""
VALIDATION_FILE = "validation.json"
"""Artifact of a run with its errors on the validation span, as pairs of position and value, under these two names."""
LOSS_BY_ORIGIN, MAE_BY_SERIES = "val_loss_by_origin", "val_mae_by_series"
MODEL_NAME = "model"
PAGE_SIZE = 1000
"""Runs that MLflow returns per request."""


@translate_mlflow_errors
def run_tags(store: Store, run_id: str) -> dict[str, str]:
    """Return the tags of a run."""
    return dict(store.client.get_run(run_id).data.tags)


@translate_mlflow_errors
def set_run_tag(store: Store, run_id: str, tag: str, text: str) -> None:
    """Set a tag of a run."""
    store.client.set_tag(run_id, tag, text[:MAX_TEXT])


@translate_mlflow_errors
def run_status(store: Store, run_id: str) -> str:
    """Return the status of a run."""
    return str(store.client.get_run(run_id).info.status)


@translate_mlflow_errors
def set_run_status(store: Store, run_id: str, status: str) -> None:
    """Close or reopen a run: FINISHED, FAILED, KILLED or RUNNING."""
    if status == "RUNNING":
        store.client.update_run(run_id, status=status)
    else:
        store.client.set_terminated(run_id, status)


@translate_mlflow_errors
def search_runs(store: Store, condition: str) -> list[Any]:
    """Return every run of the experiment that meets `condition`, newest first."""
    runs: list[Any] = []
    token = None
    while True:
        page = store.client.search_runs(
            [store.experiment],
            condition,
            max_results=PAGE_SIZE,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        runs += page
        token = page.token
        if not token:
            return runs


def finished_runs(store: Store, keys: Iterable[str], kind: str = "run") -> dict[str, Any]:
    """Return the FINISHED child run of each of `keys` that has one; the oldest if a key has several."""
    wanted = set(keys)
    condition = f"tags.`{KIND_TAG}` = '{kind}' and attributes.status = 'FINISHED'"
    if len(wanted) == 1:
        condition += f" and tags.`{KEY_TAG}` = '{next(iter(wanted))}'"
    runs = search_runs(store, condition)
    # Newest first: the oldest run of a key is written last and stays.
    return {run.data.tags[KEY_TAG]: run for run in runs if run.data.tags.get(KEY_TAG) in wanted}


def failed_runs(store: Store, keys: Iterable[str], kind: str) -> dict[str, Any]:
    """Return the newest FAILED child run of each of `keys` that has one."""
    wanted = set(keys)
    runs = search_runs(store, f"tags.`{KIND_TAG}` = '{kind}' and attributes.status = 'FAILED'")
    return {run.data.tags[KEY_TAG]: run for run in reversed(runs) if run.data.tags.get(KEY_TAG) in wanted}


def trained_by(run: Any) -> str:
    """Return the id of the MLflow run that trained the network of `run`: its own, unless only its threshold is new."""
    return str(run.data.tags.get(TRAINED_BY_TAG, run.info.run_id))


def refit_key(run: Any) -> str:
    """Return the key of the record of a `run` that is trained once more."""
    return hashlib.sha256(f"refit/{run.data.tags[KEY_TAG]}".encode()).hexdigest()


def tested_runs(store: Store, keys: Iterable[str]) -> dict[str, Any]:
    """Return the run that holds the results on the test span of each of `keys` that was tested.

    It is the tested run itself; in the record of a former version a second one, which names the first in a tag.
    """
    wanted = set(keys)
    runs = finished_runs(store, wanted, "test")
    for run in search_runs(store, f"tags.`{TESTED_TAG}` like '%' and attributes.status = 'FINISHED'"):
        if run.data.tags[KEY_TAG] in wanted:
            runs[run.data.tags[KEY_TAG]] = run
    return runs


def tested_run_id(run: Any) -> str:
    """Return the id of the run whose test one of `tested_runs` holds."""
    return str(run.data.tags.get(WINNER_TAG, run.info.run_id))


def before_refit(store: Store, run: Any) -> Any:
    """Return the run that was tested in place of `run`: of a refitted winner the one before, of others `run` itself."""
    original = run.data.params.get(REFIT_OF_PARAM)
    return (original and find_run(store, original)) or run


def sweep_id(run: Any) -> str | None:
    """Return the id of the sweep that a run belongs to; None if it belongs to none."""
    return run.data.tags.get(SWEEP_TAG) or run.data.tags.get(PARENT_TAG)


def find_run(store: Store, run_id: str) -> Any:
    """Return the run with this id; None if it is deleted or never existed."""
    runs = search_runs(store, f"attributes.run_id = '{run_id}'") if run_id else []
    return runs[0] if runs else None


def close_stale_runs(store: Store) -> None:
    """Close the runs that dead sweeps left open; call it only while holding the lease of the experiment.

    Every run that is still RUNNING becomes KILLED. Of two FINISHED runs with the same key the later one
    becomes KILLED: a process that lost its lease without noticing may have written a second one.
    """
    for run in search_runs(store, f"tags.`{KIND_TAG}` like '%' and attributes.status = 'RUNNING'"):
        set_run_status(store, run.info.run_id, "KILLED")
    first_ids: dict[tuple[str, str], str] = {}
    for run in reversed(search_runs(store, f"tags.`{KIND_TAG}` != 'sweep' and attributes.status = 'FINISHED'")):
        first_id = first_ids.setdefault((run.data.tags[KIND_TAG], run.data.tags[KEY_TAG]), run.info.run_id)
        if first_id != run.info.run_id:
            set_run_tag(store, run.info.run_id, ERROR_TAG, f"the same work was recorded before, as run {first_id}")
            set_run_status(store, run.info.run_id, "KILLED")


@translate_mlflow_errors
def experiment_tags(store: Store) -> dict[str, str]:
    """Return the tags of the experiment."""
    return dict(store.client.get_experiment(store.experiment).tags)


@translate_mlflow_errors
def set_experiment_tag(store: Store, tag: str, text: str) -> None:
    """Set a tag of the experiment."""
    store.client.set_experiment_tag(store.experiment, tag, text)


@translate_mlflow_errors
def delete_experiment_tag(store: Store, tag: str) -> None:
    """Delete a tag of the experiment, if it is there."""
    from mlflow.exceptions import MlflowException

    try:
        store.client.delete_experiment_tag(store.experiment, tag)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


@functools.cache
def origin_tags() -> dict[str, str]:
    """Return MLflow's own tags on where a run comes from: user, source, Git commit."""
    from mlflow.tracking.context.registry import resolve_tags

    return {str(name): str(value) for name, value in resolve_tags({"mlflow.source.name": "gridcast run"}).items()}


@dataclass(frozen=True)
class SweepEntry:
    """The content of a sweep's own MLflow run at its start; `artifact_texts` are contents by file name."""

    key: str
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    artifact_texts: Mapping[str, str] = field(default_factory=dict)


def find_sweep(store: Store, key: str) -> Any:
    """Return the newest run of a sweep with this key; None if there is none."""
    begun = search_runs(store, f"tags.`{KIND_TAG}` = 'sweep' and tags.`{SWEEP_KEY_TAG}` = '{key}'")
    return begun[0] if begun else None


@translate_mlflow_errors
def open_sweep(store: Store, entry: SweepEntry) -> str:
    """Return the run id of the sweep with the key of `entry`, created unless an earlier start did so.

    The artifacts are written every time: the settings that choose the winner may have changed since the sweep began.
    """
    from mlflow.entities import Param

    begun = find_sweep(store, entry.key)
    if begun is not None:
        sweep_id = str(begun.info.run_id)
    else:
        tags = origin_tags() | {KIND_TAG: "sweep", SWEEP_KEY_TAG: entry.key, **entry.tags}
        sweep_id = str(store.client.create_run(store.experiment, run_name=entry.name, tags=tags).info.run_id)
        store.client.log_batch(sweep_id, params=[Param(name, text) for name, text in entry.params.items()])
    log_texts(store, sweep_id, entry.artifact_texts)
    return sweep_id


@translate_mlflow_errors
def log_texts(store: Store, run_id: str, texts: Mapping[str, str]) -> None:
    """Log `texts` as artifacts of a run by file name, in place of those that it has."""
    for file, text in texts.items():
        store.client.log_text(run_id, text, file)


@translate_mlflow_errors
def log_metrics(store: Store, run_id: str, values: Mapping[str, float]) -> None:
    """Log single numbers of a run as metrics, as of now."""
    from mlflow.entities import Metric

    now = int(1000 * time.time())
    store.client.log_batch(run_id, metrics=[Metric(name, float(value), now, 0) for name, value in values.items()])


def run_name(run: Any) -> str:
    """Return the name of an MLflow run."""
    return str(run.data.tags["mlflow.runName"])


@translate_mlflow_errors
def metric_history(store: Store, run_id: str, metric: str) -> dict[int, float]:
    """Return every recorded value of a metric, by step."""
    return {point.step: point.value for point in store.client.get_metric_history(run_id, metric)}


@translate_mlflow_errors
def artifact_names(store: Store, run_id: str) -> set[str]:
    """Return the names of the artifacts of a run."""
    return {item.path for item in store.client.list_artifacts(run_id)}


def read_artifact(store: Store, run_id: str, name: str) -> bytes:
    """Return the content of one artifact of a run. Raises TrackingError if it is not there."""
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            return Path(store.client.download_artifacts(run_id, name, folder)).read_bytes()
        except (MlflowException, OSError) as error:
            where = without_credentials(store.uri)
            raise TrackingError(
                f"{where}: run {run_id} has no artifact '{name}': {first_line(error)}; {ARTIFACT_REMEDY}"
            ) from None


def validation_errors(store: Store, run_id: str, name: str) -> dict[int, float]:
    """Return the errors of a run on the validation span by position: `LOSS_BY_ORIGIN` or `MAE_BY_SERIES`."""
    if VALIDATION_FILE not in artifact_names(store, run_id):  # version 0.1 logged them as a metric
        return metric_history(store, run_id, name)
    return dict(json.loads(read_artifact(store, run_id, VALIDATION_FILE)).get(name, ()))


@translate_mlflow_errors
def log_files(store: Store, run_id: str, files: Iterable[Path], path: str) -> None:
    """Log `files` as artifacts of a run under `path`."""
    for file in files:
        store.client.log_artifact(run_id, str(file), path)


@translate_mlflow_errors
def read_model_files(store: Store, run_id: str) -> dict[str, bytes]:
    """Return the files of the model that a run recorded, by name."""
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory() as folder:
        path = download_artifacts(artifact_uri=f"runs:/{run_id}/{MODEL_NAME}", dst_path=folder, tracking_uri=store.uri)
        return {file.name: file.read_bytes() for file in Path(path, "data").iterdir()}
