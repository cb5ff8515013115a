"""From the columns of a table, in data units, to the channels that a network reads: the same in training and in use.

Everything here was fitted on the training span and travels with the model as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from . import local_time
from .calendar_features import MarkedDays, calendar_channel_names, calendar_channels, is_column
from .dialect import Dialect
from .scaling import Scaler
from .series_ids import SEPARATOR, find_id, series_id_column, series_keys
from .step_rule import StepRule

ZERO_RUNS_COLUMN = "exhibition"
"""Name of the channel that marks unusually long runs of zeros, see `zero_runs`."""

JSON_KEYS = {
    "closed_dates": "closed",
    "marked_days": "dated",
    "training_span": "span",
    "zero_run_limits": "usual",
    "series_starts": "begins",
    "step_seconds": "seconds",
    "typical_scale": "typical",
    "window_spreads": "spreads",
}
"""Keys of forecaster.json that differ from the field they hold: they are read in every model that was ever logged."""


@dataclass(frozen=True)
class Preprocessing:
    """The meaning of a table's columns, and how its numbers are scaled.

    The table
        `time`, `target`: columns of the time stamps and of the values to forecast. `keys`: columns that name a series.
        `past`, `future`: covariates known up to the origin, and beyond it (columns, or names of calendar features).
        `series`: ids of the series of training, in the order of all arrays (series, ...). `categories`: each static
        column with its vocabulary. `aggregate`, `gaps`, `repeated`: the policies of the experiment file. `dialect`:
        how the table of training was written; `reading`: the settings of the experiment file about that. `left_out`:
        ids of series of that table that were not trained: rows of them are passed over. `too_short`: ids of series
        that were too short to train on: they are answered with that reason. `longest_runs` (sensors,): the steps for
        which each sensor of a detector showed one value in training at most.

    The time axis
        `frequency`: pandas alias of the step. `calendar`: "regular" (every step), "trading" (those at open times) or
        "observed" (those that the table has). `weekdays`: those of an observed daily axis, Monday 0.
        `closed_dates`: dates of training without a step though their weekday usually has one; None where each table
        shows its own calendar. `anchor`, `phase`, `loose`, `sessions`: see `step_rule.StepRule`. `time_zone`: see
        `local_time`. `marked_days`: dates of holidays and events. `training_span`: first and last stamp, where the
        trend is a covariate.

    Scaling
        `target_scaler`: of the target, or of each sensor. `scalers`: one for each of the past columns, the zero runs
        (if any) and the future columns, which have bounds. `fallback` (series, columns): values in data units before a
        column's first observation. `static` (series, columns): category codes; code k is word k - 1 of the vocabulary,
        0 unseen. `zero_run_limits` (series,): the longest run of zeros, in steps, that is usual; empty without that
        channel. `floor`: the lowest forecast, in data units; None without one.

    Windows
        `lookback`, `horizon`: steps read and forecast. `centred`: each window is read around its mean.
        `window_spreads` (sensors,): usual spreads of windows in scaled units, see `windows.window_units`; one for all
        series where a point forecaster reads windows in units of themselves.

    Probabilistic networks also read
        `lags`: how many steps ago, ascending. `series_starts` (series,): the stamp of each first value; the age of a
        series is counted from it in steps of `step_seconds`. `typical_scale`: the geometric mean of all target scales.
    """

    time: str
    keys: tuple[str, ...]
    target: str
    past: tuple[str, ...]
    future: tuple[str, ...]
    frequency: str
    calendar: str
    gaps: str
    weekdays: tuple[int, ...]
    series: tuple[str, ...]
    lookback: int
    horizon: int
    target_scaler: Scaler
    scalers: tuple[Scaler, ...]
    static: tuple[tuple[int, ...], ...]
    fallback: tuple[tuple[float, ...], ...]
    closed_dates: tuple[str, ...] | None = None
    marked_days: tuple[MarkedDays, ...] = ()
    training_span: tuple[str, str] | None = None
    aggregate: str = "none"
    zero_run_limits: tuple[int, ...] = ()
    categories: tuple[tuple[str, tuple[str, ...]], ...] = ()
    lags: tuple[int, ...] = ()
    series_starts: tuple[str, ...] = ()
    step_seconds: float = 0.0
    typical_scale: float = 1.0
    centred: bool = False
    window_spreads: tuple[float, ...] = ()
    anchor: str = ""
    phase: int = 0
    loose: bool = False
    sessions: tuple[tuple[int, int], ...] = ()
    time_zone: str = local_time.UTC
    dialect: Dialect = field(default_factory=lambda: Dialect.from_json(None))
    reading: Mapping[str, Any] = field(default_factory=dict)
    repeated: str = "error"
    left_out: tuple[str, ...] = ()
    too_short: tuple[str, ...] = ()
    longest_runs: tuple[int, ...] = ()
    floor: float | None = None

    @cached_property
    def steps(self) -> StepRule:
        """The rule that the time axis follows."""
        return StepRule(
            frequency=self.frequency,
            calendar=self.calendar,
            weekdays=self.weekdays,
            closed_dates=self.closed_dates,
            anchor=self.anchor,
            phase=self.phase,
            loose=self.loose,
            sessions=self.sessions,
            time_zone=self.time_zone if self.has_zoned_axis else local_time.OWN_OFFSETS,
        )

    def local_times(self, times: pd.DatetimeIndex | np.ndarray) -> pd.DatetimeIndex | np.ndarray:
        """Return the local times (n,) of `times` (n,) on the axis."""
        return local_time.wall_clock(pd.DatetimeIndex(times), self.time_zone) if self.has_zoned_axis else times

    def with_zone(self, times: pd.DatetimeIndex | np.ndarray) -> Any:
        """Return `times` (n,) on the axis as a table in use has them: with the time zone, where the axis is in UTC."""
        if not self.has_zoned_axis:
            return times
        return pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(self.time_zone)

    @cached_property
    def has_zoned_axis(self) -> bool:
        """Whether the axis is in UTC, and its local times are those of `time_zone`."""
        return local_time.has_zoned_axis(self.time_zone, self.frequency)

    @cached_property
    def codes(self) -> dict[str, int]:
        """Position of each series in `series`, by its id."""
        return {name: code for code, name in enumerate(self.series)}

    def code_of(self, name: str) -> int:
        """Return the position in `series` of the one with the id `name`. Raises KeyError if the model has none."""
        return self.codes[find_id(name, self.codes, len(self.keys)) or name]

    def series_column(self, table: pd.DataFrame) -> pd.Series:
        """Return the id of the series in each row of `table`, which has the key columns (rows,).

        Ids are as in `series`; those of series that are not in it are as in `series_ids.series_id`.
        """
        if not self.keys:
            return pd.Series(self.series[0], index=table.index)
        names = series_id_column([table[column] for column in self.keys])
        in_model = {name: self._known_id(name) or name for name in names.unique()}
        return names if all(name == mapped for name, mapped in in_model.items()) else names.map(in_model)

    def _known_id(self, name: str) -> str | None:
        """The id of the model's series that `name` means, None if it has none.

        Whole numbers are the same name with and without decimals: a column of them with an empty field is read as 1.0.
        """
        if name in self.codes:
            return name
        if len(self.keys) > 1:
            return find_id(name, self.codes, len(self.keys))
        other = name.removesuffix(".0") if name.endswith(".0") else f"{name}.0"
        return other if name.removesuffix(".0").isdigit() and other in self.codes else None

    def key_values(self, name: str) -> dict[str, str]:
        """Return the values of the key columns, by column, of the series with the id `name`."""
        if not self.keys:
            return {}
        try:
            values = series_keys(name, len(self.keys))
        except ValueError:
            # An id of a former version. Wherever it is cut: `series_column` joins the parts to the same id.
            values = tuple(name.split(SEPARATOR, len(self.keys) - 1))
        return dict(zip(self.keys, values, strict=True))

    @cached_property
    def future_columns(self) -> tuple[str, ...]:
        """Future covariates that the table must bring; the others follow from the time stamp."""
        return tuple(filter(is_column, self.future))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Past columns, ZERO_RUNS_COLUMN where the network reads it, and future columns."""
        return (*self.past, *((ZERO_RUNS_COLUMN,) if self.zero_run_limits else ()), *self.future_columns)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Name of the covariate behind each of the `channels`, without the age; a cycle's name stands there twice."""
        return (self.target, *self.columns, *calendar_channel_names(self.future, self.marked_days))

    def channels(
        self,
        target: np.ndarray,
        columns: np.ndarray,
        times: pd.DatetimeIndex | np.ndarray,
        series: Any = slice(None),
    ) -> np.ndarray:
        """Network channels (n, steps, channels), float32: target, past, future columns, calendar, age.

        `target` (n, steps) and `columns` (n, steps, columns) are in data units; row i belongs to `series[i]`.
        Raises DataError for steps outside the dates that the holidays are known for.
        """
        local = self.local_times(times)
        calendar = calendar_channels(local, self.future, self.frequency, self.marked_days, self.training_span)
        calendar_start = 1 + len(self.scalers)
        calendar_end = calendar_start + calendar.shape[1]
        channels = np.empty((*target.shape, calendar_end + self.has_age), np.float32)
        channels[:, :, 0] = self.target_scaler.transform(target, series)
        for k, scaler in enumerate(self.scalers):
            channels[:, :, 1 + k] = scaler.transform(columns[:, :, k], series)
        channels[:, :, calendar_start:calendar_end] = calendar
        if self.has_age:
            channels[:, :, calendar_end] = self.ages(times, series)
        return channels

    def ages(self, times: pd.DatetimeIndex | np.ndarray, series: Any = slice(None)) -> np.ndarray:
        """Logarithm (base 10) of 2 + the age of each series in steps (n, steps); the age is 0 before its start."""
        starts = pd.DatetimeIndex(self.series_starts).to_numpy("datetime64[s]")[series]
        seconds = (np.asarray(times, "datetime64[s]") - starts[:, None]).astype(float)
        return np.log10(2 + np.maximum(seconds / self.step_seconds, 0))

    def floored(self, values: np.ndarray) -> np.ndarray:
        """Return forecasts (...), in data units, with those below the floor raised to it."""
        return values if self.floor is None else np.maximum(values, self.floor)

    @property
    def relative_scales(self) -> np.ndarray:
        """Scale of the target of each series (series,) in units of the typical one."""
        return self.target_scaler.scale / self.typical_scale

    @property
    def category_codes(self) -> np.ndarray:
        """The codes (series, categories) that networks read of each series; those with lags do not embed the series."""
        static = np.array(self.static, int).reshape(len(self.series), -1)
        return static if self.lags else np.column_stack([static, np.arange(len(self.series))])

    @cached_property
    def has_age(self) -> bool:
        """Whether the age is a channel: where all series start together it would only number the steps."""
        return len(set(self.series_starts)) > 1

    @cached_property
    def channel_count(self) -> int:
        """Number of `channels`."""
        return 1 + len(self.scalers) + len(calendar_channel_names(self.future, self.marked_days)) + self.has_age

    @cached_property
    def first_known_ahead(self) -> int:
        """Position of the first channel that is known beyond the origin; the channels before it end there."""
        return 1 + len(self.past) + bool(self.zero_run_limits)

    def for_series(self, series: str) -> Preprocessing:
        """The preprocessing of a model of one `series`, without category codes: they would be constant."""
        row = self.series.index(series)
        return replace(
            self,
            series=(series,),
            target_scaler=self.target_scaler.take(row),
            scalers=tuple(scaler.take(row) for scaler in self.scalers),
            static=((),),
            fallback=self.fallback[row : row + 1],
            zero_run_limits=self.zero_run_limits[row : row + 1],
            categories=(),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, by the keys of forecaster.json."""
        content = {JSON_KEYS.get(name, name): _plain(value) for name, value in asdict(self).items()}
        return content | {
            "dated": [days.to_json() for days in self.marked_days],
            "dialect": self.dialect.to_json(),
            "reading": dict(self.reading),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Preprocessing:
        """Return the preprocessing that `to_json` gave; other keys of `content` are ignored.

        A key that is missing has its default: models from before there was such a field lack it.
        """
        keys = {one.name: JSON_KEYS.get(one.name, one.name) for one in fields(cls)}
        values = {name: _frozen(content[key]) for name, key in keys.items() if key in content}
        values["target_scaler"] = _scaler(content["target_scaler"])
        values["scalers"] = tuple(map(_scaler, content["scalers"]))
        values["dialect"] = Dialect.from_json(content.get("dialect"))
        values["marked_days"] = tuple(map(MarkedDays.from_json, content.get("dated", ())))
        return cls(**values)

    @classmethod
    def adopt(cls, carried: Any) -> Preprocessing:
        """Return the preprocessing of a loaded model as an object of this class.

        `carried` is an object of the code that its model carries, whose fields may have other names; its JSON has not.
        """
        return cls.from_json(carried.to_json())


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _scaler(content: dict[str, Any]) -> Scaler:
    bounds = [None if content.get(name) is None else np.array(content[name]) for name in ("low", "high")]
    return Scaler(np.array(content["offset"]), np.array(content["scale"]), content["log1p"], *bounds)
