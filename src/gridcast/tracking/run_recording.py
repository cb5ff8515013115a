"""Write one finished run with its model to MLflow."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gridcast.runtime.forecaster import SETTINGS_FILE
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.tracking.mlflow_runs import ERROR_TAG, KEY_TAG, KIND_TAG, MODEL_NAME
from gridcast.tracking.store import Store, translate_mlflow_errors

METRICS_PER_REQUEST = 1000


@dataclass(frozen=True)
class RunEntry:
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


@translate_mlflow_errors
def record_run(store: Store, parent: str, entry: RunEntry) -> str:
    """Write one whole child run and close it FINISHED (FAILED where it has an `error`), last of all; returns its id."""
    now = int(time.time() * 1000)
    client = store.client
    own = {KIND_TAG: entry.kind, KEY_TAG: entry.key, "mlflow.parentRunId": parent, **entry.tags}
    if entry.error:
        own[ERROR_TAG] = entry.error[:5000]
    run_id = str(client.create_run(store.experiment, run_name=entry.name, tags=own, start_time=now).info.run_id)
    from mlflow.entities import Metric, Param

    try:
        params = {name: _param_text(value) for name, value in entry.params.items()}
        client.log_batch(run_id, params=[Param(name, value) for name, value in params.items()])
        _log_artifacts(store, run_id, entry.artifacts)
        if entry.files:
            _log_model(store, run_id, params, entry)
        points = [Metric(k, float(v), now, 0) for k, v in entry.metrics.items()]
        points += [Metric(k, v, now, step) for k, curve in entry.curves.items() for step, v in curve]
        for start in range(0, len(points), METRICS_PER_REQUEST):
            client.log_batch(run_id, metrics=points[start : start + METRICS_PER_REQUEST])
    except BaseException:
        # What cannot be closed now, on a full disk or without a server, the next start closes.
        with contextlib.suppress(Exception):
            client.set_terminated(run_id, "KILLED")
        raise
    client.set_terminated(run_id, "FAILED" if entry.error else "FINISHED")
    return run_id


def _log_artifacts(store: Store, run_id: str, artifacts: Mapping[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in artifacts.items():
            path = Path(folder, name)
            path.write_bytes(content)
            store.client.log_artifact(run_id, str(path))


def _log_model(store: Store, run_id: str, params: Mapping[str, str], entry: RunEntry) -> None:
    """What `Model.log` does, less its global state: it would put the model into the default experiment."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model

    from gridcast.tracking import model_flavor

    client = store.client
    logged = client.create_logged_model(store.experiment, name=MODEL_NAME, source_run_id=run_id, params=dict(params))
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    about = Model(
        artifact_path=logged.artifact_location, model_uuid=logged.model_id, run_id=run_id, model_id=logged.model_id
    )
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, MODEL_NAME))
        preprocessing = Preprocessing.from_json(json.loads(entry.files[SETTINGS_FILE]))
        model_flavor.save_model(path, about, dict(entry.files), preprocessing, entry.backend)
        client.log_model_artifacts(logged.model_id, path)
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)


def _param_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
