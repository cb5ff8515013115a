"""The experiment that a verb works on: its plan, its data, its workers, and the sweep that recorded it."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridcast import config
from gridcast.cli import model_argument, terminal
from gridcast.cli.app import CACHE, out
from gridcast.cli.options import check_choice
from gridcast.config import LENIENT, Experiment, Plugins
from gridcast.runtime.errors import ConfigError, TrackingError, UnknownModel

if TYPE_CHECKING:
    from gridcast.sweep.plan import Plan
    from gridcast.sweep.worker_job import WorkerSettings
    from gridcast.tracking.model_loading import ModelReference
    from gridcast.tracking.store import Store


BACKENDS = ("jax", "tensorflow")


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


def plan_experiment(path: Path, backend: str, plugin_files: Sequence[Path] | None = None) -> Plan:
    """Return the plan of an experiment file, and print it. Raises ConfigError and DataError."""
    from gridcast.training.plugin_loading import load_plugins

    check_choice("--backend", backend, BACKENDS)
    text = config.read_text(path)
    plugins = load_plugins(plugin_files or (), text, backend)
    return _print_and_return(config.parse(text, str(path), plugins), text, backend)


def plan_recorded(recorded: RecordedExperiment, backend: str, plugin_files: Sequence[Path] | None = None) -> Plan:
    """Return the plan of an experiment that was swept before, and print it. Raises ConfigError and DataError.

    Its plug-ins are those of `plugin_files` or, without them, those that the sweep recorded.
    """
    check_choice("--backend", backend, BACKENDS)
    plugins = _recorded_plugins(recorded, backend, plugin_files or ())
    experiment = config.parse(recorded.text, f"the sweep of {recorded.experiment.name}", plugins)
    return _print_and_return(experiment, recorded.text, backend)


def _recorded_plugins(recorded: RecordedExperiment, backend: str, plugin_files: Sequence[Path] = ()) -> Plugins:
    """Return the plug-ins of `plugin_files` or, without them, those that the sweep recorded."""
    from gridcast.tracking import mlflow_runs
    from gridcast.training.plugin_loading import load_plugins

    with tempfile.TemporaryDirectory() as folder:
        files = list(plugin_files)
        for name in recorded.about.get("plugins", {}).get("files", {}) if not files else ():
            files.append(Path(folder, name))
            files[-1].write_bytes(mlflow_runs.read_artifact(recorded.store, recorded.sweep_id, name))
        return load_plugins(files, recorded.text, backend)


def plan_on_source(planned: ModelPlan, source: str) -> Plan:
    """Return the plan of the same experiment, with the plug-ins of its sweep, on the data of `source`; print it."""
    text = config.with_source(planned.plan.yaml_text, source)
    plugins = _recorded_plugins(planned.recorded, "jax")
    return _print_and_return(config.parse(text, f"the experiment on {source}", plugins), text, "jax")


def _print_and_return(experiment: Experiment, text: str, backend: str) -> Plan:
    from gridcast.sweep.plan import make_plan

    plan = make_plan(experiment, text, backend)
    terminal.print_plan(out, plan)
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

    if count is not None and count < 1:
        raise ConfigError(f"--workers: must be at least 1 (got {count})")
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


def plan_of_model(model: ModelReference, description: Path | None, source: str | None) -> ModelPlan:
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
    if source is not None:
        data = experiment.data.model_copy(update={"source": source})
        experiment = experiment.model_copy(update={"data": data})
    return ModelPlan(recorded, make_plan(experiment, text, "jax"))


def find_experiment_store(argument: str) -> tuple[str, Store]:
    """Return the name and the MLflow experiment that the argument of `gridcast report` means.

    That is an experiment by its file or its name in MLflow, else the experiment of the sweep that a registered model
    or an MLflow URI comes from. Raises ConfigError and TrackingError.
    """
    from gridcast.tracking.store import open_store, require_store

    require_store()
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
