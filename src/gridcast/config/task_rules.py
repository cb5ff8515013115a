"""The values of the experiment file that each task supports: one table, and the check that reads it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FieldRule:
    """The values of `field` that a task supports; None stands for a field that is left out.

    `field` is an axis of the grid, or a dotted path of the experiment file. `reason` and `remedy` are for the message.
    """

    field: str
    allowed: tuple[Any, ...]
    remedy: str = "remove it"
    reason: str = ""


_FOR_ANOMALY = "write task: anomaly"
_FOR_PROBABILISTIC = "write task: probabilistic"
_FORECASTS = (
    FieldRule("detector", (None,), _FOR_ANOMALY),
    FieldRule("latent", (None,), _FOR_ANOMALY),
    FieldRule("data.sensors", (None,), _FOR_ANOMALY),
    FieldRule("data.labels", (None,), _FOR_ANOMALY),
    FieldRule("data.gaps", ("error", "zero", "ffill", "interpolate"), "write zero, ffill or interpolate"),
    FieldRule(
        "selection.ensemble.combine",
        ("mean", "median", "weighted", "greedy"),
        "write mean, median, weighted or greedy",
        "it is a minimum of anomaly scores",
    ),
)

FIELD_RULES: dict[str, tuple[FieldRule, ...]] = {
    "forecast": (
        *_FORECASTS,
        FieldRule("likelihood", (None,), _FOR_PROBABILISTIC),
        FieldRule("scaling", (None, "none", "mean", "standard", "last"), "write none, mean, standard or last"),
    ),
    "probabilistic": (
        *_FORECASTS,
        FieldRule("scaling", (None, "standard", "mean"), "write standard or mean"),
        FieldRule("mode", ("global",), reason="it trains one network for all series"),
        FieldRule("bidirectional", (False,), reason="the network runs forward, step by step"),
        FieldRule("attention", (False,), reason="the network runs forward, step by step"),
        FieldRule("loss", ("mse",), reason="the likelihood is the loss"),
        FieldRule("transform.scale", ("mean-abs",), reason="a likelihood scales by itself"),
        FieldRule("transform.log1p", (False,), reason="a likelihood scales by itself"),
    ),
    "anomaly": (
        FieldRule("likelihood", (None,), _FOR_PROBABILISTIC),
        FieldRule("scaling", ("none", "centred", "standard"), "write none, centred or standard"),
        FieldRule("loss", ("mse",), reason="the score is a squared error"),
        FieldRule("mode", ("global",), reason="one network watches all sensors"),
        FieldRule("training.refit", (False,), reason="a threshold needs a span that the network was not fitted to"),
        FieldRule("window.horizon", (1,), reason="only the step after a window is predicted"),
        FieldRule("split.folds", (None,), reason="a threshold belongs to one training span"),
        FieldRule("data.gaps", ("keep",), reason="an error on a filled value means nothing"),
        FieldRule("data.aggregate", ("none",), reason="steps are the rows of the table"),
        FieldRule("data.zero_runs", ("none",)),
        FieldRule("data.short", ("error",), reason="a window needs every sensor"),
        FieldRule(
            "selection.ensemble.combine",
            ("mean", "minimum"),
            "write mean or minimum",
            "scores are combined by their geometric mean or their minimum",
        ),
    ),
}
"""By task; the first rule that is broken is reported."""


def check_fields(task: str, values_of: Callable[[str], Collection[Any]]) -> None:
    """Raise ValueError, with the remedy, for the first field with a value that `task` does not support.

    `values_of` returns all values that a field takes: those of a setting in every configuration of the grid.
    """
    for rule in FIELD_RULES[task]:
        refused = [value for value in values_of(rule.field) if value not in rule.allowed]
        if refused:
            values = ", ".join(sorted(map(_as_yaml, refused)))
            reason = f" ({rule.reason})" if rule.reason else ""
            raise ValueError(f"{rule.field}: {values} is not supported with task: {task}{reason}; {rule.remedy}")


def _as_yaml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
