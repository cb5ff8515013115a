"""The code of a plug-in that a saved network cannot be read without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import keras

from gridcast.config import Plugin
from gridcast.runtime.errors import ConfigError


def carried_code(network: keras.Model, plugin: Plugin | None) -> dict[str, bytes]:
    """Return the file of `plugin` by its name in a model; none for a `network` of Keras's own layers.

    Such a network loads wherever Keras is installed. Raises ConfigError for layers of which there is no file.
    """
    if plugin is None:
        return {}
    foreign = foreign_objects(network)
    if not foreign:
        return {}
    if plugin.source.pickled:
        raise ConfigError(
            f"{plugin.where}: network '{plugin.name}' has a layer or function of its own, {min(foreign)}, whose code "
            "must travel in the model; define the network in a Python file, and give that file or a function from it"
        )
    return plugin.source.carried_files


def foreign_objects(network: keras.Model) -> set[str]:
    """Return the names of the layers and functions in `network` that are not Keras's own."""
    return set(_foreign_objects(json.loads(network.to_json())))


def _foreign_objects(content: Any) -> Iterator[str]:
    """The name of each object in the configuration of a network that is not Keras's."""
    if isinstance(content, list):
        for item in content:
            yield from _foreign_objects(item)
    elif isinstance(content, dict):
        module, name = content.get("module"), content.get("class_name")
        if isinstance(module, str) and isinstance(name, str) and module.partition(".")[0] != "keras":
            config = content.get("config")
            yield config if isinstance(config, str) else name
        for item in content.values():
            yield from _foreign_objects(item)
