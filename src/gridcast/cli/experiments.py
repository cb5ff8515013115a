"""The experiment that a verb is called with or about: its plan, its data, where it is executed, what it registers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridcast import config
from gridcast.cli import terminal
from gridcast.cli.app import CACHE, out
from gridcast.runtime.errors import ConfigError

if TYPE_CHECKING:
    from gridcast.sweep.plan import Plan
    from gridcast.tracking.model_loading import ModelReference
    from gridcast.tracking.store import Store


def plan_experiment(path: Path, backend: str) -> Plan:
    """The plan of the experiment in a file, told to the user. Raises ConfigError and DataError."""
    if backend not in ("jax", "tensorflow"):
        raise ConfigError(f"--backend: '{backend}' is not allowed (allowed: jax, tensorflow)")
    experiment = config.read(path)
    from gridcast.sweep.plan import make_plan

    planned = make_plan(experiment, path.read_text(encoding="utf-8"), backend)
    terminal.print_plan(out, planned)
    return planned


def choose_place(backend: str, workers: int | None, memory: float | None = None, scheduler: str | None = None) -> Any:
    """Where to execute; workers of this machine begin to import what they need, beside what comes next."""
    from gridcast.sweep import worker_pool, worker_process

    if workers is not None and workers < 1:
        raise ConfigError(f"--workers: must be at least 1 (got {workers})")
    if scheduler is not None and not re.fullmatch(r"\w+://[^\s/]+:\d+/?", scheduler):
        raise ConfigError(f"--scheduler: '{scheduler}' is no address such as tcp://host:8786")
    limit = None if memory is None else int(memory * 2**30)
    place = worker_pool.WorkerSettings(
        workers or len(worker_process.available_gpus()) or worker_process.available_cores(),
        backend,
        CACHE,
        limit,
        scheduler,
    )
    if place.workers > 1 and scheduler is None:
        worker_process.prepare_forkserver(backend)
    return place


def plan_of_model(
    found: ModelReference, experiment: Path | None, source: str | None
) -> tuple[Store, str, dict[str, Any], Plan]:
    """The store, sweep and record of a model, and the plan of its experiment on its data or those of `source`."""
    from gridcast.sweep import plan
    from gridcast.tracking import mlflow_runs
    from gridcast.tracking.store import find_sweep

    store, parent = find_sweep(found.run_id)
    about = json.loads(mlflow_runs.read_artifact(store, parent, "sweep.json"))
    text = mlflow_runs.read_artifact(store, parent, "experiment.yaml").decode()
    read = config.read(experiment) if experiment else config.parse(text, f"the sweep of {found.name or found.uri}")
    text = experiment.read_text(encoding="utf-8") if experiment else text
    if read.task == "anomaly":
        raise ConfigError(f"{found.name or found.uri}: tells anomalies, and this is for forecasts")
    if source is not None:
        read = read.model_copy(update={"data": read.data.model_copy(update={"source": source})})
    return store, parent, about, plan.make_plan(read, text, "jax")


def plan_on_source(planned: Plan, source: str) -> Plan:
    """The plan of the same experiment on the data of `source`."""
    from gridcast.sweep import plan

    text = config.with_source(planned.text, source)
    made = plan.make_plan(config.parse(text, f"the experiment on {source}"), text, "jax")
    terminal.print_plan(out, made)
    return made


def registered_name(name: str) -> str:
    """The registered model that is meant: that of the experiment, where a file is named."""
    if not name.endswith((".yaml", ".yml")):
        return name
    found = config.read(Path(name)).selection.promote_to
    if found is None:
        raise ConfigError(f"{name}: selection.promote_to: is missing; its sweep registers no model that can be served")
    return found
