"""Optimizers and losses of Keras by name, with settings: `adamw`, or {name: adamw, weight_decay: 0.01}.

Both are kept as text, such as `adamw weight_decay=0.01`, so that each is one value of an axis. Without settings the
text is the name alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gridcast.runtime.errors import suggest

NUMBER, FLAG = "a number", "true or false"
_ANY_OPTIMIZER = dict.fromkeys(("weight_decay", "clipnorm", "clipvalue", "global_clipnorm"), NUMBER)
_MOMENTS = dict.fromkeys(("beta_1", "beta_2", "epsilon"), NUMBER)
OPTIMIZERS: dict[str, dict[str, str]] = {
    "adam": {**_MOMENTS, "amsgrad": FLAG},
    "rmsprop": {**dict.fromkeys(("rho", "momentum", "epsilon"), NUMBER), "centered": FLAG},
    "adamw": {**_MOMENTS, "amsgrad": FLAG},
    "sgd": {"momentum": NUMBER, "nesterov": FLAG},
    "lion": dict.fromkeys(("beta_1", "beta_2"), NUMBER),
    "nadam": _MOMENTS,
    "adamax": _MOMENTS,
    "lamb": _MOMENTS,
    "adagrad": dict.fromkeys(("initial_accumulator_value", "epsilon"), NUMBER),
    "adadelta": dict.fromkeys(("rho", "epsilon"), NUMBER),
}
"""Keras optimizers by name, each with its settings and their kind; those of every optimizer are `_ANY_OPTIMIZER`.

Left out are those that train copies of the weights (moving averages, schedule-free) or several at once, since a run is
compared and saved by the weights of its best epoch.
"""
LOSSES: dict[str, dict[str, str]] = {
    "mse": {},
    "mae": {},
    "huber": {"delta": NUMBER},
    "log_cosh": {},
    "mape": {},
    "msle": {},
}
"""Losses of Keras that compare each point of a forecast with its target, with their settings."""


def optimizer_text(value: object) -> str:
    """Return the text of an optimizer written as a name, or as a mapping with `name`. Raises ValueError."""
    settings = {name: own | _ANY_OPTIMIZER for name, own in OPTIMIZERS.items()}
    return _text(value, settings, "adamw", {"learning_rate": "it is an axis of its own: learning_rate"})


def loss_text(value: object) -> str:
    """Return the text of a loss written as a name, or as a mapping with `name`. Raises ValueError."""
    return _text(value, LOSSES, "huber", {})


def name_and_settings(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the settings in the text of an optimizer or a loss."""
    name, *settings = text.split()
    pairs = (setting.partition("=") for setting in settings)
    return name, {key: json.loads(value) for key, _, value in pairs}


def _text(value: object, allowed: Mapping[str, Mapping[str, str]], example: str, remedies: Mapping[str, str]) -> str:
    if isinstance(value, str):
        try:
            name, settings = name_and_settings(value) if value.split() else ("", {})
        except ValueError:
            name, settings = value, {}
    elif isinstance(value, Mapping) and isinstance(value.get("name"), str):
        name, settings = value["name"], {str(key): item for key, item in value.items() if key != "name"}
    else:
        raise ValueError(f"expected a name such as {example}, or {{name: {example}, ...}} with settings, got {value!r}")
    if name not in allowed:
        names = ", ".join(map(repr, allowed))
        raise ValueError(f"{name!r} is not allowed{suggest(name, allowed)} (allowed: {names})")
    kinds = allowed[name]
    for key, item in settings.items():
        if key not in kinds:
            known = f"allowed: {', '.join(kinds)}" if kinds else "it has none"
            raise ValueError(f"{name}: unknown setting {key}{suggest(key, kinds)} ({remedies.get(key, known)})")
        is_flag = isinstance(item, bool)
        if (kinds[key] == FLAG) != is_flag or not isinstance(item, int | float) or not _is_allowed(item):
            raise ValueError(f"{name}: {key} must be {kinds[key]}{'' if is_flag else ', 0 or above'} (got {item!r})")
    numbers = {key: item if isinstance(item, bool) else float(item) for key, item in sorted(settings.items())}
    return " ".join([name, *(f"{key}={json.dumps(item)}" for key, item in numbers.items())])


def _is_allowed(value: float) -> bool:
    return 0 <= value < float("inf")
