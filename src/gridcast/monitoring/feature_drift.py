"""Drift of every feature: the new steps of a panel against those that a model was trained and selected on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gridcast.data.panel import Panel
from gridcast.evaluation.significance import holm
from gridcast.monitoring import drift
from gridcast.runtime.preprocessing import Preprocessing

MAX_MOVED_SERIES = 8
"""Series that are listed for a feature that has drifted."""


@dataclass(frozen=True)
class ExtendedPanel:
    """A panel extended by new rows, which start at step `begin`; the model was fitted on the steps before `end`.

    The training span of the panel is that of the model.
    """

    panel: Panel
    begin: int
    end: int

    @property
    def new(self) -> slice:
        """The new steps."""
        return slice(self.begin, None)

    @property
    def reference(self) -> slice:
        """The training and validation spans."""
        return slice(self.panel.spans.start, self.end)

    @property
    def new_steps(self) -> int:
        """How many steps are new."""
        return len(self.panel.times) - self.begin

    @property
    def has_new_values(self) -> np.ndarray:
        """True (series,) where the new rows have a value."""
        return np.asarray(self.panel.observed[:, self.new].any(axis=1))

    @property
    def new_series(self) -> np.ndarray:
        """Names of the series that have new values."""
        return np.array(self.panel.series)[self.has_new_values]

    @property
    def compared_steps(self) -> int:
        """How many of the newest steps are compared with the reference steps, see `drift.longest_stretch`."""
        return min(self.new_steps, drift.longest_stretch(self.end - self.panel.spans.start - 1))

    def features(self, preprocessing: Preprocessing) -> dict[str, np.ndarray]:
        """Return every column that the model reads (series with new values, steps); NaN where there is no value."""
        panel = self.panel
        is_observed = np.isfinite(panel.target)
        columns = {preprocessing.target: np.where(panel.observed, panel.target, np.nan)}
        for names, cube in ((preprocessing.past, panel.past), (preprocessing.future_columns, panel.future)):
            columns |= {name: np.where(is_observed, cube[:, :, k], np.nan) for k, name in enumerate(names)}
        return {name: values[self.has_new_values] for name, values in columns.items()}


def feature_shifts(data: ExtendedPanel, preprocessing: Preprocessing) -> pd.DataFrame:
    """Return a row for each feature and view: feature, view, rank (mean), p_value, deciles, fields of `drift.Shift`.

    The views are `value` and `change`, the size of the change from one step to the next. `p_value` is the smaller one
    of its two statistics after Holm's correction over all features, views and statistics; `deciles` are the shares of
    the newest steps in those of the training span. Empty where nothing can be compared.
    """
    rows: list[dict[str, Any]] = []
    train, length = data.panel.spans.train - data.panel.spans.start, data.compared_steps
    for feature, values in data.features(preprocessing).items() if length else ():
        reference, newest = values[:, data.reference], values[:, -length - 1 :]
        # A change belongs to the step after it, so one step fewer has one, and the newest steps need the one before.
        views = {
            "value": (reference, train, newest[:, 1:]),
            "change": (drift.step_changes(reference), train - 1, drift.step_changes(newest)),
        }
        for view, (reference_view, train_steps, new_view) in views.items():
            ranks = drift.ranks(reference_view[:, :train_steps], new_view)
            if np.isfinite(ranks).any():
                deciles = drift.bin_shares(ranks, np.arange(1, drift.BINS) / drift.BINS)
                row = {"feature": feature, "view": view, "rank": float(np.nanmean(ranks)), "deciles": deciles}
                rows.append(row | vars(drift.measure_shift(reference_view, train_steps, new_view)))
    columns = ["feature", "view", "rank", "deciles", *drift.Shift.__dataclass_fields__]
    table = pd.DataFrame(rows, columns=columns)
    p_values = holm(table[["psi_p_value", "ks_p_value"]].to_numpy(float).ravel()).reshape(-1, 2)
    return table.assign(p_value=np.fmin(p_values[:, 0], p_values[:, 1]))


def moved_series(data: ExtendedPanel, preprocessing: Preprocessing, features: set[str]) -> pd.DataFrame:
    """Return the series of each of `features` that moved most.

    Columns: feature, series, ks, before and now (medians, data units).
    """
    rows = []
    for feature, values in data.features(preprocessing).items():
        for name, series in zip(data.new_series, values, strict=True) if feature in features else ():
            reference, new = series[data.reference], series[data.new]
            if np.isfinite(reference).any() and np.isfinite(new).any():
                medians = {"before": float(np.nanmedian(reference)), "now": float(np.nanmedian(new))}
                ks = drift.kolmogorov_smirnov(reference, new)
                rows.append({"feature": feature, "series": name, "ks": ks, **medians})
    table = pd.DataFrame(rows, columns=["feature", "series", "ks", "before", "now"])
    table = table.sort_values("ks", ascending=False, kind="stable")
    return table.groupby("feature").head(MAX_MOVED_SERIES).reset_index(drop=True)


def stuck_series(data: ExtendedPanel, preprocessing: Preprocessing) -> pd.DataFrame:
    """Return the series that end with one value for too long, see `drift.final_runs`.

    Columns: feature, series, steps, usual (the longest normal run), value.
    """
    rows: list[dict[str, Any]] = []
    for feature, values in data.features(preprocessing).items():
        reference, new = values[:, data.reference], values[:, data.new]
        lengths, limits = drift.final_runs(reference, new)
        rows += [
            {
                "feature": feature,
                "series": str(data.new_series[k]),
                "steps": int(lengths[k]),
                "usual": int(limits[k]),
                "value": float(new[k, -1]),
            }
            for k in np.flatnonzero(lengths > limits)
        ]
    return pd.DataFrame(rows, columns=["feature", "series", "steps", "usual", "value"])
