"""Conformal correction of quantiles, so that intervals cover as often as they state.

Pure. Source: Romano, Patterson, Candès (2019), "Conformalized Quantile Regression": both ends of an interval move
outwards, or inwards, by a quantile of how far actual values lay outside of it on data that no network was trained on.
Departures: distances are in units of each window's scale, so that all series count together; each step of the horizon
has offsets of its own, taken together with neighbouring steps where there are few windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ERRORS_PER_OFFSET = 200
"""Values that an offset is computed from, where there are as many: fewer make its quantile noisy."""


@dataclass(frozen=True)
class ConformalCorrection:
    """Offsets (levels, horizon), in units of a window's scale, by which quantiles at `levels` < 0.5 move down.

    Those at 1 - level move up by as much, the median stays; offsets of levels between are interpolated.
    """

    levels: tuple[float, ...]
    offsets: tuple[tuple[float, ...], ...]

    def apply(self, quantiles: np.ndarray, levels: Sequence[float], scale: np.ndarray) -> np.ndarray:
        """Return `quantiles` (n, steps, levels) at ascending `levels`, corrected and in order; `scale` is (n,).

        Steps beyond those of the calibration move like the last of them.
        """
        fitted_levels = np.array([*self.levels, 0.5])
        fitted_offsets = np.array([*self.offsets, [0.0] * len(self.offsets[0])])
        steps = np.minimum(np.arange(quantiles.shape[1]), fitted_offsets.shape[1] - 1)
        offsets = np.stack(
            [[np.interp(min(q, 1 - q), fitted_levels, fitted_offsets[:, step]) for q in levels] for step in steps]
        )
        moved = quantiles + np.sign(np.array(levels) - 0.5) * offsets * scale[:, None, None]
        # Where offsets narrow an interval to nothing, its ends stop at the median instead of passing it.
        for k in np.flatnonzero(np.array(levels) == 0.5):
            moved[..., :k] = np.minimum(moved[..., :k], moved[..., k, None])
            moved[..., k + 1 :] = np.maximum(moved[..., k + 1 :], moved[..., k, None])
        return np.sort(moved, axis=-1)


def lower_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Return the levels below 0.5 among `levels` and their mirror images 1 - level, ascending."""
    return tuple(sorted({round(min(q, 1 - q), 12) for q in levels} - {0.5}))


def fit(
    actual: np.ndarray, low: np.ndarray, high: np.ndarray, *, levels: Sequence[float], scale: np.ndarray
) -> ConformalCorrection | None:
    """Return the correction with which the intervals from `low` to `high` would have covered `actual` as stated.

    `actual` (n, horizon), `low` and `high` (n, horizon, levels) in data units, at `levels` and 1 - `levels`; `scale`
    (n,). None if there are no levels or no windows.
    """
    if not len(levels) or not len(actual):
        return None
    # How far each value lies outside of its interval; negative inside.
    distance = np.maximum(low - actual[..., None], actual[..., None] - high) / scale[:, None, None]
    steps_needed = -(-ERRORS_PER_OFFSET // len(actual))
    reach = max(0, -(-(steps_needed - 1) // 2))  # neighbouring steps on either side
    offsets = np.empty((len(levels), actual.shape[1]))
    for step in range(actual.shape[1]):
        pooled = distance[:, max(0, step - reach) : step + reach + 1].reshape(-1, len(levels))
        # The paper's finite-sample rank: the ceil((1 - alpha) (m + 1))-th smallest of m, with 1 - alpha = 1 - 2 level.
        rank = np.minimum(np.ceil((1 - 2 * np.array(levels)) * (len(pooled) + 1)).astype(int), len(pooled)) - 1
        offsets[:, step] = np.sort(pooled, axis=0)[rank, np.arange(len(levels))]
    return ConformalCorrection(tuple(levels), tuple(map(tuple, offsets.tolist())))
