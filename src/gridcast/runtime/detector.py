"""The deployable anomaly detector: preprocessing, network or simple detector, and threshold.

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

from . import (
    combined_scores,
    events,
    input_table,
    online,
    running_threshold,
    simple_detectors,
    table_columns,
    time_axis,
    windows,
)
from .errors import DataError, suggest
from .normal_statistics import MIN_VARIANCE, NormalStatistics, whiten_by_sensor
from .online import OnlineThreshold
from .preprocessing import Preprocessing
from .simple_detectors import SIMPLE_DETECTORS

SCORE, THRESHOLD, ANOMALY = "score", "threshold", "anomaly"
"""Columns of a table of scores, beside the time and the sensors."""
DETECTOR_KEY = "detector"
"""Key of forecaster.json for the settings of a detector beside its preprocessing; a forecaster has none."""
WINDOWS_PER_BATCH = 256
"""Windows that go through the network at once, always as many, so that one compiled program serves every table."""
ENSEMBLE = "ensemble"
"""The `kind` of a detector that consists of members."""
MINIMUM = "minimum"
"""The way to `combine` members that finds anomalous only what all of them do."""
LATENT_LAYER = "latent"
"""Name of the network's layer that outputs the encoding of a window."""
MAX_SCALED_VALUE = 1e15
"""Scaled units that values are clipped to: the square of a larger one would overflow single precision."""
UNIT_WARNING_SPREADS = 5.0
"""If half the values of a sensor are further from training than this, in scaled units, its unit may have changed."""
LOG = logging.getLogger("gridcast")
"""Named explicitly: inside a logged model, __name__ is that of the package that carries this file."""


