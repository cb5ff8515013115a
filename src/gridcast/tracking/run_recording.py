"""Write one child run of a sweep to MLflow, whole: tags, params, metrics, artifacts and the model."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gridcast.tracking.mlflow_runs import ERROR_TAG, KEY_TAG, KIND_TAG, MODEL_NAME
from gridcast.tracking.store import MAX_TEXT, Store, translate_mlflow_errors

METRICS_PER_REQUEST = 1000


@dataclass(frozen=True)
class RunEntry:
    """The content of one child run in MLflow.

    `curves` are pairs of step and value by metric; `files` are the forecaster's, logged as the model `model`;
    `artifacts` are other files by name; `error` is the reason why a run failed.
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
def record_run(store: Store, sweep_id: str, entry: RunEntry) -> str:
    """Write `entry` as a child run of the sweep; return its id.

    The run is closed last, FINISHED or (with an `error`) FAILED: whatever interrupts the writing, a run
    that is FINISHED is whole.
    """
    now = int(time.time() * 1000)
    client = store.client
    tags = {KIND_TAG: entry.kind, KEY_TAG: entry.key, "mlflow.parentRunId": sweep_id, **entry.tags}
    if entry.error:
        tags[ERROR_TAG] = entry.error[:MAX_TEXT]
    run_id = str(client.create_run(store.experiment, run_name=entry.name, tags=tags, start_time=now).info.run_id)
    from mlflow.entities import Metric, Param

    try:
        params = {name: _param_text(value) for name, value in entry.params.items()}
        client.log_batch(run_id, params=[Param(name, text) for name, text in params.items()])
        _log_artifacts(store, run_id, entry.artifacts)
        if entry.files:
            _log_model(store, run_id, params, entry)
        metrics = [Metric(name, float(value), now, 0) for name, value in entry.metrics.items()]
        metrics += [Metric(name, value, now, step) for name, curve in entry.curves.items() for step, value in curve]
        for start in range(0, len(metrics), METRICS_PER_REQUEST):
            client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_REQUEST])
    except BaseException:
        # If it cannot be closed now (full disk, no server), the next start closes it.
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
    """Log the model as `Model.log` would, without its global state, which would choose the default experiment."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model

    from gridcast.tracking import model_flavor

    client = store.client
    logged = client.create_logged_model(store.experiment, name=MODEL_NAME, source_run_id=run_id, params=dict(params))
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    mlflow_model = Model(
        artifact_path=logged.artifact_location, model_uuid=logged.model_id, run_id=run_id, model_id=logged.model_id
    )
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, MODEL_NAME))
        model_flavor.save_model(path, mlflow_model, files=entry.files, backend=entry.backend)
        client.log_model_artifacts(logged.model_id, path)
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)


def _param_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
