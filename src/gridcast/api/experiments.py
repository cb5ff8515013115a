"""The experiment that a use case works on: its plan, its data, its workers, and the sweep that recorded it."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from gridcast import config
from gridcast.api import model_argument
from gridcast.api.choices import check_choice
from gridcast.api.events import RunEvents
from gridcast.api.folders import CACHE
from gridcast.config import LENIENT, Experiment, Plugins
from gridcast.data.parse_fields import FRAME
from gridcast.data.prediction_files import TableOrPath
from gridcast.runtime.errors import ConfigError, TrackingError, UnknownModel

if TYPE_CHECKING:
    from gridcast.sweep.plan import Plan
    from gridcast.sweep.worker_job import WorkerSettings
    from gridcast.tracking.model_loading import ModelReference
    from gridcast.tracking.store import Store
    from gridcast.training.plugin_loading import PluginsLike


BACKENDS = ("jax", "tensorflow")
MAX_WORKERS = 1024
ExperimentLike = str | Path | Experiment | Mapping[str, Any]
"""The path of an experiment file, an experiment, or the content of its file as a dict."""


class ExperimentInput(NamedTuple):
    """An experiment as the caller gave it: typed, as the text of its file, and the `frame` that holds its data."""

    experiment: Experiment
    text: str
    frame: pd.DataFrame | None


@dataclass(frozen=True)
class RecordedExperiment:
    """The experiment of a sweep as MLflow has it: `sweep_id` is the parent run, `text` the YAML.

    `about` is sweep.json: spans, run keys, and what else a report has to know.
    """

    store: Store
    sweep_id: str
    experiment: Experiment
    text: str
    about: dict[str, Any]


@dataclass(frozen=True)
class ModelPlan:
    """A model's recorded experiment and the plan of it on its data, or on other data."""

    recorded: RecordedExperiment
    plan: Plan


def read_experiment(
    experiment: ExperimentLike, data: TableOrPath | None = None, plugins: PluginsLike = (), backend: str = "jax"
) -> ExperimentInput:
    """Return an experiment that may name `plugins`, with `data` in place of its source. Raises ConfigError."""
    origin = str(experiment) if isinstance(experiment, str | Path) else "experiment"
    if isinstance(experiment, str | Path):
        text = config.read_text(experiment)
    else:
        content: Experiment | Mapping[str, Any] = experiment
        if not isinstance(content, Experiment | Mapping):
            raise ConfigError(
                f"experiment: expected a path, an Experiment or a dict, got {type(content).__name__} {content!r:.80}"
            )
        if data is not None and isinstance(content, Mapping) and isinstance(content.get("data"), Mapping):
            content = {**content, "data": {"source": FRAME, **content["data"]}}
        text = config.experiment_text(content)
    loaded = _load_plugins(plugins, text, backend)
    typed = config.parse(text, origin, loaded)
    if data is None:
        return ExperimentInput(typed, text, None)
    if not isinstance(data, pd.DataFrame | str | Path):
        raise ConfigError(f"data: expected a pandas DataFrame or a path, got {type(data).__name__}")
    text = config.with_source(text, FRAME if isinstance(data, pd.DataFrame) else str(data))
    frame = data if isinstance(data, pd.DataFrame) else None
    return ExperimentInput(config.parse(text, origin, loaded), text, frame)


def _load_plugins(given: PluginsLike, text: str, backend: str) -> Plugins:
    from gridcast.training.plugin_loading import load_plugins

    return load_plugins(given, text, backend)


def plan_experiment(
    experiment: ExperimentLike,
    backend: str,
    events: RunEvents,
    data: TableOrPath | None = None,
    plugins: PluginsLike = (),
) -> Plan:
    """Return the plan of an experiment. Raises ConfigError and DataError."""
    check_choice("--backend", backend, BACKENDS)
    given = read_experiment(experiment, data, plugins, backend)
    return _announced_plan(given.experiment, given.text, backend, events, given.frame)


def plan_recorded(
    recorded: RecordedExperiment,
    backend: str,
    events: RunEvents,
    data: TableOrPath | None = None,
    plugins: PluginsLike = (),
) -> Plan:
    """Return the plan of an experiment that was swept before. Raises ConfigError and DataError.

    Its plug-ins are `plugins` or, without them, those that the sweep recorded.
    """
    check_choice("--backend", backend, BACKENDS)
    if data is not None:
        return plan_experiment(recorded.experiment, backend, events, data, plugins)
    loaded = _load_plugins(plugins, recorded.text, backend) if plugins else recorded_plugins(recorded, backend)
    experiment = config.parse(recorded.text, f"the sweep of {recorded.experiment.name}", loaded)
    return _announced_plan(experiment, recorded.text, backend, events)


def recorded_plugins(recorded: RecordedExperiment, backend: str) -> Plugins:
    """Return the plug-ins of the files that a sweep recorded. Raises ConfigError."""
    from gridcast.tracking import mlflow_runs

    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name in recorded.about.get("plugins", {}).get("files", {}):
            files.append(Path(folder, name))
            files[-1].write_bytes(mlflow_runs.read_artifact(recorded.store, recorded.sweep_id, name))
        return _load_plugins(files, recorded.text, backend)


