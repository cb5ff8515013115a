"""Quantiles at levels between those that a model was fitted for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .errors import DataError


def at_levels(values: np.ndarray, fitted: Sequence[float], levels: Sequence[float]) -> np.ndarray:
    """Return `values` (..., fitted levels) at other `levels` (..., levels), interpolated; both ascend.

    Raises DataError for a level outside of those fitted.
    """
    for level in levels:
        if not fitted[0] <= level <= fitted[-1]:
            raise DataError(
                f"quantiles: {level:g} is outside the levels that the model was trained for "
                f"({fitted[0]:g} to {fitted[-1]:g})"
            )
    position = np.interp(levels, fitted, np.arange(len(fitted)))
    below = np.minimum(position.astype(int), max(len(fitted) - 2, 0))
    above = np.minimum(below + 1, len(fitted) - 1)
    return values[..., below] + (position - below) * (values[..., above] - values[..., below])
