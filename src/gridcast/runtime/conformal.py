"""Quantiles that cover what they promise, corrected by how they did on a span that no network was trained on.

Pure. Source: Romano, Patterson, Candès (2019), "Conformalized Quantile Regression": the two ends of
an interval move apart, or together, by a quantile of how far the actual values lay outside of it.
Here far is in units of each window's level, so that all series count together, for every step of
the horizon by itself, or with its neighbours where there are few windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ERRORS_PER_OFFSET = 200
"""Values that an offset is taken from, where the span has so many."""


@dataclass(frozen=True)
class ConformalCorrection:
    """Offsets (levels, horizon) in units of a window's level by which the quantiles at `levels` < 0.5 move down.

    Those at 1 - level move up by as much, the median stays; levels between are interpolated.
    """

    levels: tuple[float, ...]
    offsets: tuple[tuple[float, ...], ...]

    def apply(self, quantiles: np.ndarray, levels: Sequence[float], scale: np.ndarray) -> np.ndarray:
        """`quantiles` (n, steps, levels) at growing `levels`, corrected, in order; `scale` (n,) is the windows' level.

        Steps beyond those that were calibrated move like the last one.
        """
        known = np.array([*self.levels, 0.5])
        given = np.array([*self.offsets, [0.0] * len(self.offsets[0])])
        steps = np.minimum(np.arange(quantiles.shape[1]), given.shape[1] - 1)
        by = np.stack([[np.interp(min(q, 1 - q), known, given[:, k]) for q in levels] for k in steps])
        moved = quantiles + np.sign(np.array(levels) - 0.5) * by * scale[:, None, None]
        # What was narrowed too far meets at the median, and does not pass it.
        for k in np.flatnonzero(np.array(levels) == 0.5):
            moved[..., :k] = np.minimum(moved[..., :k], moved[..., k, None])
            moved[..., k + 1 :] = np.maximum(moved[..., k + 1 :], moved[..., k, None])
        return np.sort(moved, axis=-1)


def lower_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """The levels below 0.5 among `levels` and their mirror images, in order."""
    return tuple(sorted({round(min(q, 1 - q), 12) for q in levels} - {0.5}))


def fit(
    actual: np.ndarray, low: np.ndarray, high: np.ndarray, levels: Sequence[float], scale: np.ndarray
) -> ConformalCorrection | None:
    """The correction by which `low` and `high` (n, horizon, levels) would have covered `actual` (n, horizon).

    `levels` are those of `low`, mirrored in `high`; `scale` (n,). None where there are none.
    """
    if not len(levels) or not len(actual):
        return None
    off = np.maximum(low - actual[..., None], actual[..., None] - high) / scale[:, None, None]
    reach = max(0, -(-(-(-ERRORS_PER_OFFSET // len(actual)) - 1) // 2))
    offsets = np.empty((len(levels), actual.shape[1]))
    for step in range(actual.shape[1]):
        around = off[:, max(0, step - reach) : step + reach + 1].reshape(-1, len(levels))
        rank = np.minimum(np.ceil((1 - 2 * np.array(levels)) * (len(around) + 1)).astype(int), len(around)) - 1
        offsets[:, step] = np.sort(around, axis=0)[rank, np.arange(len(levels))]
    return ConformalCorrection(tuple(levels), tuple(map(tuple, offsets.tolist())))
