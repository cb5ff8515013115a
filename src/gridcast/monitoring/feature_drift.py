"""The new steps of a panel beside those that a model was trained and chosen on: the drift of every feature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gridcast.data.panel import Panel
from gridcast.monitoring import drift
from gridcast.runtime.preprocessing import Preprocessing

MAX_MOVED_SERIES = 8
"""Series that are named of a feature that has drifted."""


@dataclass(frozen=True)
class ExtendedPanel:
    """A panel that goes on with new rows: they begin at step `begin`, and what came before `end` was learnt from.

    The panel's training span is that of the model.
    """

    panel: Panel
    begin: int
    end: int

    @property
    def new(self) -> slice:
        """The new steps."""
        return slice(self.begin, None)

    @property
    def known(self) -> slice:
        """The training and validation spans."""
        return slice(self.panel.spans.start, self.end)

    @property
    def steps(self) -> int:
        """How many steps are new."""
        return len(self.panel.times) - self.begin

    @property
    def present(self) -> np.ndarray:
        """True (series,) where the new rows hold a value."""
        return np.asarray(self.panel.observed[:, self.new].any(axis=1))

    @property
    def series(self) -> np.ndarray:
        """Names of the series that are `present`."""
        return np.array(self.panel.series)[self.present]

    @property
    def judged(self) -> int:
        """How many of the newest steps can be told from the known ones, see `drift.longest`."""
        return min(self.steps, drift.longest_stretch(self.end - self.panel.spans.start - 1))

    def features(self, own: Preprocessing) -> dict[str, np.ndarray]:
        """Every column that the model is given (series, steps), of the series `present`; NaN where nothing is."""
        panel = self.panel
        known = np.isfinite(panel.target)
        found = {own.target: np.where(panel.observed, panel.target, np.nan)}
        for columns, cube in ((own.past, panel.past), (own.future_columns, panel.future)):
            found |= {name: np.where(known, cube[:, :, k], np.nan) for k, name in enumerate(columns)}
        return {name: values[self.present] for name, values in found.items()}


def feature_shifts(data: ExtendedPanel, own: Preprocessing) -> pd.DataFrame:
    """A row for each feature and view: feature, view, rank (mean), p_value, deciles, and the fields of `drift.Shift`.

    The views are `value` and `change`, the size of the change from one step to the next. `p_value` is the
    smaller one of its two statistics after Holm's correction over all features, views and statistics;
    `deciles` are the shares of the newest steps in those of the training span. Empty where nothing can be judged.
    """
    rows: list[dict[str, Any]] = []
    train, length = data.panel.spans.train - data.panel.spans.start, data.judged
    for feature, values in data.features(own).items() if length else ():
        known, newest = values[:, data.known], values[:, -length - 1 :]
        views = {
            "value": (known, train, newest[:, 1:]),
            "change": (drift.step_changes(known), train - 1, drift.step_changes(newest)),
        }
        for view, (past, steps, new) in views.items():
            ranks = drift.ranks(past[:, :steps], new)
            if np.isfinite(ranks).any():
                deciles = drift.bin_shares(ranks, np.arange(1, drift.BINS) / drift.BINS)
                about = {"feature": feature, "view": view, "rank": float(np.nanmean(ranks)), "deciles": deciles}
                rows.append(about | vars(drift.measure_shift(past, steps, new)))
    names = ["feature", "view", "rank", "deciles", *drift.Shift.__dataclass_fields__]
    table = pd.DataFrame(rows, columns=names)
    pairs = drift.holm(table[["psi_p_value", "ks_p_value"]].to_numpy(float).ravel()).reshape(-1, 2)
    return table.assign(p_value=np.fmin(pairs[:, 0], pairs[:, 1]))


def moved_series(data: ExtendedPanel, own: Preprocessing, features: set[str]) -> pd.DataFrame:
    """The series of each of `features` that moved most: feature, series, ks, before and now (medians, data units)."""
    rows = []
    for feature, values in data.features(own).items():
        for name, one in zip(data.series, values, strict=True) if feature in features else ():
            known, new = one[data.known], one[data.new]
            if np.isfinite(known).any() and np.isfinite(new).any():
                medians = {"before": float(np.nanmedian(known)), "now": float(np.nanmedian(new))}
                distance = drift.kolmogorov_smirnov(known, new)
                rows.append({"feature": feature, "series": name, "ks": distance, **medians})
    columns = ["feature", "series", "ks", "before", "now"]
    found = pd.DataFrame(rows, columns=columns).sort_values("ks", ascending=False, kind="stable")
    return found.groupby("feature", sort=False).head(MAX_MOVED_SERIES).reset_index(drop=True)


def stuck_series(data: ExtendedPanel, own: Preprocessing) -> pd.DataFrame:
    """Series that end with one value for too long, see `drift.stuck`: feature, series, steps, usual, value."""
    rows = []
    for feature, values in data.features(own).items():
        known, new = values[:, data.known], values[:, data.new]
        runs, limit = drift.final_runs(known, new)
        for at in np.flatnonzero(runs > limit):
            told = {"steps": int(runs[at]), "usual": int(limit[at]), "value": float(new[at, -1])}
            rows.append({"feature": feature, "series": str(data.series[at]), **told})
    return pd.DataFrame(rows, columns=["feature", "series", "steps", "usual", "value"])
