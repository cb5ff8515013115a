"""By how much the lowest of several errors on one span flatters: a pure function."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def best_of_looks_bias(errors: Sequence[float]) -> float:
    """Return the share of the lowest of `errors` by which it lies below their mean; NaN for fewer than two.

    Where the networks behind them are equally good, their errors on one span differ by chance alone, and the mean less
    the lowest is an unbiased estimate, for any distribution, of how far the best of so many looks lies too low. Where
    they differ in truth, it is more than that.
    """
    finite = np.asarray([error for error in errors if np.isfinite(error)], float)
    if len(finite) < 2 or finite.min() <= 0:
        return float("nan")
    return float(finite.mean() / finite.min() - 1)
