"""Warn of series whose values differ too little from their level to be learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gridcast.config import Transform
from gridcast.data.panel import Panel
from gridcast.runtime.scaling import ROUNDING

SINGLE_PRECISION = 1e-5
"""A spread below this share of the level has fewer than a hundred different values in 32 bits."""


def with_spread_warning(panel: Panel, transform: Transform) -> Panel:
    """Return the panel with a warning about series that vary, but too little for their level to be scaled.

    `minmax` and `standard` subtract the level, in 64 bits; the other scales leave it in what networks read in 32 bits.
    """
    training = panel.training_target
    values = (
        np.log1p(training, where=training > -1, out=np.full_like(training, np.nan)) if transform.log1p else training
    )
    is_finite = np.isfinite(values)
    low = np.min(values, axis=1, where=is_finite, initial=np.inf)
    high = np.max(values, axis=1, where=is_finite, initial=-np.inf)
    has_offset = transform.scale in ("minmax", "standard")
    limit = ROUNDING if has_offset else SINGLE_PRECISION
    with np.errstate(invalid="ignore"):
        share = (high - low) / np.maximum(np.abs(low), np.abs(high))
    is_lost = (low < high) & (share < limit)
    if not is_lost.any():
        return panel
    names = ", ".join(panel.series[i] for i in np.flatnonzero(is_lost)[:5])
    remedy = "subtract a constant from the target"
    if not has_offset and (share[is_lost] >= ROUNDING).all():
        remedy = "write transform.scale: minmax"
    note = (
        f"warning: the values of {int(is_lost.sum())} series ({names}) differ by less than {limit:g} of their level in "
        f"the training span, too little to be learned as they are; {remedy}"
    )
    return replace(panel, notes=(*panel.notes, note))
