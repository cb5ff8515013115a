"""MLflow: the sweep as a parent run, each finished run as a child, looked up by run key."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gridcast.runtime.errors import TrackingError
from gridcast.runtime.forecaster import SETTINGS
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.tracking.store import Store, asking, first_line

KIND, KEY, SEED, SWEEP = "gridcast.kind", "gridcast.run_key", "gridcast.seed", "gridcast.sweep_key"
CONFIGURATION, FINGERPRINT, ERROR = "gridcast.configuration", "gridcast.fingerprint", "gridcast.error"
SERIES, FOLD, WINNER = "gridcast.series", "gridcast.fold", "gridcast.winner"
MADE = "winner"
"""Kind of the record of a forecaster that is made of several runs."""
BY_ORIGIN, BY_SERIES = "val_loss_by_origin", "val_mae_by_series"
PROMOTION, VERDICT = "gridcast.promotion", "gridcast.verdict"
MODEL = "model"
PAGE = 1000
BATCH = 1000


@dataclass(frozen=True)
class Entry:
    """One child run, as it is to stand in MLflow.

    `curves` are pairs of step and value; `files` the forecaster, logged as the model `model`;
    `artifacts` other files by name; `error` the reason of a run that failed.
    """

    name: str
    kind: str
    key: str
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    artifacts: Mapping[str, bytes] = field(default_factory=dict)
    backend: str = ""
    error: str = ""


@asking
def tags(store: Store, run_id: str) -> dict[str, str]:
    """The tags of a run."""
    return dict(store.client.get_run(run_id).data.tags)


@asking
def set_tag(store: Store, run_id: str, tag: str, text: str) -> None:
    """Set a tag of a run."""
    store.client.set_tag(run_id, tag, text[:5000])


@asking
def search(store: Store, condition: str) -> list[Any]:
    """Every run of the experiment under `condition`, all pages, newest first."""
    found: list[Any] = []
    token = None
    while True:
        page = store.client.search_runs(
            [store.experiment], condition, max_results=PAGE, order_by=["attributes.start_time DESC"], page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def finished(store: Store, keys: Iterable[str], kind: str = "run") -> dict[str, Any]:
    """The FINISHED child run of each of `keys` that has one, the first where there are two."""
    wanted = set(keys)
    condition = f"tags.`{KIND}` = '{kind}' and attributes.status = 'FINISHED'"
    if len(wanted) == 1:
        condition += f" and tags.`{KEY}` = '{next(iter(wanted))}'"
    runs = search(store, condition)
    return {run.data.tags[KEY]: run for run in runs if run.data.tags.get(KEY) in wanted}


def found(store: Store, run_id: str) -> Any:
    """The run with this id, None when it is deleted or there never was one."""
    runs = search(store, f"attributes.run_id = '{run_id}'") if run_id else []
    return runs[0] if runs else None


def tidy(store: Store) -> None:
    """Close what dead parents left behind; only for who holds the lease of the experiment.

    A run that is still RUNNING becomes KILLED, and of two FINISHED runs with one key, which a parent
    that had lost its lease unknowing may have left, the later one.
    """
    for run in search(store, f"tags.`{KIND}` like '%' and attributes.status = 'RUNNING'"):
        set_status(store, run.info.run_id, "KILLED")
    first: dict[tuple[str, str], str] = {}
    for run in reversed(search(store, f"tags.`{KIND}` != 'sweep' and attributes.status = 'FINISHED'")):
        known = first.setdefault((run.data.tags[KIND], run.data.tags[KEY]), run.info.run_id)
        if known != run.info.run_id:
            set_tag(store, run.info.run_id, ERROR, f"the same work was recorded before, as run {known}")
            set_status(store, run.info.run_id, "KILLED")


@asking
def experiment_tags(store: Store) -> dict[str, str]:
    """The tags of the experiment."""
    return dict(store.client.get_experiment(store.experiment).tags)


@asking
def set_experiment_tag(store: Store, tag: str, text: str) -> None:
    """Set a tag of the experiment."""
    store.client.set_experiment_tag(store.experiment, tag, text)


@asking
def delete_experiment_tag(store: Store, tag: str) -> None:
    """Remove a tag of the experiment, if it is there."""
    from mlflow.exceptions import MlflowException

    try:
        store.client.delete_experiment_tag(store.experiment, tag)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


@asking
def open_sweep(store: Store, sweep_key: str, name: str, tags: Mapping[str, str], texts: Mapping[str, str]) -> str:
    """Id of the parent run of this sweep: the one that was begun before, else a new one.

    `texts` are artifacts of the parent (file name -> content), as they are now: what chooses the winner
    may have changed since the sweep was begun.
    """
    begun = search(store, f"tags.`{KIND}` = 'sweep' and tags.`{SWEEP}` = '{sweep_key}'")
    own = {KIND: "sweep", SWEEP: sweep_key, **tags}
    run = begun[0] if begun else store.client.create_run(store.experiment, run_name=name, tags=own)
    for file, text in texts.items():
        store.client.log_text(run.info.run_id, text, file)
    return str(run.info.run_id)


@asking
def set_status(store: Store, run_id: str, status: str) -> None:
    """Close or reopen a run: FINISHED, FAILED, KILLED or RUNNING."""
    if status == "RUNNING":
        store.client.update_run(run_id, status=status)
    else:
        store.client.set_terminated(run_id, status)


@asking
def record(store: Store, parent: str, entry: Entry) -> str:
    """Write one whole child run and close it FINISHED (FAILED where it has an `error`), last of all; returns its id."""
    now = int(time.time() * 1000)
    client = store.client
    own = {KIND: entry.kind, KEY: entry.key, "mlflow.parentRunId": parent, **entry.tags}
    if entry.error:
        own[ERROR] = entry.error[:5000]
    run_id = str(client.create_run(store.experiment, run_name=entry.name, tags=own, start_time=now).info.run_id)
    from mlflow.entities import Metric, Param

    try:
        params = {name: _text(value) for name, value in entry.params.items()}
        client.log_batch(run_id, params=[Param(name, value) for name, value in params.items()])
        _log_artifacts(store, run_id, entry.artifacts)
        if entry.files:
            _log_model(store, run_id, params, entry)
        points = [Metric(k, float(v), now, 0) for k, v in entry.metrics.items()]
        points += [Metric(k, v, now, step) for k, curve in entry.curves.items() for step, v in curve]
        for start in range(0, len(points), BATCH):
            client.log_batch(run_id, metrics=points[start : start + BATCH])
    except BaseException:
        # What cannot be closed now, on a full disk or without a server, the next start closes.
        with contextlib.suppress(Exception):
            client.set_terminated(run_id, "KILLED")
        raise
    client.set_terminated(run_id, "FAILED" if entry.error else "FINISHED")
    return run_id


def name(run: Any) -> str:
    """The name of an MLflow run."""
    return str(run.data.tags["mlflow.runName"])


def _log_artifacts(store: Store, run_id: str, artifacts: Mapping[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in artifacts.items():
            path = Path(folder, name)
            path.write_bytes(content)
            store.client.log_artifact(run_id, str(path))


def _log_model(store: Store, run_id: str, params: Mapping[str, str], entry: Entry) -> None:
    """What `Model.log` does, less its global state: it would put the model into the default experiment."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model

    from gridcast.tracking import model_flavor

    client = store.client
    logged = client.create_logged_model(store.experiment, name=MODEL, source_run_id=run_id, params=dict(params))
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    about = Model(
        artifact_path=logged.artifact_location, model_uuid=logged.model_id, run_id=run_id, model_id=logged.model_id
    )
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, MODEL))
        preprocessing = Preprocessing.from_json(json.loads(entry.files[SETTINGS]))
        model_flavor.save_model(path, about, dict(entry.files), preprocessing, entry.backend)
        client.log_model_artifacts(logged.model_id, path)
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)


