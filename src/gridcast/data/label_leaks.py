"""Sensors that predict the labels on their own: columns derived from them, not measured. Pure."""

from __future__ import annotations

import numpy as np
import pandas as pd

MAX_CODES = 10
"""Different values of a column of codes, at most."""
MIN_EVENTS = 2
"""Labelled events that a leak shows in, at least: a single one may be just what a sensor measures."""
LEAKING_AUC = 0.999


def predicts_labels(values: np.ndarray, labels: np.ndarray) -> str:
    """Return how `values` (steps,), NaN where missing, predict `labels` (steps,) on their own; empty if they do not.

    One of a few codes that occurs at labelled steps alone does so, and so do values that are all above, or all below,
    those of the other steps.
    """
    is_known = np.isfinite(values)
    known, marks = values[is_known], labels[is_known]
    event_of = np.cumsum(np.diff(labels.astype(np.int8), prepend=0) == 1)[is_known]
    if len(np.unique(event_of[marks])) < MIN_EVENTS or marks.all():
        return ""
    codes = np.unique(known)
    if len(codes) <= MAX_CODES:
        for code in codes:
            events = np.unique(event_of[known == code])
            if marks[known == code].all() and len(events) >= MIN_EVENTS:
                return f"its value {code:g} occurs at labelled steps alone, in {len(events)} events"
        return ""
    ranks, count = pd.Series(known).rank().to_numpy(), int(marks.sum())
    auc = (ranks[marks].sum() - count * (count + 1) / 2) / (count * (len(known) - count))
    if max(auc, 1 - auc) < LEAKING_AUC:
        return ""
    return f"its values at labelled steps are {'above' if auc > 0.5 else 'below'} all others"
