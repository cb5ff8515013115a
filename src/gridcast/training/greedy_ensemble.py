"""The weights of a greedy ensemble, and its measures on the validation span."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gridcast.config import selection_metrics
from gridcast.config.selection_metrics import HIGHER_IS_BETTER, VALIDATION_PREFIX
from gridcast.data.dataset import Dataset
from gridcast.evaluation import forecast_results, greedy_selection
from gridcast.evaluation.forecast_results import Forecasts
from gridcast.runtime import loading
from gridcast.training.contenders import measure_validation


@dataclass(frozen=True)
class GreedyEnsemble:
    """The `weights` of all candidates (0: no member), and the `measures` of their ensemble on the validation span.

    The measure that it was selected by is that of a cross-validation, see `greedy_selection.cross_validated_cost`.
    Where the span has no two halves for one, there are no measures: on the windows of its selection it is never worse
    than its members.
    """

    weights: tuple[float, ...]
    measures: dict[str, float]
    started: float = 0.0


def select_members(dataset: Dataset, files: dict[str, bytes], metric: str) -> GreedyEnsemble:
    """Return the greedy ensemble of the members of the forecaster in `files`, by `metric` of the validation span."""
    forecaster = loading.load_from_bytes(files)
    forecasts = [forecast_results.forecast_span(one, dataset, "validation") for one in forecaster.members]
    common = set.intersection(*(set(map(tuple, one.index.tolist())) for one in forecasts))
    aligned = [_rows(one, common) for one in forecasts]
    first, has_quantiles = aligned[0], aligned[0].quantiles is not None
    # The forecast first, then its quantiles.
    values = np.stack([one.forecast for one in aligned])[..., None]
    if has_quantiles:
        values = np.concatenate([values, np.stack([np.asarray(one.quantiles) for one in aligned])], axis=-1)

    def measures(rows: np.ndarray, combined: np.ndarray) -> dict[str, float]:
        part = replace(
            first,
            index=first.index[rows],
            forecast=combined[..., 0],
            quantiles=combined[..., 1:] if has_quantiles else None,
        )
        return measure_validation(dataset, part)

    own = dataset.metrics.get(metric.removeprefix(VALIDATION_PREFIX))
    is_higher_better = own.direction == "higher" if own else metric in HIGHER_IS_BETTER

    def cost(rows: np.ndarray, combined: np.ndarray) -> float:
        value = measures(rows, combined).get(metric, np.nan)
        return selection_metrics.cost(metric, value, is_higher_better=is_higher_better)

    every = np.arange(len(first.index))
    weights = greedy_selection.greedy_weights(values, every, cost)
    measured = measures(every, np.tensordot(weights, values, axes=1))
    validated = greedy_selection.cross_validated_cost(values, first.index, cost)
    # `cost` is its own inverse.
    value = selection_metrics.cost(metric, validated, is_higher_better=is_higher_better)
    return GreedyEnsemble(tuple(weights.tolist()), measured | {metric: value} if np.isfinite(value) else {})


def _rows(forecasts: Forecasts, windows: set[tuple[int, ...]]) -> Forecasts:
    """The forecasts of the windows that all have."""
    rows = [tuple(pair) in windows for pair in forecasts.index.tolist()]
    quantiles = None if forecasts.quantiles is None else forecasts.quantiles[rows]
    return replace(forecasts, index=forecasts.index[rows], forecast=forecasts.forecast[rows], quantiles=quantiles)
