"""Names of the threshold rules, and the levels that each allows."""

from __future__ import annotations

import math

from gridcast.runtime.errors import ConfigError, suggest

RUNNING = "running"
"""The rule whose threshold is recomputed at each step."""

DEFAULT_LEVELS = {
    "mean-std": 3.0,
    "lognormal": 3.0,
    RUNNING: 3.0,
    "quantile": 0.001,
    "median-mad": 3.0,
    "peaks-over-threshold": 0.001,
    "conformal": 0.001,
}
"""Level of each rule if none is given: a number of deviations, or a share of false alarms."""

DEVIATION_RULES = ("mean-std", "lognormal", RUNNING, "median-mad")
"""Rules whose level is a number of deviations; that of the others is a share of false alarms."""


def checked_level(rule: str, level: float | None = None) -> float:
    """Return `level`, or the default of the threshold `rule` for None. Raises ConfigError if one is not allowed."""
    if rule not in DEFAULT_LEVELS:
        allowed = ", ".join(DEFAULT_LEVELS)
        near = suggest(rule, DEFAULT_LEVELS)
        raise ConfigError(f"anomaly.threshold: unknown name '{rule}'{near} (allowed: {allowed})")
    if level is None:
        return DEFAULT_LEVELS[rule]
    if rule in DEVIATION_RULES and not (math.isfinite(level) and level >= 0):
        raise ConfigError(f"anomaly.level: must be 0 or more deviations for {rule}, such as 3 (got {level:g})")
    if rule not in DEVIATION_RULES and not 0 < level < 1:
        raise ConfigError(
            f"anomaly.level: must lie between 0 and 1 for {rule}, where it is the share of false alarms, such as "
            f"0.001 (got {level:g})"
        )
    return float(level)