@asking
def artifacts(store: Store, run_id: str) -> set[str]:
    """Names of the artifacts of a run."""
    return {item.path for item in store.client.list_artifacts(run_id)}


def artifact(store: Store, run_id: str, name: str) -> bytes:
    """Content of one artifact of a run. Raises TrackingError when it is not there."""
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            return Path(store.client.download_artifacts(run_id, name, folder)).read_bytes()
        except (MlflowException, OSError) as error:
            raise TrackingError(f"{store.uri}: run {run_id} has no artifact '{name}': {first_line(error)}") from None


@asking
def log_folder(store: Store, run_id: str, folder: Path, path: str) -> None:
    """Log every file of `folder` as artifacts of a run under `path`."""
    store.client.log_artifacts(run_id, str(folder), path)


@asking
def history(store: Store, run_id: str, metric: str) -> dict[int, float]:
    """Every recorded value of a metric, by step."""
    return {point.step: point.value for point in store.client.get_metric_history(run_id, metric)}


@asking
def model_files(store: Store, run_id: str) -> dict[str, bytes]:
    """The forecaster files of a recorded run, read back from its artifact."""
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory() as folder:
        path = download_artifacts(artifact_uri=f"runs:/{run_id}/{MODEL}", dst_path=folder, tracking_uri=store.uri)
        data = Path(path, "data")
        return {path.name: path.read_bytes() for path in data.iterdir()}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
