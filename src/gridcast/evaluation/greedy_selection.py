"""Greedy selection of the members of an ensemble: pure.

Source: Caruana, Niculescu-Mizil, Crew and Ksikes (2004), "Ensemble selection from libraries of models".
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

ROUNDS = 25
"""Members that are added at most, with repetition: weights are multiples of one over their number."""
MIN_SERIES_SPLIT = 10
"""Series from which on halves for cross-validation are made of series; below it of time, if there are several steps."""

Cost = Callable[[np.ndarray, np.ndarray], float]
"""From rows of windows (n,) and their combined forecasts (n, ...) to a number, the lower the better."""


def greedy_weights(forecasts: np.ndarray, rows: np.ndarray, cost: Cost) -> np.ndarray:
    """Return weights (members,), which add up to 1, of the members' `forecasts` (members, windows, ...) of `rows`.

    One after the other, the member is added that lowers the `cost` of the mean most; of all means the best is taken.
    """
    total, counts = np.zeros(forecasts[0, rows].shape), np.zeros(len(forecasts))
    best_cost, best = np.inf, counts
    for size in range(1, ROUNDS + 1):
        costs = [cost(rows, (total + member[rows]) / size) for member in forecasts]
        chosen = int(np.nanargmin(costs)) if np.isfinite(costs).any() else 0
        total, counts = total + forecasts[chosen, rows], counts + (np.arange(len(forecasts)) == chosen)
        if costs[chosen] < best_cost:
            best_cost, best = costs[chosen], counts / size
    if not best.any():
        raise ValueError("no member has finite forecasts")
    return best


def cross_validated_cost(forecasts: np.ndarray, index: np.ndarray, cost: Cost) -> float:
    """Return the cost of greedy ensembles on the half of the windows `index` (n, 2) that they were not selected on.

    The mean over both halves: of the series where there are many, else of time. On the windows of its selection, an
    ensemble is never worse than its best member. Infinite where the windows have no two halves.
    """
    halves = _halves(index)
    if not all(len(rows) for rows in halves):
        return np.inf
    costs = []
    for chosen_on, rows in (halves, halves[::-1]):
        weights = greedy_weights(forecasts, chosen_on, cost)
        costs.append(cost(rows, np.tensordot(weights, forecasts[:, rows], axes=1)))
    return float(np.average(costs, weights=[len(halves[1]), len(halves[0])]))


def _halves(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `index` in two halves, without a step that both forecast where they are of time."""
    series, steps = np.unique(index[:, 0]), np.unique(index[:, 1])
    if len(series) >= MIN_SERIES_SPLIT or len(steps) == 1:
        is_first = np.isin(index[:, 0], series[::2])
    else:
        is_first = index[:, 1] < steps[len(steps) // 2]
    return np.flatnonzero(is_first), np.flatnonzero(~is_first)
