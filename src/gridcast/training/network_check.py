"""The check of networks that are plug-ins before any is trained: built, traced, saved, and read from the file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from gridcast.config import Plugin
from gridcast.config.grid import Run
from gridcast.data.dataset import Dataset
from gridcast.models.plugin_network import described
from gridcast.runtime import plugin_code
from gridcast.runtime.errors import ConfigError
from gridcast.runtime.model_files import NETWORK_FILE
from gridcast.training import objectives
from gridcast.training.carried_code import carried_code

TOLERANCE = 1e-4
"""Largest difference, beside outputs of about 1, between a network and the one that is read from its file."""


def check_networks(dataset: Dataset, runs: Iterable[Run]) -> None:
    """Build the network of each of `runs`, all plug-ins; save and read one of each layer.

    Raises ConfigError with file and line.
    """
    saved = set()
    for run in runs:
        objective = objectives.objective_of(dataset, run)
        network = objective.build(0)
        plugin, name = objective.plugin, described(run.configuration)
        assert plugin is not None
        if network.losses:
            raise ConfigError(
                f"{plugin.where}: network {name} adds losses of its own, such as those of a regularizer, with which "
                "validation losses do not compare; use the setting weight_decay of the optimizer"
            )
        if run.configuration.layer not in saved:
            saved.add(run.configuration.layer)
            _check_saved(network, plugin, name)


def _check_saved(network: keras.Model, plugin: Plugin, name: str) -> None:
    """Raise ConfigError where a network cannot be run, or is another one after it was saved and read."""
    random = np.random.default_rng(0)
    inputs = {
        tensor.name: random.random((2, *tensor.shape[1:])).astype(np.float32)
        if "float" in str(tensor.dtype)
        else np.zeros((2, *tensor.shape[1:]), np.int32)
        for tensor in network.inputs
    }
    _trace(network, inputs, plugin, name)
    carried_code(network, plugin)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, NETWORK_FILE)
        try:
            network.save(path)
            modules = (
                [] if plugin.source.pickled else [plugin_code.import_source(plugin.source.text, plugin.source.file)]
            )
            with plugin_code.layers_of(modules):
                read = keras.saving.load_model(path, compile=False)
            before, after = (np.asarray(one.predict_on_batch(inputs)) for one in (network, read))
        except Exception as error:  # noqa: BLE001 - whatever Keras or the layers raise
            reason = " ".join(str(error).split())[:400]
            raise ConfigError(
                f"{plugin.where}: network {name} cannot be saved and read: {reason}; use Keras's layers and "
                "operations, or layers of your own with get_config, and no Lambda"
            ) from None
    if before.shape != after.shape or not np.allclose(before, after, TOLERANCE, TOLERANCE):
        raise ConfigError(
            f"{plugin.where}: network {name} computes other values after it was saved and read; a layer of its own "
            "lacks settings in get_config, or weights made in build"
        )


def _trace(network: keras.Model, inputs: dict[str, Any], plugin: Plugin, name: str) -> None:
    """Raise ConfigError where the network cannot be trained in a compiled program."""
    if keras.backend.backend() != "jax":
        return
    import jax

    trainable, fixed = (
        [variable.value for variable in variables]
        for variables in (network.trainable_variables, network.non_trainable_variables)
    )

    def output_sum(trainable: Any, fixed: Any) -> Any:
        return network.stateless_call(trainable, fixed, inputs, training=True)[0].sum()

    try:
        jax.eval_shape(jax.grad(output_sum), trainable, fixed)
    except Exception as error:  # noqa: BLE001 - whatever JAX or the layers raise
        reason = " ".join(str(error).split())[:400]
        raise ConfigError(
            f"{plugin.where}: network {name} cannot be trained: {type(error).__name__}: {reason}"
        ) from None
