"""The plug-ins of an experiment, from files and from installed packages: run once Keras is on its backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gridcast.config import NO_PLUGINS, Plugins, plugins, yaml_reader
from gridcast.runtime.errors import ConfigError, suggest
from gridcast.training import keras_backend

PluginsLike = str | Path | Sequence[str | Path] | Mapping[str, Mapping[str, Callable[..., Any]]]
"""A plug-in file, several of them, or functions by kind and name, such as `{"networks": {"TCN": build}}`."""


def load_plugins(given: PluginsLike, text: str, backend: str) -> Plugins:
    """Return the plug-ins `given`, and those that the experiment in the YAML `text` names of installed packages.

    Without any, Keras is not imported. Raises ConfigError.
    """
    if given:
        keras_backend.import_keras(backend)
    loaded = NO_PLUGINS
    if isinstance(given, Mapping):
        for kind in given:
            if kind not in plugins.TABLES:
                kinds = ", ".join(plugins.TABLES)
                raise ConfigError(
                    f"plugins: {kind!r} is no kind{suggest(str(kind), plugins.TABLES)} (allowed: {kinds})"
                )
        loaded = plugins.from_functions(**given)
    else:
        for file in (given,) if isinstance(given, str | Path) else given:
            loaded = loaded.joined(plugins.from_file(file))
    for kind, names in yaml_reader.names_of_plugins(text).items():
        if any(plugins.installed(kind, names)):
            keras_backend.import_keras(backend)
            loaded = loaded.with_installed(kind, names)
    return loaded
