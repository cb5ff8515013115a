"""The values of the target that a model can read: the same check in training and in use."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from .likelihoods import LIKELIHOODS


@dataclass(frozen=True)
class TargetRange:
    """The values that `reader` needs; `needed` says which, `contains` (...) is whether each value is one of them."""

    reader: str
    needed: str
    contains: Callable[[np.ndarray], np.ndarray]

    def outside(self, values: np.ndarray) -> np.ndarray:
        """Return the positions (n,) of those of `values` (steps,) that cannot be read; NaN is none of them."""
        return np.flatnonzero(np.isfinite(values) & ~self.contains(values))


def _above_minus_one(values: np.ndarray) -> np.ndarray:
    return np.asarray(values > -1)


def _is_count(values: np.ndarray) -> np.ndarray:
    return np.asarray((values >= 0) & (values == np.round(values)))


LOGARITHM = TargetRange("log1p", "values above -1", _above_minus_one)
COUNTS = TargetRange("negative-binomial", "whole numbers from 0 on", _is_count)


def needed_ranges(*, log1p: bool, likelihoods: Collection[str]) -> tuple[TargetRange, ...]:
    """Return what a model needs whose target is scaled after `log1p`, or whose networks have these `likelihoods`."""
    has_counts = any(LIKELIHOODS[name].counts for name in likelihoods if name in LIKELIHOODS)
    return (*((LOGARITHM,) if log1p else ()), *((COUNTS,) if has_counts else ()))


def ranges_of_model(model: Any) -> tuple[TargetRange, ...]:
    """Return what a forecaster needs, which may be an object of the code that its model carries."""
    models = [model, *getattr(model, "members", ())]
    quantiles = [one.quantiles for one in models if getattr(one, "quantiles", None) is not None]
    log1p = any(one.preprocessing.target_scaler.log1p for one in models)
    return needed_ranges(log1p=log1p, likelihoods={one.likelihood for one in quantiles})
