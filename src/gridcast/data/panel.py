"""The validated data: many series on one time axis."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from gridcast.data import splits
from gridcast.runtime.calendar_features import MarkedDays
from gridcast.runtime.dialect import UNKNOWN, Dialect
from gridcast.runtime.series_ids import plain_ids
from gridcast.runtime.step_rule import StepRule


@dataclass(frozen=True)
class Panel:
    """All series on one axis of `times`, in data units.

    - `target` (series, steps): NaN before a series begins and after it ends; between them only where gaps are kept.
    - `observed` (series, steps): False there, where a gap was filled with a made-up value, and where a step is masked.
    - `past`, `future` (series, steps, columns): covariates, without NaN. With `data.zero_runs: feature`, the last past
      column marks unusual runs of zeros.
    - `static` (series, columns): codes into `vocabularies`.
    - `marked_days`: the days of holidays and events.
    - `folds`: the spans of each rolling origin, or one if there are none; `spans`: those in use, of the last one at the
      end.
    - `notes`: sentences on what was done to the data.
    - `labels` (steps,): True where a step is labelled as anomalous; None without labels. Training never sees them,
      except for the gaps that omitted steps leave.
    - `key_count`: the number of key columns that make a series' id.
    - `steps`: the rule of the time axis; `steps_text` is empty where former versions had the same steps.
    - `dialect`: how the table is written. `left_out`: ids of series of the table that are not in the panel;
      `too_short`: ids of those that `data.short: drop` left out.
    """

    series: tuple[str, ...]
    times: pd.DatetimeIndex
    target: np.ndarray
    observed: np.ndarray
    past: np.ndarray
    future: np.ndarray
    static: np.ndarray
    vocabularies: tuple[tuple[str, ...], ...]
    spans: splits.Spans
    steps: StepRule
    marked_days: tuple[MarkedDays, ...] = ()
    folds: tuple[splits.Spans, ...] = ()
    notes: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    key_count: int = 1
    steps_text: str = ""
    dialect: Dialect = UNKNOWN
    left_out: tuple[str, ...] = ()
    too_short: tuple[str, ...] = ()

    @property
    def plain_series(self) -> tuple[str, ...]:
        """The ids of `series` as versions before 0.2.0 wrote them (series,), see `series_ids.plain_ids`.

        Fingerprints and run keys have these, so that sweeps that those versions finished are recognised.
        """
        return plain_ids(self.series, self.key_count)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the names, the axis and every value."""
        digest = hashlib.sha256()
        for names in (self.plain_series, *self.vocabularies):
            digest.update("\0".join(names).encode() + b"\1")
        digest.update(self.times.to_numpy("datetime64[us]").tobytes())
        for values in (self.target, self.observed, self.past, self.future, self.static):
            digest.update(str(values.shape).encode())
            digest.update(np.ascontiguousarray(values).data)
        for days in self.marked_days:
            digest.update(days.fingerprint_text.encode())
        if self.labels is not None:
            digest.update(self.labels.tobytes())
        digest.update(self.steps_text.encode())
        return digest.hexdigest()

    @property
    def covariates(self) -> np.ndarray:
        """Past and future columns side by side (series, steps, columns)."""
        return np.concatenate([self.past, self.future], axis=2) if self.future.shape[2] else self.past

    @property
    def training_target(self) -> np.ndarray:
        """The target over the training span (series, training steps), NaN where it was not observed.

        Everything estimated from it ignores filled values: one interpolated at the end of the span would leak the
        first value of the next span.
        """
        train = slice(*self.spans["train"])
        return np.where(self.observed[:, train], self.target[:, train], np.nan)

    def fold(self, number: int) -> Panel:
        """Return the same panel with the spans of fold `number`."""
        return replace(self, spans=self.folds[number])

    def take(self, positions: np.ndarray) -> Panel:
        """Return the same panel with only the series at `positions`, in their order."""
        kept = tuple(self.series[i] for i in positions)
        others = set(self.series) - set(kept)
        return replace(
            self,
            series=kept,
            left_out=(*self.left_out, *(name for name in self.series if name in others)),
            target=self.target[positions],
            observed=self.observed[positions],
            past=self.past[positions],
            future=self.future[positions],
            static=self.static[positions],
        )
