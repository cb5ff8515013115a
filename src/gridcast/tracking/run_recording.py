"""Write one run of a sweep to MLflow: tags, params and epochs while it trains, the whole of it at its end."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gridcast.tracking.mlflow_runs import (
    ERROR_TAG,
    GRID_KINDS,
    KEY_TAG,
    KIND_TAG,
    MODEL_NAME,
    PARENT_TAG,
    STOPPED_KIND,
    SWEEP_TAG,
    TESTED_TAG,
    WINNER_TAG,
    metric_history,
    origin_tags,
    search_runs,
)
from gridcast.tracking.store import MAX_TEXT, Store, translate_mlflow_errors

METRICS_PER_REQUEST = 1000


@dataclass(frozen=True)
class RunEntry:
    """The content of one MLflow run of a sweep.

    `curves` are pairs of step and value by metric; `files` are the forecaster's, logged as the model `model`;
    `artifacts` are other files by name; `error` is the reason why a run failed. `times` are when training began and
    when each epoch ended, `ended` is when the work was done, all in seconds since 1970. `dataset` has the fields of an
    MLflow dataset: name, digest, source_type, source, schema, profile; empty for none. `example` is a table that the
    model answers, as `columns` and `data`; empty for none.
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
    dataset: Mapping[str, str] = field(default_factory=dict)
    example: Mapping[str, Any] = field(default_factory=dict)
    times: Sequence[float] = ()
    ended: float = field(default_factory=time.time)

    @property
    def started(self) -> float:
        """When the work began."""
        return self.times[0] if self.times else self.ended


@dataclass
class OpenRun:
    """An MLflow run that is written to; its curves hold the epochs up to `epochs`, `model_ids` are its models."""

    run_id: str
    epochs: int = 0
    model_ids: Sequence[str] = ()


@translate_mlflow_errors
def open_run(store: Store, sweep_id: str, entry: RunEntry) -> OpenRun | None:
    """Return the run that holds the work of `entry`, now RUNNING; None if the work is recorded already.

    An unfinished run of an earlier start goes on, so that each run key has one run; otherwise a run is created. (One of
    version 0.1 does not: it wrote a run only at its end, and what it left unfinished may hold half an epoch.)
    """
    kinds = GRID_KINDS if entry.kind in GRID_KINDS else (entry.kind,)
    runs = [run for run in search_runs(store, f"tags.`{KEY_TAG}` = '{entry.key}'") if run.data.tags[KIND_TAG] in kinds]
    # A run that the search stopped may go on later.
    if any(run.info.status == "FINISHED" and run.data.tags[KIND_TAG] != STOPPED_KIND for run in runs):
        return None
    begun = [run for run in runs if SWEEP_TAG in run.data.tags]
    return _reopen(store, sweep_id, begun[-1], entry) if begun else _create(store, sweep_id, entry)


def _all_tags(sweep_id: str, entry: RunEntry) -> dict[str, str]:
    parent = {} if entry.kind in GRID_KINDS else {PARENT_TAG: sweep_id}
    return {KIND_TAG: entry.kind, KEY_TAG: entry.key, SWEEP_TAG: sweep_id, **parent, **entry.tags}


def _create(store: Store, sweep_id: str, entry: RunEntry) -> OpenRun:
    created = store.client.create_run(
        store.experiment,
        run_name=entry.name,
        tags=origin_tags() | _all_tags(sweep_id, entry),
        start_time=_milliseconds(entry.started),
    )
    run_id = str(created.info.run_id)
    _log_params(store, run_id, entry.params)
    if entry.dataset:
        _log_dataset(store, run_id, entry, "training" if entry.kind in GRID_KINDS else "evaluation")
    return OpenRun(run_id)


def _reopen(store: Store, sweep_id: str, run: Any, entry: RunEntry) -> OpenRun:
    client, run_id = store.client, str(run.info.run_id)
    client.update_run(run_id, status="RUNNING")
    if ERROR_TAG in run.data.tags:
        client.delete_tag(run_id, ERROR_TAG)
    _log_batch(store, run_id, [], _all_tags(sweep_id, entry))
    _log_params(store, run_id, entry.params)
    models = [output.model_id for output in run.outputs.model_outputs] if run.outputs else []
    return OpenRun(run_id, max(metric_history(store, run_id, "val_loss"), default=0), models)


@translate_mlflow_errors
def log_epochs(
    store: Store, run: OpenRun, *, first: int, times: Sequence[float], curves: Mapping[str, Sequence[float]]
) -> None:
    """Append the epochs from `first` on to the curves of a run, without those that the curves have already.

    `times` are when the epochs ended, in seconds since 1970. Epochs that would leave a gap in the curves are not
    written now; `record_run` writes them at the end of the run. Raises TrackingError.
    """
    _log_batch(store, run.run_id, _new_epochs(run, first, times, curves))
    run.epochs = max(run.epochs, first - 1 + len(times)) if first <= run.epochs + 1 else run.epochs


def _new_epochs(run: OpenRun, first: int, times: Sequence[float], curves: Mapping[str, Sequence[float]]) -> list[Any]:
    """The metrics of `log_epochs` that the run does not have yet; none where they would leave a gap."""
    from mlflow.entities import Metric

    if first > run.epochs + 1:
        return []
    metrics = [
        Metric(name, value, _milliseconds(moment), step)
        for name, values in curves.items()
        for step, (value, moment) in enumerate(zip(values, times, strict=True), start=first)
        if step > run.epochs
    ]
    # Whole epochs in each request, so that all curves always hold the same ones.
    return sorted(metrics, key=lambda metric: metric.step)


