"""Experiments from Python as the text of an experiment file, which a sweep records."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import yaml

from gridcast.config.experiment import Experiment
from gridcast.runtime.errors import ConfigError


def experiment_text(content: Experiment | Mapping[str, Any]) -> str:
    """Return the YAML text of an experiment, or of the content of its file. Raises ConfigError.

    Of an experiment it holds what was set, so that defaults stay defaults.
    """
    if isinstance(content, Experiment):
        content = content.model_dump(mode="json", exclude_unset=True)
    try:
        return yaml.safe_dump(_plain(content), sort_keys=False, allow_unicode=True)
    except RecursionError:
        raise ConfigError("experiment: has too many levels of lists and dicts, or one that contains itself") from None
    except yaml.representer.RepresenterError as error:
        value = error.args[-1]
        raise ConfigError(
            f"experiment: {value!r} is a {type(value).__name__}, which a YAML file cannot hold; give text, numbers, "
            "lists and dicts"
        ) from None


def _plain(value: Any) -> Any:
    """The value with plain dicts, lists, numbers and text in place of mappings, tuples, NumPy scalars, dates, paths."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, dt.date):
        return value.isoformat().replace("T00:00:00", "")
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value
