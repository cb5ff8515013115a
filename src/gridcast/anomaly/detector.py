"""The deployable whole of anomaly detection: preprocessing, network, threshold.

It travels inside every logged model, see forecaster.py.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..data import axis, request, windows
from ..data.preprocessing import Preprocessing
from ..errors import DataError, suggest
from ..forecaster import NETWORK, SETTINGS

SCORE, THRESHOLD, ANOMALY = "score", "threshold", "anomaly"
"""Columns of an answer besides the time and the sensors."""
DETECTOR = "detector"
"""Key of what the settings of a detector hold besides its preprocessing."""
CHUNK = 256
"""Windows that go through the network at once: always so many, so that one compiled program serves every table."""
SMALL = 1e-6
"""The smallest error that counts as usual, in squared scaled units: what never errs in training is not divided by."""
FURTHEST = 1e15
"""Scaled units that no value counts for more than: its square would leave single precision, and say nothing."""
FAR = 10.0
"""A sensor of which half the values lie further from training than so many of its units may have changed its own."""
LOG = logging.getLogger("gridcast")
"""By its name, as this module has another one inside a model."""


def channels(own: Preprocessing, values: np.ndarray) -> np.ndarray:
    """What a network reads of `values` (steps, sensors) in data units: the same in scaled units, float32."""
    return np.clip(own.target_scaler.transform(values.T).T, -FURTHEST, FURTHEST).astype(np.float32)


@dataclass(frozen=True)
class Detector:
    """A trained network with everything needed to tell which steps of a table are anomalous, and by which sensors.

    `kind` is what the network does with a window of all sensors: `reconstruction` rebuilds it from the few numbers
    that its encoder leaves of it, `prediction` forecasts the step after it, `both` does both. A score is the mean
    over the sensors of squared errors, each in units of the `usual` one (offsets, sensors) that training had at this
    place of a window and of this sensor: what is hard to tell weighs no more than what is easy. Above the
    `threshold`, which the `rule` took at its `level` from the scores of training, a step is anomalous. An event has
    `least` such steps, with at most `gap` others between them.
    """

    preprocessing: Preprocessing
    network: Any
    kind: str
    threshold: float
    rule: str
    level: float
    usual: np.ndarray = field(compare=False)
    least: int = 1
    gap: int = 0

    @property
    def sensors(self) -> tuple[str, ...]:
        """The columns that are watched."""
        return self.preprocessing.series

    @property
    def time(self) -> str:
        """The column of time stamps."""
        return self.preprocessing.time

    @property
    def frequency(self) -> str:
        """The time between steps."""
        return self.preprocessing.frequency

    @property
    def lookback(self) -> int:
        """Steps of a window."""
        return self.preprocessing.lookback

    @property
    def needed(self) -> int:
        """The fewest steps of a table of which one can be scored."""
        return self.lookback + (self.kind != "reconstruction")

    @property
    def offsets(self) -> range:
        """Where the steps that the network answers for lie, from the end of their window on."""
        return range(-self.lookback if self.kind != "prediction" else 0, 1 if self.kind != "reconstruction" else 0)

    def errors(self, values: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Ends (n,) of windows of `values` (steps, sensors), and squared errors (n, offsets, sensors) of the network.

        Scaled units all. Only windows without NaN are read; an error is NaN where the step predicted has one, or is
        not there.
        """
        known = np.isfinite(values).all(axis=1)
        beyond = np.where(known[:, None], values, np.nan)
        beyond = np.concatenate([beyond, np.full((1, values.shape[1]), np.nan, values.dtype)])
        ends = windows.origins(known[None], self.lookback, 0, 1, 0, len(values))[:, 1]
        for start in range(0, len(ends), CHUNK):
            part = ends[start : start + CHUNK]
            same = np.resize(part, CHUNK)
            read = values[same[:, None] + np.arange(-self.lookback, 0)]
            found = np.asarray(self.network.predict_on_batch({"history": read}))[: len(part)]
            yield part, np.square(found - beyond[part[:, None] + np.array(self.offsets)])

    def usual_of(self, values: np.ndarray) -> np.ndarray:
        """Mean errors (offsets, sensors) over the windows of `values` (steps, sensors), but not less than `SMALL`."""
        sums, counts = np.zeros((len(self.offsets), values.shape[1])), np.zeros((len(self.offsets), 1))
        for _, errors in self.errors(values):
            sums += np.nansum(errors, axis=0, dtype=float)
            counts += np.isfinite(errors[:, :, :1]).sum(axis=0)
        return np.maximum(sums / np.maximum(counts, 1), SMALL)

    def contributions(self, values: np.ndarray) -> np.ndarray:
        """What each sensor adds to the score of each step (steps, sensors): its errors in units of the `usual` ones.

        `values` (steps, sensors) are in scaled units, NaN where nothing was seen; no window reads such a step. A
        rebuilt step counts by its mean over all windows that cover it, so the score of a step is settled once
        `lookback` - 1 more have come. Where steps are rebuilt and predicted, both are added. NaN where no
        window allows to tell.
        """
        rebuilt, times = np.zeros(values.shape), np.zeros((len(values), 1))
        ahead = np.full(values.shape, np.nan)
        for ends, errors in self.errors(values):
            for k, offset in enumerate(self.offsets):
                at, share = ends + offset, errors[:, k] / self.usual[k]
                if offset < 0:
                    rebuilt[at] += share
                    times[at] += 1
                else:
                    ahead[at[at < len(values)]] = share[at < len(values)]
        rebuilt = np.divide(rebuilt, times, out=np.full(values.shape, np.nan), where=times > 0)
        return {"reconstruction": rebuilt, "prediction": ahead, "both": rebuilt + ahead}[self.kind]

    def predict(self, table: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """A row for each step of `table` that can be scored: time, `score`, `threshold`, `anomaly`, and each sensor.

        `anomaly` tells whether the score lies above the threshold. Under the name of a sensor stands what it
        contributes to the score, which is the mean over the sensors. Steps are scored as far as windows of
        `lookback` steps reach in which every sensor has a value; a table may have steps that are missing.

        A change of a sensor that was constant in training counts in thousandths of its unit, or in what the network
        errs there. Values are taken as they come: of a sensor whose unit has changed each step is anomalous, and a
        warning tells which sensor it is. Columns that were not in training are passed over: nobody knows what is
        normal there.

        Raises DataError for a table without one of the sensors, with values that are no numbers, with a stamp
        twice or off the axis, or with fewer steps than a window.
        """
        times, values = self.read(table)
        scaled = channels(self.preprocessing, values)
        self._warn_of_units(scaled)
        found = self.contributions(scaled)
        scored = np.isfinite(found).all(axis=1)
        score = found[scored].mean(axis=1)
        told = {self.time: times[scored], SCORE: score, THRESHOLD: self.threshold, ANOMALY: score > self.threshold}
        return pd.DataFrame(told | {name: found[scored, k] for k, name in enumerate(self.sensors)})

    def read(self, table: pd.DataFrame) -> tuple[pd.DatetimeIndex, np.ndarray]:
        """The steps of `table` and the values (steps, sensors) in data units, NaN where one is missing. DataError."""
        own, wanted = self.preprocessing, (self.time, *self.sensors)
        for column in wanted:
            if column not in table.columns:
                near = suggest(column, (str(name) for name in table.columns if name not in wanted))
                raise DataError(f"no column '{column}'{near} (needed: {', '.join(wanted)})")
        table = table.reset_index(drop=True)
        stamps = pd.DatetimeIndex(request.stamps(table[self.time], self.time))
        if stamps.has_duplicates:
            row = int(np.flatnonzero(stamps.duplicated())[0])
            raise DataError(f"row {row}: {stamps[row]} stands twice")
        times = stamps.sort_values()
        if own.calendar == "regular" and len(times):
            times = axis.regular(times, own.frequency)
            if len(off := stamps[~stamps.isin(times)]):
                raise DataError(f"time {off[0]} is off the axis of frequency {own.frequency}")
        if len(times) < self.needed:
            raise DataError(f"the table has {len(times)} steps; the model reads {self.needed}")
        values = np.full((len(times), len(self.sensors)), np.nan)
        at = times.get_indexer(stamps)
        for k, name in enumerate(self.sensors):
            try:
                values[at, k] = pd.to_numeric(table[name]).astype(float)
            except (ValueError, TypeError) as error:
                raise DataError(f"column '{name}': {error}") from None
            far = np.flatnonzero(np.isinf(values[:, k]))
            if len(far):
                raise DataError(f"column '{name}': infinite value at {times[far[0]]}")
        return times, values

    def _warn_of_units(self, scaled: np.ndarray) -> None:
        for k, name in enumerate(self.sensors):
            known = np.abs(scaled[np.isfinite(scaled[:, k]), k])
            if len(known) and np.median(known) > FAR:
                LOG.warning(
                    "sensor '%s': half of its values lie more than %g times its spread in training away from there; "
                    "if its unit changed, give its values in the old one, or train again",
                    name,
                    float(np.median(known)),
                )

    def to_json(self) -> dict[str, Any]:
        """All but the network, as it is kept beside it: plain lists, numbers and strings."""
        names = ("kind", "threshold", "rule", "level", "least", "gap")
        own = {name: getattr(self, name) for name in names} | {"usual": self.usual.tolist()}
        return {**self.preprocessing.to_json(), DETECTOR: own}


def load(folder: Path | str) -> Detector:
    """The detector kept in `folder`: `forecaster.json` with `model.keras`."""
    import keras

    content = json.loads(Path(folder, SETTINGS).read_text(encoding="utf-8"))
    network = keras.saving.load_model(Path(folder, NETWORK), compile=False)
    own = content[DETECTOR] | {"usual": np.array(content[DETECTOR]["usual"])}
    return Detector(Preprocessing.from_json(content), network, **own)


def _load_pyfunc(path: str) -> Detector:
    """Door for `mlflow.pyfunc.load_model`, which calls it by this name."""
    return load(path)