def plan_on_source(planned: ModelPlan, source: TableOrPath, events: RunEvents) -> Plan:
    """Return the plan of the same experiment, with the plug-ins of its sweep, on the data of `source`."""
    frame = source if isinstance(source, pd.DataFrame) else None
    named = FRAME if isinstance(source, pd.DataFrame) else str(source)
    text = config.with_source(planned.plan.yaml_text, named)
    experiment = config.parse(text, f"the experiment on {named}", recorded_plugins(planned.recorded, "jax"))
    return _announced_plan(experiment, text, "jax", events, frame)


def _announced_plan(
    experiment: Experiment, text: str, backend: str, events: RunEvents, frame: pd.DataFrame | None = None
) -> Plan:
    from gridcast.sweep.plan import make_plan

    plan = make_plan(experiment, text, backend, frame=frame)
    events.planned(plan)
    return plan


def choose_workers(
    backend: str,
    count: int | None,
    *,
    cache: Path = CACHE,
    memory_gib: float | None = None,
    scheduler: str | None = None,
) -> WorkerSettings:
    """Return where runs are trained; local workers begin to import their packages in the background."""
    from gridcast.sweep import worker_job, worker_process

    if count is not None and not 1 <= count <= MAX_WORKERS:
        raise ConfigError(f"--workers: must be from 1 to {MAX_WORKERS:,} (got {count})")
    if memory_gib is not None and not (math.isfinite(memory_gib) and memory_gib > 0):
        raise ConfigError(f"--memory-limit: must be a number above 0 (got {memory_gib:g})")
    if scheduler is not None and not re.fullmatch(r"\w+://[^\s/]+:\d+/?", scheduler):
        raise ConfigError(f"--scheduler: '{scheduler}' is not an address such as tcp://host:8786")
    workers = worker_job.WorkerSettings(
        workers=count or len(worker_process.available_gpus()) or worker_process.available_cores(),
        backend=backend,
        cache=cache,
        memory=None if memory_gib is None else int(memory_gib * 2**30),
        scheduler=scheduler,
    )
    if workers.workers > 1 and scheduler is None:
        worker_process.prepare_forkserver(backend)
    return workers


def recorded_experiment(model: ModelReference) -> RecordedExperiment:
    """Return the experiment of the sweep that a model comes from. Raises TrackingError."""
    from gridcast.tracking import mlflow_runs
    from gridcast.tracking.store import find_sweep

    store, sweep_id = find_sweep(model.run_id)
    text = mlflow_runs.read_artifact(store, sweep_id, "experiment.yaml").decode()
    return RecordedExperiment(
        store=store,
        sweep_id=sweep_id,
        experiment=config.parse(text, f"the sweep of {model.name or model.uri}", LENIENT),
        text=text,
        about=json.loads(mlflow_runs.read_artifact(store, sweep_id, "sweep.json")),
    )


def plan_of_model(model: ModelReference, description: Path | str | None, source: TableOrPath | None) -> ModelPlan:
    """Return the recorded experiment of a forecaster and its plan.

    The file `description` says how to read the data, in place of the recorded experiment; `source` names other data.
    Raises ConfigError for a detector.
    """
    from gridcast.sweep.plan import make_plan

    recorded = recorded_experiment(model)
    experiment = config.read(description, LENIENT) if description else recorded.experiment
    text = config.read_text(description) if description else recorded.text
    if experiment.task == "anomaly":
        raise ConfigError(f"{model.name or model.uri}: is an anomaly detector, and this command needs a forecaster")
    frame = source if isinstance(source, pd.DataFrame) else None
    if source is not None:
        data = experiment.data.model_copy(update={"source": str(source) if frame is None else FRAME})
        experiment = experiment.model_copy(update={"data": data})
    return ModelPlan(recorded, make_plan(experiment, text, "jax", frame=frame))


def find_experiment_store(argument: str | Path) -> tuple[str, Store]:
    """Return the name and the MLflow experiment that the argument of a report means.

    That is an experiment by its file or its name in MLflow, else the experiment of the sweep that a registered model
    or an MLflow URI comes from. Raises ConfigError and TrackingError.
    """
    from gridcast.tracking.store import open_store, require_store

    require_store()
    argument = str(argument)
    if model_argument.is_experiment_file(argument):
        name = config.read(Path(argument), LENIENT).name
        return name, open_store(name, create=False)
    if ":/" in argument:
        recorded = recorded_experiment(model_argument.find_model(argument))
        return recorded.experiment.name, recorded.store
    try:
        return argument, open_store(argument, create=False)
    except TrackingError as error:
        try:
            recorded = recorded_experiment(model_argument.find_model(argument))
        except UnknownModel:
            raise error from None
    return recorded.experiment.name, recorded.store
