"""The gates that a run has to pass before it becomes champion."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

from gridcast.evaluation import artifact_files
from gridcast.evaluation.origin_losses import limit_below
from gridcast.tracking import champion_gate, registry
from gridcast.tracking.mlflow_runs import MODEL_NAME
from gridcast.tracking.promotion_case import PromotionCase


def _run_is_finished(case: PromotionCase) -> str | None:
    info = case.run.info
    if info.status != "FINISHED" or info.lifecycle_stage != "active":
        state = "deleted" if info.lifecycle_stage != "active" else info.status
        return f"run {info.run_id} is {state}; only a FINISHED run may become champion"
    if registry.logged_model_id(case.store.client, case.run) is None:
        return f"run {info.run_id} has no model '{MODEL_NAME}' that is ready"
    return None


def _metrics_are_finite(case: PromotionCase) -> str | None:
    prefix = artifact_files.TEST_PREFIX
    metric = case.experiment.selection.metric
    values: dict[str, float | None] = {metric: case.run.data.metrics.get(metric)}
    values |= {} if case.is_detector else {f"{prefix}mase": case.measures.get("mase")}
    values |= {prefix + name: value for name, value in case.measures.items()}
    for name, value in values.items():
        if value is None:
            return f"{name} of run {case.run.info.run_id} is missing (a value that is not finite is not recorded)"
        # MLflow's SQL stores record infinity as the largest float.
        if not abs(value) < sys.float_info.max:
            shown = value if math.isnan(value) else math.copysign(math.inf, value)
            return f"{name} of run {case.run.info.run_id} is {shown}, not a finite number"
    return None


def _naive_are_beaten(case: PromotionCase) -> str | None:
    if case.is_unlabelled:
        return None
    if not case.naive_errors:
        return "no naive baseline was tested, so nothing shows that the winner is useful; run again: gridcast run"
    if case.experiment.selection.when_beaten == "warn":
        return None
    margin = case.experiment.selection.naive_margin
    limits = {name: limit_below(error, margin) for name, error in case.naive_errors.items()}
    unbeaten = {name: error for name, error in case.naive_errors.items() if not case.error <= limits[name]}
    if not unbeaten:
        return None
    names = ", ".join(f"{name} ({error:.4g})" for name, error in sorted(unbeaten.items(), key=lambda item: item[1]))
    limit = min(limits[name] for name in unbeaten)
    return (
        f"{case.error_name} {case.error:.4g} on the test span does not beat {names}; "
        f"at most {limit:.4g} is needed (selection.margin {margin:g})"
    )


GATES: dict[str, Callable[[PromotionCase], str | None]] = {
    "run is finished": _run_is_finished,
    "metrics are finite": _metrics_are_finite,
    "naive baselines are beaten": _naive_are_beaten,
    "champion is beaten": champion_gate.refusal_of_champion,
}
"""In the order in which they are applied; each returns the reason for a refusal, or None."""


def first_refusal(case: PromotionCase) -> tuple[str, str] | None:
    """Return the name of the first gate that refuses and its reason; None if all gates pass."""
    for name, gate in GATES.items():
        reason = gate(case)
        if reason:
            return name, reason
    return None


def best_baseline_ahead(case: PromotionCase) -> str | None:
    """Return the best baseline that beats the challenger; None if there is none.

    A naive baseline counts as ahead unless the challenger beats it by `selection.margin`.
    """
    if case.is_unlabelled:
        return None
    margin, naive = case.experiment.selection.naive_margin, case.naive_errors
    errors = {name: case.error_of(measures) for name, measures in case.baseline_measures.items()}
    limits = {name: limit_below(error, margin if name in naive else 0.0) for name, error in errors.items()}
    ahead = [name for name, limit in limits.items() if math.isfinite(limit) and not case.error <= limit]
    return min(ahead, key=lambda name: errors[name], default=None)
