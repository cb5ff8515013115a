"""Notes on covariates from which nothing, or little, can be learnt: those that are constant in the training span."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gridcast.config import Data
from gridcast.data.panel import Panel
from gridcast.runtime import scaling
from gridcast.runtime.calendar_features import is_column

MAX_NAMED = 5
"""Series that a note names."""


def with_constant_covariate_notes(panel: Panel, data: Data) -> Panel:
    """Return the panel with a note on each covariate that is constant over the training span of some series.

    One that is constant in every series is warned of: networks and baselines read it as 0.
    """
    zero_runs = ["data.zero_runs"] if data.zero_runs == "feature" else []
    names = [
        *(f"data.past: column '{name}'" for name in data.past),
        *(f"{key}: the channel" for key in zero_runs),
        *(f"data.future: column '{name}'" for name in filter(is_column, data.future)),
    ]
    notes = []
    for k, name in enumerate(names):
        is_constant = scaling.is_constant(panel.covariates[:, slice(*panel.spans["train"]), k])
        if is_constant.all():
            notes.append(
                f"warning: {name} is constant over the training span of every series, so nothing can be learnt from "
                "it: it is read as 0, whatever it is later; remove it, or train on a span in which it varies"
            )
        elif is_constant.any():
            rows = np.flatnonzero(is_constant)
            listed = ", ".join(panel.series[row] for row in rows[:MAX_NAMED])
            more = ", ..." if len(rows) > MAX_NAMED else ""
            notes.append(
                f"{name} is constant over the training span of {len(rows):,} series ({listed}{more}): there it is "
                "scaled as all series together are"
            )
    return replace(panel, notes=(*panel.notes, *notes))
