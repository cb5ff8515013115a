"""The check of plug-ins before the first epoch: each network is built, saved and read, each baseline forecasts."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from gridcast.config import Experiment
from gridcast.config.grid import Run
from gridcast.data.dataset import Dataset
from gridcast.models.baselines import BASELINES
from gridcast.models.baselines.applicable import AUTO
from gridcast.models.baselines.dataset_task import baseline_task
from gridcast.models.baselines.plugin_forecast import plugin_forecast
from gridcast.runtime.errors import ConfigError

CHECKED_WINDOWS = 3
"""Windows that a baseline forecasts in its check."""


def check_plugins(
    experiment: Experiment,
    dataset: Dataset,
    runs: Iterable[Run],
    *,
    baselines: Collection[str],
    reserved: Collection[str],
    backend: str,
) -> None:
    """Raise ConfigError, with file and line, where a plug-in that `runs` or `baselines` use does not do its work.

    `reserved` are further names that no baseline may have. Keras is imported, on `backend`, only if there are networks
    or callbacks to check.
    """
    plugins = experiment.plugins
    if plugins.is_lenient:
        return
    for name, plugin in plugins.baselines.items():
        if name in (*BASELINES, AUTO, *reserved):
            raise ConfigError(
                f"{plugin.where}: baseline '{name}' has the name of one of gridcast's; give it another one"
            )
        if name in baselines:
            task = baseline_task(dataset, dataset.preprocessing.lookback)
            plugin_forecast(plugin, replace(task, index=task.index[:CHECKED_WINDOWS], levels=()))
    networks = {_without_training(run): run for run in runs if run.configuration.is_plugin}
    if not networks and not experiment.callbacks:
        return
    from gridcast.training import keras_backend

    keras_backend.import_keras(backend)
    from gridcast.training import keras_fit, network_check

    keras_fit.own_callbacks(dataset, experiment.configuration())
    network_check.check_networks(dataset, list(networks.values()))


def _without_training(run: Run) -> Run:
    """The run without what changes nothing in the form of its network."""
    same = {"learning_rate": 1.0, "dropout": 0.0, "batch_size": 1, "optimizer": "adam", "loss": "mse"}
    return Run(run.configuration.model_copy(update=same), 0, 0, None if run.series is None else "")