@translate_mlflow_errors
def record_run(store: Store, sweep_id: str, entry: RunEntry, run: OpenRun | None = None) -> str:
    """Write `entry` to the open `run`, or to a new one; return its id.

    The run is closed last, FINISHED or (with an `error`) FAILED: whatever interrupts the writing, a run
    that is FINISHED is whole.
    """
    from mlflow.entities import Metric

    run = run or _create(store, sweep_id, entry)
    client, now, model_id = store.client, _milliseconds(entry.ended), None
    try:
        tags = {KIND_TAG: entry.kind, **entry.tags} | ({ERROR_TAG: entry.error[:MAX_TEXT]} if entry.error else {})
        _log_artifacts(store, run.run_id, entry.artifacts)
        if entry.files:
            for model_id in run.model_ids:  # half-written by an earlier start
                client.delete_logged_model(model_id)
            model_id = _log_model(store, run.run_id, entry)
        by_epoch = {name: curve for name, curve in entry.curves.items() if len(curve) == len(entry.times) - 1}
        values = {name: [value for _, value in curve] for name, curve in by_epoch.items()}
        metrics = _new_epochs(run, 1, entry.times[1:], values)
        others = {name: curve for name, curve in entry.curves.items() if name not in by_epoch}
        metrics += [Metric(name, value, now, step) for name, curve in others.items() for step, value in curve]
        metrics += _summary_metrics(entry, run.run_id, model_id)
        _log_batch(store, run.run_id, metrics, tags)
    except BaseException:
        # If it cannot be closed now (full disk, no server), the next start closes it.
        with contextlib.suppress(Exception):
            client.set_terminated(run.run_id, "KILLED")
        raise
    client.set_terminated(run.run_id, "FAILED" if entry.error else "FINISHED", end_time=now)
    return run.run_id


@translate_mlflow_errors
def record_test(store: Store, entry: RunEntry) -> None:
    """Add the results of `entry` on the test span to the run that was tested, named in its tags, and to its model."""
    client, run_id = store.client, entry.tags[WINNER_TAG]
    run = client.get_run(run_id)
    if TESTED_TAG in run.data.tags:
        return
    _log_artifacts(store, run_id, entry.artifacts)
    model_ids = [output.model_id for output in run.outputs.model_outputs] if run.outputs else []
    _log_batch(store, run_id, _summary_metrics(entry, run_id, model_ids[-1] if model_ids else None))
    # Last: with this tag the test is complete.
    tags = {name: text for name, text in entry.tags.items() if name != WINNER_TAG}
    tags[TESTED_TAG] = datetime.fromtimestamp(entry.ended, UTC).isoformat(timespec="seconds")
    _log_batch(store, run_id, [], tags)


def _summary_metrics(entry: RunEntry, run_id: str, model_id: str | None) -> list[Any]:
    """The single numbers of a run; they rank its model too, if it has one."""
    from mlflow.entities import Metric

    dataset = {"dataset_name": entry.dataset.get("name"), "dataset_digest": entry.dataset.get("digest")}
    of_model: dict[str, Any] = {"model_id": model_id, "run_id": run_id, **dataset} if model_id else {}
    now = _milliseconds(entry.ended)
    return [Metric(name, float(value), now, 0, **of_model) for name, value in entry.metrics.items()]


def _log_dataset(store: Store, run_id: str, entry: RunEntry, context: str) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    tags = [InputTag("mlflow.data.context", context)]
    store.client.log_inputs(run_id, [DatasetInput(Dataset(**entry.dataset), tags)])


def _milliseconds(seconds: float) -> int:
    return int(1000 * seconds)


def _log_params(store: Store, run_id: str, params: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    store.client.log_batch(run_id, params=[Param(name, _param_text(value)) for name, value in params.items()])


def _log_batch(store: Store, run_id: str, metrics: Sequence[Any], tags: Mapping[str, str] | None = None) -> None:
    """Write metrics, in as many requests as they take, and tags with the last of these."""
    from mlflow.entities import RunTag

    parts = [metrics[start : start + METRICS_PER_REQUEST] for start in range(0, len(metrics), METRICS_PER_REQUEST)]
    for part in parts[:-1]:
        store.client.log_batch(run_id, metrics=part)
    texts = [RunTag(name, text) for name, text in (tags or {}).items()]
    if parts or texts:
        store.client.log_batch(run_id, metrics=parts[-1] if parts else (), tags=texts)


def _log_artifacts(store: Store, run_id: str, artifacts: Mapping[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in artifacts.items():
            path = Path(folder, name)
            path.write_bytes(content)
            store.client.log_artifact(run_id, str(path))


def _log_model(store: Store, run_id: str, entry: RunEntry) -> str:
    """Log the model as `Model.log` would, without its global state, which would choose the default experiment."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model

    from gridcast.tracking import model_flavor

    client = store.client
    params = {name: _param_text(value) for name, value in entry.params.items()}
    logged = client.create_logged_model(store.experiment, name=MODEL_NAME, source_run_id=run_id, params=params)
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    mlflow_model = Model(
        artifact_path=logged.artifact_location, model_uuid=logged.model_id, run_id=run_id, model_id=logged.model_id
    )
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, MODEL_NAME))
        model_flavor.save_model(path, mlflow_model, files=entry.files, backend=entry.backend, example=entry.example)
        client.log_model_artifacts(logged.model_id, path)
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    return str(logged.model_id)


def _param_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
