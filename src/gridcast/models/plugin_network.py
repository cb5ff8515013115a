"""The encoder of a network that is a plug-in: a function of a sequence and the configuration."""

from __future__ import annotations

import random
import threading
from typing import Any

from gridcast.config import Configuration, Plugin
from gridcast.config.plugins import raised_at
from gridcast.runtime.errors import ConfigError

_SEEDING = threading.Lock()


def plugin_features(plugin: Plugin, configuration: Configuration, sequence: Any, seed: int) -> Any:
    """Return the features (n, features) that an encoder makes of `sequence` (n, steps, channels), drawn from `seed`.

    Raises ConfigError with file and line where the encoder fails, or returns something else.
    """
    with _SEEDING:
        # Keras takes the seed of each layer that is given none from Python's generator.
        state = random.getstate()
        random.seed(seed)
        try:
            features = plugin.function(sequence, configuration, **configuration.own)
        except Exception as error:  # noqa: BLE001 - whatever the user's code raises
            where = raised_at(error, plugin.source.file, plugin.line)
            message = f"{type(error).__name__}: {error}".strip()
            raise ConfigError(f"{where}: network {described(configuration)}: {message}") from None
        finally:
            random.setstate(state)
    shape = getattr(features, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] is not None or shape[1] is None:
        form = f"a tensor of shape {tuple(shape)}" if shape is not None else repr(features)
        raise ConfigError(
            f"{plugin.where}: network {described(configuration)} must return features of shape (n, features) from a "
            f"sequence of shape {tuple(sequence.shape)}, and returns {form}; flatten or pool the steps, or take the "
            "last one"
        )
    return features


def described(configuration: Configuration) -> str:
    """Return the network in words: its name and its own settings."""
    own = ", ".join(f"{axis} {value}" for axis, value in configuration.own.items())
    return f"'{configuration.layer}'" + (f" ({own})" if own else "")
