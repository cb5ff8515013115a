"""Words of the report: lists, names of settings and metrics, numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gridcast.config.selection_metrics import POINT_MEASURES, SHARES_WITHIN

MAX_NAMES_LISTED = 4


def join(words: Sequence[str]) -> str:
    """Return `words` as `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def join_first(names: Sequence[str]) -> str:
    """Return the first names, and the number of others where there are more than MAX_NAMES_LISTED."""
    others = [f"{len(names) - MAX_NAMES_LISTED} more"] if len(names) > MAX_NAMES_LISTED else []
    return join([*names[:MAX_NAMES_LISTED], *others])


def capitalized(text: str) -> str:
    """Return `text` with a capital first letter."""
    return text[:1].upper() + text[1:]


def axis_name(axis: str) -> str:
    """Return a setting in words, such as `learning rate`."""
    return axis.replace("_", " ")


def metric_name(metric: str) -> str:
    """Return the metric by which runs are chosen in words."""
    names = {"best_val_loss": "validation loss", "best_val_mae": "validation MAE"}
    names |= {
        "val_online_faults_missed": "share of faults missed",
        "val_online_varied_faults_missed": "share of varied faults missed",
        "val_online_false_alarms_per_day": "false alarms a day",
        "val_faults_missed": "share of faults missed in hindsight",
        "val_false_alarms_per_day": "false alarms a day in hindsight",
    }
    if metric == "best_val_wql":
        return "weighted quantile loss on validation"
    return names.get(metric) or _name_of_measure(metric)


def _name_of_measure(metric: str) -> str:
    """Return a measure of the validation span in words, or the complement of one of which higher is better."""
    if metric == "val_unexplained_variance":
        return "unexplained variance on validation (1 - R²)"
    name = metric.removeprefix("minus_").removeprefix("val_")
    if size := SHARES_WITHIN.get(name.replace("outside", "within")):
        return f"share of validation forecasts outside {100 - size}-{100 + size} %"
    title = "sMAPE" if name == "smape" else name.upper() if name in POINT_MEASURES else name.replace("_", " ")
    return f"{'minus ' if metric.startswith('minus_') else ''}validation {title}"


def setting(axis: str, value: str) -> str:
    """Return the value of a setting in words, such as `64 units`, `no attention`, `dropout 0.2`."""
    if value.lower() in ("true", "false"):
        return axis_name(axis) if value.lower() == "true" else f"no {axis_name(axis)}"
    if axis in ("layer", "loss", "optimizer", "likelihood"):
        return value
    if axis in ("units", "layers"):
        return f"{value} {axis.removesuffix('s') if value == '1' else axis}"
    return f"{axis_name(axis)} {value}"


def share_text(share: float) -> str:
    """Return a share as percent, such as `1 %`."""
    return f"{100 * share:g} %"


def p_text(p_value: float) -> str:
    """Return a p value, such as `p 0.034` or `p < 0.001`."""
    return "p < 0.001" if p_value < 0.001 else f"p {p_value:.2g}"


def below_or_above(percent: float) -> str:
    """Return a difference in percent, such as `12 % below` or `0.4 % above`."""
    return f"{percent_text(abs(percent))} {'below' if percent < 0 else 'above'}"


def percent_text(percent: float) -> str:
    """Return a number of percent, with a digit after the point below ten."""
    return f"{percent:.0f} %" if percent >= 10 or not math.isfinite(percent) else f"{percent:.1f} %"
