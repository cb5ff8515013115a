"""The check of plug-ins before the first epoch: each network is built, saved and read, each baseline forecasts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gridcast.config.grid import Run
from gridcast.models.baselines import BASELINES
from gridcast.models.baselines.applicable import AUTO
from gridcast.models.baselines.plugin_forecast import plugin_forecast
from gridcast.models.baselines.task import baseline_task
from gridcast.runtime.errors import ConfigError

if TYPE_CHECKING:
    from gridcast.sweep.plan import Plan

CHECKED_WINDOWS = 3
"""Windows that a baseline forecasts in its check."""


def check_plugins(plan: Plan) -> None:
    """Raise ConfigError, with file and line, where a plug-in that `plan` uses does not do its work.

    Keras is imported, on the backend of the plan, only if there are networks or callbacks to check.
    """
    plugins = plan.experiment.plugins
    if plugins.is_lenient:
        return
    for name, plugin in plugins.baselines.items():
        if name in (*BASELINES, AUTO, "own settings"):
            raise ConfigError(
                f"{plugin.where}: baseline '{name}' has the name of one of gridcast's; give it another one"
            )
        if name in plan.baseline_names:
            task = baseline_task(plan.dataset, plan.dataset.preprocessing.lookback)
            plugin_forecast(plugin, replace(task, index=task.index[:CHECKED_WINDOWS], levels=()))
    runs = {_without_training(run): run for run in (*plan.runs.values(), plan.reference_run) if _has_plugin(run)}
    if not runs and not plan.experiment.callbacks:
        return
    from gridcast.training import keras_backend

    keras_backend.import_keras(plan.backend)
    from gridcast.training import keras_fit, network_check

    keras_fit.own_callbacks(plan.dataset, plan.reference_run.configuration)
    network_check.check_networks(plan.dataset, list(runs.values()))


def _has_plugin(run: Run) -> bool:
    return run.configuration.is_plugin


def _without_training(run: Run) -> Run:
    """The run without what changes nothing in the form of its network."""
    same = {"learning_rate": 1.0, "dropout": 0.0, "batch_size": 1, "optimizer": "adam", "loss": "mse"}
    return Run(run.configuration.model_copy(update=same), 0, 0, None if run.series is None else "")