def scaled_values(preprocessing: Preprocessing, values: np.ndarray) -> np.ndarray:
    """Return `values` (steps, sensors) in scaled units, as the network reads them, float32.

    A value that log1p cannot read becomes the lowest one: NaN would leave what is least normal without a score.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = preprocessing.target_scaler.transform(values.T).T
    scaled = np.where(np.isnan(scaled) & ~np.isnan(values), -MAX_SCALED_VALUE, scaled)
    return np.clip(scaled, -MAX_SCALED_VALUE, MAX_SCALED_VALUE).astype(np.float32)


@dataclass(frozen=True)
class Detector:
    """Everything needed to say which steps of a table are anomalous, and due to which sensors.

    `kind` is what the network does with a window of all sensors: `reconstruction` rebuilds it from its encoding, a few
    numbers; `prediction` forecasts the step after it; `both` does both. These are scored by their errors. `encoding`
    does both too, and is scored by the encoding first. `usual` holds the statistics of normal operation: of the errors
    of each sensor over the steps of a window, then of all sensors at a step, and last of the encoding.

    A simple detector has the name of one of `simple_detectors` as its `kind`, and the arrays that were fitted in place
    of a network.

    A step is anomalous if its score exceeds the `threshold`, fitted by `rule` at `level` to the scores of training; a
    running threshold starts from the score history `seen` there. With a `promise`, the false alarms per step, the
    threshold is the one that keeps it. An event has at least `least` anomalous steps, with at most `gap` others between
    them.

    An `ensemble` has no network. Its `members` watch the same sensors, each with its own lookback; their scores, in
    units of their thresholds, are combined by their geometric `mean` or their `minimum`. With the minimum the
    threshold is 1: a score above it exceeds the threshold of every member.

    Scores in hindsight are means over all windows that contain a step, and `threshold` belongs to them. A follower of a
    stream has only the windows that are complete when it scores a step; `online` holds the thresholds of such scores,
    by the steps that it waits. Models made before there were such thresholds have none, and their `threshold` is used.

    `usual`, `seen`, `least` and `gap` are named as in forecaster.json: newer code reads them off older models.
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
    online: tuple[OnlineThreshold, ...] = ()
    promise: float | None = None

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of the sensors, which are columns of a table."""
        return self.preprocessing.series

    @property
    def time(self) -> str:
        """Name of the column of time stamps."""
        return self.preprocessing.time

    @property
    def frequency(self) -> str:
        """Pandas alias of the time between steps."""
        return self.preprocessing.frequency

    @property
    def lookback(self) -> int:
        """Steps of a window."""
        return self.preprocessing.lookback

    @property
    def ahead(self) -> int:
        """Steps after a window for which the network has an output: 1 if it predicts, else 0."""
        has_none = self.is_simple or self.kind == "reconstruction"
        return max((member.ahead for member in self.members), default=int(not has_none))

    @property
    def is_simple(self) -> bool:
        """Whether it is one of `simple_detectors`."""
        return self.kind in SIMPLE_DETECTORS

    @property
    def fills_gaps(self) -> bool:
        """Whether a score may rest on values that stand for missing ones, up to two windows before a step."""
        return self.is_simple or any(member.fills_gaps for member in self.members)

    @property
    def wait(self) -> int:
        """Steps that a follower of a stream waits before it scores a step, unless it is asked for another wait."""
        return min(online.default_wait(self.kind, self.lookback), self.settling)

    @property
    def settling(self) -> int:
        """Steps after which the score of a step is final: no later window contains it."""
        if self.members:
            return max(member.settling for member in self.members)
        if self.is_simple:
            return simple_detectors.settling_steps(self.kind, self.lookback)
        return 0 if self.kind == "prediction" else self.lookback + self.ahead - 1

    @property
    def min_table_steps(self) -> int:
        """Steps of the shortest table of which a step can be scored."""
        return simple_detectors.min_steps(self.kind, self.lookback) if self.is_simple else self.lookback + self.ahead

    @property
    def offsets(self) -> range:
        """Positions of the steps for which the network has an output, relative to the end of the window."""
        return range(-self.lookback if self.kind != "prediction" else 0, self.ahead)

    def window_ends(self, values: np.ndarray) -> np.ndarray:
        """Return the ends (n,) of all windows of `values` (steps, sensors) without NaN in them or ahead of them."""
        is_complete = np.isfinite(values).all(axis=1, keepdims=True).T
        shape = windows.WindowShape(self.lookback, self.ahead)
        return windows.origins(is_complete, shape, (0, len(values)))[:, 1]

    def errors(self, values: np.ndarray, ends: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield, batch by batch, a part (n,) of `ends`, the network's errors and its encodings of these windows.

        `values` (steps, sensors) are in scaled units; errors (n, offsets, sensors) are too, or in units of the window,
        see `windows.window_units`; encodings are (n, latent).
        """
        network, preprocessing = with_latent_output(self.network), self.preprocessing
        for start in range(0, len(ends), WINDOWS_PER_BATCH):
            part = ends[start : start + WINDOWS_PER_BATCH]
            padded = np.resize(part, WINDOWS_PER_BATCH)  # repeats windows: see WINDOWS_PER_BATCH
            history = values[padded[:, None] + np.arange(-self.lookback, 0)]
            centre, unit = windows.window_units(
                history, centred=preprocessing.centred, spreads=preprocessing.window_spreads
            )
            output, encoding = network.predict_on_batch({"history": (history - centre) / unit})
            actual = (values[padded[:, None] + np.array(self.offsets)] - centre) / unit
            yield part, (np.asarray(output) - actual)[: len(part)], np.asarray(encoding)[: len(part)]

    def contributions(self, values: np.ndarray) -> np.ndarray:
        """Return the contribution of each sensor to the score of each step (steps, sensors); the score is their mean.

        `values` (steps, sensors) are in scaled units, NaN where nothing was observed; no window touches such a step.

        The errors of a window are whitened, those of each sensor over the steps, then those of each step over the
        sensors. A sensor contributes the mean of its squared whitened errors d, which is 1 in normal operation. So the
        score is the squared Mahalanobis distance of the window's errors, in units of the usual one. A step gets the
        mean over all windows with an output for it; if these are reconstructed, its score is final `lookback` steps
        later. NaN where there is no such window.

        The score of an `encoding` is the squared Mahalanobis distance of the encoding, in the same units, plus the mean
        of log(1 + d) over the sensors. Here errors are whitened over the steps alone, as the correlation of sensors
        shows in the encoding. Encodings hardly grow with the values, and log(1 + d) is, up to a factor, the negative
        log-likelihood of a t distribution with as many degrees of freedom as dimensions. So a sensor that slowly drifts
        out of the range of a short training, where networks err hundreds of times more than usual, does not mask all
        others. The distance of the encoding belongs to no sensor: it is shared in proportion to the other term.

        An ensemble's score is the geometric mean of its members' scores, each in units of its threshold: scores span
        orders of magnitude, and a member that errs thousands of times more than usual must not dominate. Or it is
        their minimum: what one member finds normal is not anomalous. A sensor contributes in proportion to the mean of
        its shares in the members' scores. NaN where one of them has no score.

        Sources: Malhotra, Ramakrishnan, Anand, Vig, Agarwal, Shroff (2016), "LSTM-based Encoder-Decoder for
        Multi-sensor Anomaly Detection", for the distance of errors, with one covariance over steps and one over
        sensors in place of a joint one; Denouden, Salay, Czarnecki, Abdelzad, Phan, Vernekar (2018), "Improving
        Reconstruction Autoencoder Out-of-distribution Detection with Mahalanobis Distance", for adding the encoding.
        """
        return self.contributions_after(values, (None,))[0]

    def contributions_after(self, values: np.ndarray, waits: Sequence[int | None]) -> list[np.ndarray]:
        """Return, for each of `waits`, the contributions that a follower has who waits that many steps.

        They are those of `contributions`, over the windows that are complete at `known_at`; None stands for hindsight.
        """
        return self._contributions(values, [(wait, self.known_at(values, wait)) for wait in waits])

    def known_at(self, values: np.ndarray, wait: int | None) -> np.ndarray:
        """Return the step (steps,) at which the score of each step is known to a follower who waits `wait` steps.

        None stands for hindsight, where everything is known at the end of `values` (steps, sensors).
        """
        if wait is None:
            return np.full(len(values), len(values))
        if self.members:
            return np.max([member.known_at(values, wait) for member in self.members], axis=0)
        if self.is_simple:
            return simple_detectors.known_steps(self.kind, values, self.lookback, wait)
        return online.known_steps(len(values), self.window_ends(values), self.offsets, self.ahead, wait)

    def _contributions(self, values: np.ndarray, views: Sequence[tuple[int | None, np.ndarray]]) -> list[np.ndarray]:
        """Contributions (steps, sensors) for each view: how long a follower waits, and when it knows each score."""
        if self.members:
            each = [member._contributions(values, views) for member in self.members]
            return [self._combined([member[k] for member in each], wait) for k, (wait, _) in enumerate(views)]
        if self.is_simple:
            waits = [wait for wait, _ in views]
            return simple_detectors.contributions_after(self.kind, self.network, values, self.lookback, waits)
        *by_sensor, over_sensors, of_encoding = self.usual
        every_end, parts = self.window_ends(values), [np.zeros((0, values.shape[1]))]
        for _, errors, encoding in self.errors(values, every_end):
            whitened = whiten_by_sensor(by_sensor, errors)
            if self.kind == "encoding":
                share = np.log1p(np.mean(np.square(whitened), axis=1))
                distance = np.mean(np.square(of_encoding.whiten(encoding)), axis=1)
                share *= 1 + (distance / np.maximum(share.mean(axis=1), MIN_VARIANCE))[:, None]
            else:
                share = np.mean(np.square(over_sensors.whiten(whitened)), axis=1)
            parts.append(share)
        shares = np.concatenate(parts)
        return [
            online.mean_over_windows(shares, every_end, self.offsets, self.ahead, known_at) for _, known_at in views
        ]

    def _combined(self, contributions: Sequence[np.ndarray], wait: int | None) -> np.ndarray:
        """Combine the contributions of the members, each (steps, sensors), which are known after `wait` steps."""
        thresholds = [member.threshold_after(wait).threshold for member in self.members]
        return combined_scores.combine(contributions, thresholds, minimum=self.combine == MINIMUM)

    def threshold_after(self, wait: int | None = None) -> OnlineThreshold:
        """Return the threshold of scores that are known after `wait` steps; None stands for scores in hindsight."""
        final = OnlineThreshold(self.settling, self.threshold, self.seen)
        if wait is None or wait >= self.settling:
            return final
        return online.threshold_after(self.online, wait) or final

    def limits(self, score: np.ndarray, wait: int | None = None) -> np.ndarray:
        """Return the threshold of each step (steps,) with this `score` (steps,), the first one right after training.

        The score is the one known after `wait` steps; None stands for hindsight.
        """
        first = self.threshold_after(wait)
        return running_threshold.thresholds(score, first.threshold, self.level, first.seen)

    def predict(self, table: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return a row for each step of `table`, missing ones included: time, score, threshold, anomaly, sensors.

        `anomaly` is whether the score exceeds the threshold. The column of a sensor holds its contribution to the
        score, which is their mean. A running threshold starts with the table, right after the scores of training.
        Steps are scored where windows of `lookback` steps have a value of every sensor; elsewhere score and
        contributions are NaN, so that no event extends over unobserved steps. Simple detectors score the sensors that
        have a value at a step, see `simple_detectors`.

        A change of a sensor that was constant in training is measured in thousandths of its unit, or in the network's
        error there if that is larger. Values are taken as they are: if the unit of a sensor changed, every step is
        anomalous, and a warning names the sensor. Columns that were not in training are ignored: what is normal there
        is not known.

        Scores are those in hindsight. With `wait` in `params` they are those of a follower of a stream who waits that
        many steps, however many later steps the table has.

        Raises DataError for a table without one of the sensors, with a value that is not a number, with a stamp that
        occurs twice or is off the axis, or with fewer steps than a window.
        """
        times, values = self.read_table(table)
        scaled = scaled_values(self.preprocessing, values)
        self._warn_of_units(scaled)
        wait = (params or {}).get("wait")
        (contributions,) = self.contributions_after(scaled, (wait,))
        score = events.anomaly_score(contributions)
        thresholds = self.limits(score, wait)
        columns = {self.time: times, SCORE: score, THRESHOLD: thresholds, ANOMALY: score > thresholds}
        return pd.DataFrame(columns | {name: contributions[:, k] for k, name in enumerate(self.sensors)})

    def read_table(self, table: pd.DataFrame) -> tuple[pd.DatetimeIndex, np.ndarray]:
        """Return the steps of `table` and the values (steps, sensors) in data units, NaN where one is missing.

        Raises DataError, see `predict`.
        """
        needed = (self.time, *self.sensors)
        for column in needed:
            if column not in table.columns:
                near = suggest(column, (str(name) for name in table.columns if name not in needed))
                raise DataError(f"no column '{column}'{near} (needed: {', '.join(needed)})")
        table = table.reset_index(drop=True)
        stamps = pd.DatetimeIndex(table_columns.parse_stamps(table, self.preprocessing))
        if self.preprocessing.repeated != "error" and stamps.has_duplicates:
            is_kept = ~stamps.duplicated(keep="last" if self.preprocessing.repeated == "last" else "first")
            table, stamps = table[is_kept].reset_index(drop=True), stamps[is_kept]
        if stamps.has_duplicates:
            row = int(np.flatnonzero(stamps.duplicated())[0])
            raise DataError(f"row {row}: {stamps[row]} occurs twice")
        times = stamps.sort_values()
        if self.preprocessing.calendar == "regular" and len(times):
            times = time_axis.regular_steps(times, self.preprocessing.steps)
            if len(off := stamps[~stamps.isin(times)]):
                raise DataError(input_table.off_axis_text(off[0], self.preprocessing))
        if len(times) < self.min_table_steps:
            raise DataError(f"the table has {len(times)} steps; the model reads {self.min_table_steps}")
        values = np.full((len(times), len(self.sensors)), np.nan)
        position = times.get_indexer(stamps)
        readings = table_columns.parse_numbers(table, self.sensors, self.preprocessing.dialect)
        for k, name in enumerate(self.sensors):
            values[position, k] = readings[name]
            infinite = np.flatnonzero(np.isinf(values[:, k]))
            if len(infinite):
                raise DataError(f"column '{name}': infinite value at {times[infinite[0]]}")
        return times, values

    def _warn_of_units(self, scaled: np.ndarray) -> None:
        for k, name in enumerate(self.sensors):
            distance = np.abs(scaled[np.isfinite(scaled[:, k]), k])
            if len(distance) and np.median(distance) > UNIT_WARNING_SPREADS:
                LOG.warning(
                    "sensor '%s': half of its values lie more than %g times its spread in training away from there; "
                    "if its unit changed, convert the values to the former one, or train again",
                    name,
                    float(np.median(distance)),
                )

    def to_json(self) -> dict[str, Any]:
        """Everything but the network, which has a file of its own: plain lists, numbers and strings."""
        names = ("kind", "threshold", "rule", "level", "least", "gap", "combine")
        usual = [[statistics.mean.tolist(), statistics.whitening.tolist()] for statistics in self.usual]
        settings = {name: getattr(self, name) for name in names} | {"usual": usual}
        settings |= {} if self.seen is None else {"seen": asdict(self.seen)}
        settings |= {"online": online.to_json(self.online)} if self.online else {}
        settings |= {} if self.promise is None else {"promise": self.promise}
        return {**self.preprocessing.to_json(), DETECTOR_KEY: settings}


def from_json(content: dict[str, Any], network: Any = None) -> Detector:
    """Return the detector that `Detector.to_json` gave, with its `network` if it has one of its own."""
    settings = content[DETECTOR_KEY]
    usual = tuple(NormalStatistics(np.array(mean), np.array(whitening)) for mean, whitening in settings["usual"])
    seen = {"seen": running_threshold.ScoreHistory(**settings["seen"])} if "seen" in settings else {}
    read = {"usual": usual, "online": online.from_json(settings.get("online", ()))} | seen
    return Detector(Preprocessing.from_json(content), network, **settings | read)


def with_latent_output(network: Any) -> Any:
    """Return `network` with the encoding as a second output: the same object each time, as it is compiled once.

    A network that has been compiled without Keras, for serving, has that output already.
    """
    if not hasattr(network, "get_layer"):
        return network
    import keras

    if network not in _WITH_LATENT:
        outputs = [network.output, network.get_layer(LATENT_LAYER).output]
        _WITH_LATENT[network] = keras.Model({"history": network.input["history"]}, outputs)
    return _WITH_LATENT[network]


_WITH_LATENT: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
