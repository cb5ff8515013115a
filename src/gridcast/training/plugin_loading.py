"""The plug-ins of an experiment, from files and from installed packages: run once Keras is on its backend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gridcast.config import NO_PLUGINS, Plugins, plugins, yaml_reader
from gridcast.training import keras_backend


def load_plugins(files: Sequence[Path | str], text: str, backend: str) -> Plugins:
    """Return the plug-ins in `files`, and those that the experiment in the YAML `text` names of installed packages.

    Without any, Keras is not imported. Raises ConfigError.
    """
    loaded = NO_PLUGINS
    if files:
        keras_backend.import_keras(backend)
    for file in files:
        loaded = loaded.joined(plugins.from_file(file))
    for kind, names in yaml_reader.names_of_plugins(text).items():
        if any(plugins.installed(kind, names)):
            keras_backend.import_keras(backend)
            loaded = loaded.with_installed(kind, names)
    return loaded
