"""The metrics of the validation span that runs can be ranked by: their names, and which direction is better."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from gridcast.runtime.errors import ConfigError, suggest

POINT_MEASURES = ("mase", "msse", "msle", "wape", "rmse", "r2", "mape", "smape")
"""Measures of point forecasts on the validation span beside its MAE; recorded with `VALIDATION_PREFIX`."""
SHARES_WITHIN = {"share_within_5": 5, "share_within_10": 10, "share_within_20": 20}
"""Percent of the forecasts that lie within this many percent of the actual value."""
VALIDATION_PREFIX = "val_"
CURVES = ("val_loss", "val_mae")
TRAINED_METRICS = ("best_val_loss", "best_val_mae")
FORECAST_METRICS = (*TRAINED_METRICS, *(VALIDATION_PREFIX + name for name in (*POINT_MEASURES, *SHARES_WITHIN)))
VARIED_FAULTS = "val_online_varied_faults_missed"
"""Faults of many kinds, sizes and lengths that live scores miss: measured only where runs are ranked by it."""
DETECTION_METRICS = (
    "best_val_loss",
    "val_online_faults_missed",
    "val_online_false_alarms_per_day",
    "val_faults_missed",
    "val_false_alarms_per_day",
    VARIED_FAULTS,
)
METRICS_OF_TASK = {
    "forecast": FORECAST_METRICS,
    "probabilistic": (*FORECAST_METRICS, "best_val_wql"),
    "anomaly": DETECTION_METRICS,
}
BUILT_IN_METRICS = frozenset(name for names in METRICS_OF_TASK.values() for name in names)
EARLY_STRATEGIES = ("halving", "asha")
"""Search strategies that compare runs before their end."""
HIGHER_IS_BETTER = frozenset(VALIDATION_PREFIX + name for name in ("r2", *SHARES_WITHIN))
"""Of all other metrics a lower value is better; of an own one its `Metric` decides."""
FORMER_NAMES = {prefix + name: f"best_val_{name}" for name in ("loss", "mae", "wql") for prefix in ("", "val_")}
"""Short names of the metrics that training itself records."""


@dataclass(frozen=True)
class Metric:
    """A metric of one's own: a `function` of arrays, and the `direction` in which its values are better.

    The function gets `actual` and `forecast` (windows, horizon), in data units, and returns a number. It may take more
    by these names: `scale` (windows,), the unit of MASE of each window's series; `series` (windows,), the number of
    that series; and `quantiles` (windows, horizon, levels) with `levels` (levels,), both None in point forecasts.
    """

    function: Callable[..., float]
    direction: Literal["lower", "higher"] = "lower"

    def __post_init__(self) -> None:
        if self.direction not in ("lower", "higher"):
            raise ValueError(f"direction: {self.direction!r} is not allowed (allowed: 'lower', 'higher')")

    def __call__(self, *arguments: object, **named: object) -> float:
        """Return the value of the function."""
        return self.function(*arguments, **named)

    @property
    def optional_arguments(self) -> frozenset[str]:
        """The names among `scale`, `series`, `quantiles` and `levels` that the function takes."""
        return frozenset(inspect.signature(self.function).parameters) & {"scale", "series", "quantiles", "levels"}


def as_metric(function: Callable[..., float]) -> Metric:
    """Return a function as a metric; its attribute `direction` says whether `higher` is better, else lower is."""
    return function if isinstance(function, Metric) else Metric(function, getattr(function, "direction", "lower"))


def recorded_name(name: str) -> str:
    """Return the name under which MLflow has the metric that an experiment file calls `name`: `val_mase` for `mase`."""
    if name in FORMER_NAMES:
        return FORMER_NAMES[name]
    return name if name.startswith(("val_", "best_val_")) else VALIDATION_PREFIX + name


def check_own_name(name: str) -> None:
    """Raise ConfigError unless `name` can be the name of one's own metric: a Python name that gridcast does not use."""
    if not name.isidentifier() or name.startswith(("val_", "best_", "test_")):
        raise ConfigError(f"metric {name!r}: write letters, digits and '_', not beginning with val_, best_ or test_")
    if recorded_name(name) in BUILT_IN_METRICS | set(CURVES):
        raise ConfigError(f"metric {name!r}: gridcast has a metric of this name; choose another one")


def check_metric(name: str, task: str, own: Collection[str]) -> None:
    """Raise ValueError, with the remedy, unless `name` is a metric of `task` or one of the `own` metrics."""
    allowed = METRICS_OF_TASK[task]
    if name in allowed:
        return
    if name.removeprefix(VALIDATION_PREFIX) in own:
        if task == "anomaly":
            raise ValueError(f"selection.metric: {name} is a metric of forecasts; write {' or '.join(allowed[:3])}")
        return
    if name in BUILT_IN_METRICS:
        remedy = {"forecast": allowed[:2], "probabilistic": ("best_val_loss", "best_val_wql"), "anomaly": allowed[:3]}
        first, *others = remedy[task]
        raise ValueError(
            f"selection.metric: {name} is not supported with task: {task}; write "
            f"{', '.join([first, *others[:-1]])} or {others[-1]}"
        )
    names = (*allowed, *(VALIDATION_PREFIX + own_name for own_name in own))
    raise ValueError(
        f"selection.metric: {name!r} is not known{suggest(name, names)} (allowed: {', '.join(names)}); a metric of "
        "your own comes from a plug-in"
    )


def cost_name(metric: str, *, is_higher_better: bool) -> str:
    """Return the name of `cost`: that of the metric itself where lower is better."""
    if not is_higher_better:
        return metric
    name = metric.removeprefix(VALIDATION_PREFIX)
    if name in SHARES_WITHIN:
        return f"{VALIDATION_PREFIX}{name.replace('within', 'outside')}"
    return f"{VALIDATION_PREFIX}unexplained_variance" if name == "r2" else f"minus_{metric}"


def cost(metric: str, value: float, *, is_higher_better: bool) -> float:
    """Return `value` where lower is better, else its complement: 100 - a share within, 1 - R², or minus the value."""
    if not is_higher_better:
        return value
    name = metric.removeprefix(VALIDATION_PREFIX)
    whole = 100.0 if name in SHARES_WITHIN else 1.0 if name == "r2" else 0.0
    return whole - value


def value_name(name: str) -> str:
    """Return the metric whose `cost_name` is `name`."""
    name = name.removeprefix("minus_").replace("share_outside", "share_within")
    return f"{VALIDATION_PREFIX}r2" if name == f"{VALIDATION_PREFIX}unexplained_variance" else name


def searched_metric(metric: str, task: str, strategy: str) -> str:
    """Return the metric by which a search decides: that of the selection.

    `halving` and `asha` decide after some epochs. There only point forecasts are measured by more than the loss; other
    networks are compared by it.
    """
    return metric if strategy not in EARLY_STRATEGIES or task == "forecast" else "best_val_loss"


def followed_metric(metric: str, task: str, strategy: str) -> str:
    """Return the metric that a search needs of each epoch beside the losses of training; empty where it needs none."""
    is_needed = strategy in EARLY_STRATEGIES and searched_metric(metric, task, strategy) not in TRAINED_METRICS
    return metric if is_needed else ""


def curve_name(metric: str) -> str:
    """Return the name of the curve of a metric by epoch."""
    curves = {"best_val_loss": "val_loss", "best_val_mae": "val_mae"}
    return curves.get(metric, f"{metric}_by_epoch")
