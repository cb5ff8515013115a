"""Names of the threshold rules, and the levels that each allows."""

from __future__ import annotations

import math

from gridcast.runtime.errors import ConfigError, suggest

RUNNING = "running"
"""The threshold that is taken anew at each step."""


DEFAULT_LEVELS = {
    "mean-std": 3.0,
    "lognormal": 3.0,
    RUNNING: 3.0,
    "quantile": 0.001,
    "median-mad": 3.0,
    "peaks-over-threshold": 0.001,
    "conformal": 0.001,
}
"""Taken where no level is given: deviations, or the share of false alarms."""


DEVIATION_RULES = ("mean-std", "lognormal", RUNNING, "median-mad")
"""Thresholds whose level counts deviations; that of the others is a share of false alarms."""


def checked_level(name: str, level: float | None = None) -> float:
    """The level that the threshold `name` is taken at. Raises ConfigError where one of the two is not allowed."""
    if name not in DEFAULT_LEVELS:
        allowed = ", ".join(DEFAULT_LEVELS)
        raise ConfigError(
            f"anomaly.threshold: unknown name '{name}'{suggest(name, DEFAULT_LEVELS)} (allowed: {allowed})"
        )
    if level is None:
        return DEFAULT_LEVELS[name]
    if name in DEVIATION_RULES and not (math.isfinite(level) and level >= 0):
        raise ConfigError(f"anomaly.level: must be 0 or more deviations for {name}, such as 3 (got {level:g})")
    if name not in DEVIATION_RULES and not 0 < level < 1:
        raise ConfigError(
            f"anomaly.level: must lie between 0 and 1 for {name}, where it is the share of false alarms, such as "
            f"0.001 (got {level:g})"
        )
    return float(level)
