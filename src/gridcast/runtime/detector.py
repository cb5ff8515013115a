"""The deployable whole of anomaly detection: preprocessing, network, threshold.

It travels inside every logged model, see forecaster.py.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from . import input_table, running_threshold, time_axis, windows
from .errors import DataError, suggest
from .preprocessing import Preprocessing

SCORE, THRESHOLD, ANOMALY = "score", "threshold", "anomaly"
"""Columns of an answer besides the time and the sensors."""
DETECTOR_KEY = "detector"
"""Key of what the settings of a detector hold besides its preprocessing."""
WINDOWS_PER_BATCH = 256
"""Windows that go through the network at once: always so many, so that one compiled program serves every table."""
MIN_VARIANCE = 1e-6
"""Variance, in squared scaled units, that all have at least: what never errs in training is not divided by."""
ENSEMBLE = "ensemble"
"""The kind of a detector that is made of others."""
MINIMUM = "minimum"
"""How an ensemble combines the scores of its members that finds anomalous what all of them do."""
LATENT_LAYER = "latent"
"""The layer of a network that the few numbers come from."""
MAX_SCALED_VALUE = 1e15
"""Scaled units that no value counts for more than: its square would leave single precision, and say nothing."""
UNIT_WARNING_SPREADS = 10.0
"""A sensor of which half the values lie further from training than so many of its units may have changed its own."""
LOG = logging.getLogger("gridcast")
"""By its name, as this module has another one inside a model."""


def scaled_values(own: Preprocessing, values: np.ndarray) -> np.ndarray:
    """What a network reads of `values` (steps, sensors) in data units: the same in scaled units, float32."""
    return np.clip(own.target_scaler.transform(values.T).T, -MAX_SCALED_VALUE, MAX_SCALED_VALUE).astype(np.float32)


@dataclass(frozen=True)
class NormalStatistics:
    """What vectors of normal operation are like: their `mean` (dims,), and `whitening` (dims, dims), which makes them
    uncorrelated, each of variance 1, and changes them as little as can be.
    """

    mean: np.ndarray
    whitening: np.ndarray

    def white(self, vectors: np.ndarray) -> np.ndarray:
        """`vectors` (..., dims) less the mean, whitened."""
        return np.asarray((vectors - self.mean) @ self.whitening.T)


@dataclass(frozen=True)
class Detector:
    """A trained network with everything needed to tell which steps of a table are anomalous, and by which sensors.

    `kind` is what the network does with a window of all sensors: `reconstruction` rebuilds it from the few numbers
    that its encoder leaves of it, `prediction` forecasts the step after it, `both` does both, and is scored by its
    errors; `encoding` does both too, and is scored by these few numbers first. `usual` tells what is normal: errors of
    each sensor in a window, then of all sensors at a step, last the few numbers. Above the `threshold`, which the
    `rule` took at its `level` from the scores of training, a step is anomalous; one that is taken anew at each step
    starts from what was `seen` there. An event has `least` such steps, with at most `gap` others between them.

    An `ensemble` has no network: it asks its `members`, which watch the same sensors, each as far back as it was
    trained to, and combines their scores, in units of their thresholds, by their geometric `mean` or their `minimum`.
    The latter needs no threshold but 1: above it a step is anomalous by the threshold of each of them.
    """

    preprocessing: Preprocessing
    network: Any
    kind: str
    threshold: float
    rule: str
    level: float
    usual: tuple[NormalStatistics, ...] = field(compare=False)
    least: int = 1
    gap: int = 0
    members: tuple[Detector, ...] = ()
    seen: running_threshold.ScoreHistory | None = None
    combine: str = "mean"

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
    def ahead(self) -> int:
        """Steps after a window that the network answers for."""
        return max((one.ahead for one in self.members), default=int(self.kind != "reconstruction"))

    @property
    def needed(self) -> int:
        """The fewest steps of a table of which one can be scored."""
        return self.lookback + self.ahead

    @property
    def offsets(self) -> range:
        """Where the steps that the network answers for lie, from the end of their window on."""
        return range(-self.lookback if self.kind != "prediction" else 0, self.ahead)

    def ends(self, values: np.ndarray) -> np.ndarray:
        """Ends (n,) of the windows of `values` (steps, sensors) without NaN, in what is ahead of them neither."""
        known = np.isfinite(values).all(axis=1, keepdims=True).T
        return windows.origins(known, self.lookback, self.ahead, 1, 0, len(values))[:, 1]

    def errors(self, values: np.ndarray, ends: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Some of the `ends` (n,) of windows of `values` (steps, sensors), and what the network makes of them.

        That is its errors (n, offsets, sensors), in scaled units or those of the window, and the few numbers
        (n, latent) left by its encoder.
        """
        answering, own = with_latent_output(self.network), self.preprocessing
        for start in range(0, len(ends), WINDOWS_PER_BATCH):
            part = ends[start : start + WINDOWS_PER_BATCH]
            same = np.resize(part, WINDOWS_PER_BATCH)
            history = values[same[:, None] + np.arange(-self.lookback, 0)]
            centre, unit = windows.window_units(history, centred=own.centred, spreads=own.spreads)
            found, latent = answering.predict_on_batch({"history": (history - centre) / unit})
            truth = (values[same[:, None] + np.array(self.offsets)] - centre) / unit
            yield part, (np.asarray(found) - truth)[: len(part)], np.asarray(latent)[: len(part)]

    def contributions(self, values: np.ndarray) -> np.ndarray:
        """What each sensor adds to the score of each step (steps, sensors), which is the mean over the sensors.

        `values` (steps, sensors) are in scaled units, NaN where nothing was seen; no window touches such a step. The
        errors of a window are whitened, those of each sensor over the steps, then those of a step over the sensors.
        A sensor adds the mean of its squares d: 1 where it is as usual. So the score is the squared Mahalanobis
        distance of the window's errors in units of the usual one. A step has the mean over the windows that answer
        for it; where they are rebuilt, the score is settled `lookback` steps later. NaN where no window allows to tell.

        An `encoding` scores the Mahalanobis distance, of the same kind, of the few numbers its encoder leaves, and
        adds log(1 + d) of the errors, whitened over the steps alone: how sensors go together these numbers tell. They
        hardly grow with what they encode, and log(1 + d) is, but for a factor, the negative log-likelihood of a t
        distribution with as many degrees of freedom as dimensions. So a sensor that drifts slowly out of the range of a
        short training, where networks err hundreds of times their usual error, does not silence all others. The
        distance is of no sensor: it is shared as the other term is.

        An ensemble scores the geometric mean of its members' scores, each in units of its threshold: scores span
        orders of magnitude, and a member that errs thousands of times as much as usual is not to outshout the others.
        Or their minimum: what one of them finds normal is none. A sensor has the mean of its shares in them. NaN
        where one of them cannot tell.

        Sources: Malhotra, Ramakrishnan, Anand, Vig, Agarwal, Shroff (2016), "LSTM-based Encoder-Decoder for
        Multi-sensor Anomaly Detection", for the distance of errors, with one covariance of all in place of that of
        steps and that of sensors; Denouden, Salay, Czarnecki, Abdelzad, Phan, Vernekar (2018), "Improving
        Reconstruction Autoencoder Out-of-distribution Detection with Mahalanobis Distance", for adding what the
        encoder tells.
        """
        if self.members:
            return self._together(values)
        total, times = np.zeros(values.shape), np.zeros((len(values), 1))
        *each, beside, encoded = self.usual
        for ends, errors, latent in self.errors(values, self.ends(values)):
            white = whiten_by_sensor(each, errors)
            share = np.mean(np.square(white if self.kind == "encoding" else beside.white(white)), axis=1)
            if self.kind == "encoding":
                share = np.log1p(share)
                away = np.mean(np.square(encoded.white(latent)), axis=1)
                share *= 1 + (away / np.maximum(share.mean(axis=1), MIN_VARIANCE))[:, None]
            for offset in self.offsets:
                total[ends + offset] += share
                times[ends + offset] += 1
        return np.divide(total, times, out=np.full(values.shape, np.nan), where=times > 0)

    def _together(self, values: np.ndarray) -> np.ndarray:
        """Contributions (steps, sensors) of an ensemble."""
        logs, shares = np.empty((len(self.members), len(values), 1)), np.zeros(values.shape)
        for log, member in zip(logs, self.members, strict=True):
            found = member.contributions(values)
            score = np.maximum(found.mean(axis=1, keepdims=True), MIN_VARIANCE)
            log[:] = np.log(score / max(member.threshold, MIN_VARIANCE))
            shares += found / score / len(self.members)
        return np.asarray(shares * np.exp(logs.min(axis=0) if self.combine == MINIMUM else logs.mean(axis=0)))

    def limits(self, score: np.ndarray) -> np.ndarray:
        """The threshold of each step (steps,) whose `score` (steps,) that is, the first after what was seen so far."""
        return running_threshold.thresholds(score, self.threshold, self.level, self.seen)

    def predict(self, table: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """A row for each step of `table`, missing ones in between too: time, `score`, `threshold`, `anomaly`, sensors.

        `anomaly` tells whether the score lies above the threshold. Under the name of a sensor stands what it
        contributes to the score, which is the mean over the sensors. A threshold that is taken anew at each step
        starts with the table, after the scores of training. Steps are scored as far as windows of
        `lookback` steps reach in which every sensor has a value; elsewhere score and contributions are NaN, so that
        no event goes on over what nobody saw.

        A change of a sensor that was constant in training counts in thousandths of its unit, or in what the network
        errs there. Values are taken as they come: of a sensor whose unit has changed each step is anomalous, and a
        warning tells which sensor it is. Columns that were not in training are passed over: nobody knows what is
        normal there.

        Raises DataError for a table without one of the sensors, with values that are no numbers, with a stamp
        twice or off the axis, or with fewer steps than a window.
        """
        times, values = self.read(table)
        scaled = scaled_values(self.preprocessing, values)
        self._warn_of_units(scaled)
        found = self.contributions(scaled)
        score = found.mean(axis=1)
        limits = self.limits(score)
        told = {self.time: times, SCORE: score, THRESHOLD: limits, ANOMALY: score > limits}
        return pd.DataFrame(told | {name: found[:, k] for k, name in enumerate(self.sensors)})

    def read(self, table: pd.DataFrame) -> tuple[pd.DatetimeIndex, np.ndarray]:
        """The steps of `table` and the values (steps, sensors) in data units, NaN where one is missing. DataError."""
        own, wanted = self.preprocessing, (self.time, *self.sensors)
        for column in wanted:
            if column not in table.columns:
                near = suggest(column, (str(name) for name in table.columns if name not in wanted))
                raise DataError(f"no column '{column}'{near} (needed: {', '.join(wanted)})")
        table = table.reset_index(drop=True)
        stamps = pd.DatetimeIndex(input_table.parse_stamps(table[self.time], self.time))
        if stamps.has_duplicates:
            row = int(np.flatnonzero(stamps.duplicated())[0])
            raise DataError(f"row {row}: {stamps[row]} stands twice")
        times = stamps.sort_values()
        if own.calendar == "regular" and len(times):
            times = time_axis.regular_steps(times, own.frequency)
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
            if len(known) and np.median(known) > UNIT_WARNING_SPREADS:
                LOG.warning(
                    "sensor '%s': half of its values lie more than %g times its spread in training away from there; "
                    "if its unit changed, give its values in the old one, or train again",
                    name,
                    float(np.median(known)),
                )

    def to_json(self) -> dict[str, Any]:
        """All but the network, as it is kept beside it: plain lists, numbers and strings."""
        names = ("kind", "threshold", "rule", "level", "least", "gap", "combine")
        usual = [[own.mean.tolist(), own.whitening.tolist()] for own in self.usual]
        own = {name: getattr(self, name) for name in names} | {"usual": usual}
        own |= {} if self.seen is None else {"seen": asdict(self.seen)}
        return {**self.preprocessing.to_json(), DETECTOR_KEY: own}


def from_json(content: dict[str, Any], network: Any = None) -> Detector:
    """Return the detector of `Detector.to_json`, with its `network` where it has one of its own."""
    settings = content[DETECTOR_KEY]
    usual = tuple(NormalStatistics(np.array(mean), np.array(whitening)) for mean, whitening in settings["usual"])
    seen = {"seen": running_threshold.ScoreHistory(**settings["seen"])} if "seen" in settings else {}
    return Detector(Preprocessing.from_json(content), network, **settings | {"usual": usual} | seen)


def whiten_by_sensor(each: Sequence[NormalStatistics], errors: np.ndarray) -> np.ndarray:
    """Errors (n, offsets, sensors), those of each sensor whitened over the offsets."""
    return np.stack([own.white(errors[:, :, k]) for k, own in enumerate(each)], axis=2)


def with_latent_output(network: Any) -> Any:
    """`network` with the few numbers left by its encoder as a second output; the same each time, as it is compiled.

    One that has left Keras behind is whole already.
    """
    if not hasattr(network, "get_layer"):
        return network
    import keras

    if network not in _WHOLE:
        outputs = [network.output, network.get_layer(LATENT_LAYER).output]
        _WHOLE[network] = keras.Model({"history": network.input["history"]}, outputs)
    return _WHOLE[network]


_WHOLE: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
