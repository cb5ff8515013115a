"""Two forecasters, or two detectors, compared on the same windows of one test span: pure functions on frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtr

from gridcast.evaluation import detection_metrics, detection_table, forecast_table, own_metrics
from gridcast.evaluation.artifact_files import TEST_PREFIX
from gridcast.evaluation.origin_losses import MASE, WQL, Measure, origin_losses, shared_points, value_of
from gridcast.evaluation.significance import diebold_mariano
from gridcast.runtime import events
from gridcast.runtime.detector import SCORE

DETECTION_ERROR = "1 - AUC-PR"
MIN_EVENTS = 3
"""Labelled events below which detectors are not tested: the event is the unit of replication."""


@dataclass(frozen=True)
class PairedComparison:
    """The errors of one and of the `other` by `measure` (its title) on the same windows, the lower the better.

    `units` says over what they were tested, such as `90 origins`. `p_value` is the two-sided one of "no difference",
    `p_not_worse` the one-sided one of "worse by the margin or more"; both are NaN where nothing can be tested.
    """

    measure: str
    error: float
    other: float
    units: str
    p_value: float
    p_not_worse: float


def compare_forecasts(
    one: pd.DataFrame, other: pd.DataFrame, *, measure: Measure, margin: float, overlap: int
) -> PairedComparison:
    """Compare two tables of `forecast_table` over the points that both forecast, by `measure`.

    The test is that of Diebold and Mariano on the losses by origin, whose mean is the measure; `overlap` neighbouring
    origins share a step. Forecasts without the quantiles of the first are compared by MASE instead of the weighted
    quantile loss. Raises ValueError where the tables share no point.
    """
    levels = forecast_table.quantile_levels(one)
    if measure == WQL and not (levels and set(levels) <= set(forecast_table.quantile_levels(other))):
        measure = MASE
    tables = shared_points(one, other)
    if not len(tables[0]):
        raise ValueError("they forecast no window in common")
    error, other_error = (_value_in(table, measure, levels) for table in tables)
    losses, other_losses = (origin_losses(table, measure, levels).to_numpy(float) for table in tables)
    if not np.isfinite([losses, other_losses]).all():
        losses = other_losses = losses[:0]
    test = diebold_mariano(losses, other_losses, overlap)
    return PairedComparison(
        measure=measure.title,
        error=error,
        other=other_error,
        units=f"{len(losses):,} origins",
        p_value=test.p_value,
        p_not_worse=test.estimate.p_below(margin * abs(float(np.mean(other_losses)))) if test.degrees else math.nan,
    )


def _value_in(table: pd.DataFrame, measure: Measure, levels: Sequence[float]) -> float:
    if measure.own is not None:
        return value_of(measure, {measure.name: own_metrics.evaluate_table(measure.own, measure.name, table, levels)})
    measured = forecast_table.measure_forecasts(table)
    return value_of(measure, {name.removeprefix(TEST_PREFIX): value for name, value in measured.items()})


def compare_detections(one: pd.DataFrame, other: pd.DataFrame, *, margin: float, time: str) -> PairedComparison:
    """Compare two tables of `detection_table` over the steps that both score, by 1 - AUC-PR.

    The test leaves out one labelled event at a time, with the steps nearest to it (delete-one jackknife), and has
    Student's t distribution with one degree of freedom less than there are events. Raises ValueError where the tables
    share no step.
    """
    both = one.merge(other[[time, SCORE]].rename(columns={SCORE: "other"}), on=time)
    both = both[np.isfinite(both[SCORE]) & np.isfinite(both["other"])]
    if not len(both):
        raise ValueError("they score no step in common")
    scores = both[SCORE].to_numpy(float), both["other"].to_numpy(float)
    labels = both[detection_table.LABELLED].to_numpy(bool)
    nearest = _nearest_event(labels)

    def difference(kept: np.ndarray, factor: float) -> float:
        errors = [1 - detection_metrics.auc_pr(score[kept], labels[kept]) for score in scores]
        return errors[0] - factor * errors[1]

    p_value, _ = _jackknife(lambda kept: difference(kept, 1.0), nearest)
    shifted, mean = _jackknife(lambda kept: difference(kept, 1 + margin), nearest)
    count = int(nearest.max(initial=-1)) + 1
    return PairedComparison(
        measure=DETECTION_ERROR,
        error=1 - detection_metrics.auc_pr(scores[0], labels),
        other=1 - detection_metrics.auc_pr(scores[1], labels),
        units=f"{count:,} labelled event{'s' if count != 1 else ''}",
        p_value=p_value,
        p_not_worse=_one_sided(shifted, mean),
    )


def _one_sided(p_value: float, difference: float) -> float:
    """The p value of "the difference is 0 or more" from the two-sided one of "it is 0"."""
    return p_value / 2 if difference < 0 else 1 - p_value / 2


def _nearest_event(labels: np.ndarray) -> np.ndarray:
    """The number of the labelled event nearest to each step (steps,); empty where there is no event."""
    spans = events.spans(labels)
    if not len(spans):
        return np.array([], int)
    # The boundary between two events is midway between the end of one and the start of the next.
    boundaries = (spans[:-1, 1] + spans[1:, 0]) / 2
    return np.searchsorted(boundaries, np.arange(len(labels)), side="right")


def _jackknife(statistic: Callable[[np.ndarray], float], groups: np.ndarray) -> tuple[float, float]:
    """The two-sided p value of "`statistic` is 0" over the `groups` (n,) of its rows, and the statistic of all rows."""
    count = int(groups.max(initial=-1)) + 1
    whole = statistic(np.ones(len(groups), bool)) if count else math.nan
    if count < MIN_EVENTS:
        return math.nan, whole
    parts = np.array([statistic(groups != group) for group in range(count)])
    error = math.sqrt((count - 1) / count * float(((parts - parts.mean()) ** 2).sum()))
    if error == 0:
        return (1.0 if whole == 0 else 0.0), whole
    return float(2 * stdtr(count - 1, -abs(whole) / error)), whole
