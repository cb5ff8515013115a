"""The parameters of a forecast: horizon, quantile levels, seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import DataError
from .quantiles import Quantiles


def parse_params(
    params: Mapping[str, Any], trained_horizon: int, trained_quantiles: Quantiles | None
) -> tuple[int, tuple[float, ...], int]:
    """Return horizon, quantile levels and seed from the `params` of `predict`. Raises DataError."""
    horizon = params.get("horizon")
    horizon = trained_horizon if horizon is None else int(horizon)
    if horizon < 1:
        raise DataError(f"horizon: must be at least 1 (got {horizon})")
    levels = params.get("quantiles")
    if trained_quantiles is None:
        if levels is not None:
            raise DataError("quantiles: this model forecasts values only; train one with task: probabilistic")
        return horizon, (), 0
    chosen = trained_quantiles.levels if levels is None else tuple(map(float, np.ravel(levels)))
    for level in chosen:
        if not 0 < level < 1:
            raise DataError(f"quantiles: must lie between 0 and 1 (got {level:g})")
    return horizon, chosen, int(params.get("seed") or 0)
