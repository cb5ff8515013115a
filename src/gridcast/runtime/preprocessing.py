"""From data units to the network's channels and back, the same in training and in use.

Everything here was fixed on the training span and travels with the model as JSON.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from .calendar_features import MarkedDays, calendar_channel_names, calendar_channels, is_column
from .scaling import Scaler

ZERO_RUNS_COLUMN = "exhibition"
"""Name of the channel that tells of a stretch without exhibition."""


@dataclass(frozen=True)
class Preprocessing:
    """What a table means and how its numbers are scaled.

    `scalers` holds one Scaler for each past and future column, in that order; `static` the
    category codes of each series (series, columns); `fallback` the value (series, columns) that
    stands for a past or future column before its first observation, in data units. `closed` are
    the dates of the data on which an observed calendar has no step though its weekday has as a
    rule; None where a table alone shows which steps there are. `dated` are the days of holidays and
    events, `span` the first and the last stamp of the training span. `usual` is the longest run of
    zeros (series,) that is the habit of a series where the network is told of longer ones, else empty.
    `categories` names the static columns, each with its vocabulary; code k means word k - 1 of it. A
    probabilistic network also reads its target `lags` steps ago and, where not all series begin
    together, the age of each: the steps since its first value, at `begins`, one every `seconds`;
    `typical` is the geometric mean of the scales of all series. `centred` says that a network reads each
    window around its mean, `spreads` (series,) in which units, see `windows.units`.
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
    closed: tuple[str, ...] | None = None
    dated: tuple[MarkedDays, ...] = ()
    span: tuple[str, str] | None = None
    aggregate: str = "none"
    usual: tuple[int, ...] = ()
    categories: tuple[tuple[str, tuple[str, ...]], ...] = ()
    lags: tuple[int, ...] = ()
    begins: tuple[str, ...] = ()
    seconds: float = 0.0
    typical: float = 1.0
    centred: bool = False
    spreads: tuple[float, ...] = ()

    @cached_property
    def codes(self) -> dict[str, int]:
        """The place of each series."""
        return {name: code for code, name in enumerate(self.series)}

    @cached_property
    def future_columns(self) -> tuple[str, ...]:
        """Future covariates that the table must bring, the others follow from the time stamp."""
        return tuple(filter(is_column, self.future))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Past columns, EXHIBITION where the network is told of it, and future columns."""
        return (*self.past, *((ZERO_RUNS_COLUMN,) if self.usual else ()), *self.future_columns)

    @property
    def covariates(self) -> tuple[str, ...]:
        """What each of the `channels` is made of; the names of cycles stand there twice."""
        return (self.target, *self.columns, *calendar_channel_names(self.future, self.dated))

    def channels(
        self,
        target: np.ndarray,
        columns: np.ndarray,
        times: pd.DatetimeIndex | np.ndarray,
        series: Any = slice(None),
    ) -> np.ndarray:
        """Network channels (n, steps, channels), float32: target, past, future columns, calendar, age.

        `target` (n, steps) and `columns` (n, steps, past + future columns) are in data units; row
        i belongs to `series[i]`. Raises DataError for steps beyond what is known of holidays.
        """
        stamps, given = (
            calendar_channels(times, self.future, self.frequency, self.dated, self.span),
            1 + len(self.scalers),
        )
        known = given + stamps.shape[1]
        channels = np.empty((*target.shape, known + self.aged), np.float32)
        channels[:, :, 0] = self.target_scaler.transform(target, series)
        for k, scaler in enumerate(self.scalers):
            channels[:, :, 1 + k] = scaler.transform(columns[:, :, k], series)
        channels[:, :, given:known] = stamps
        if self.aged:
            channels[:, :, known] = self.ages(times, series)
        return channels

    def ages(self, times: pd.DatetimeIndex | np.ndarray, series: Any = slice(None)) -> np.ndarray:
        """Logarithm of the age of each series (n, steps), in steps; a series is new before it begins."""
        begins = pd.DatetimeIndex(self.begins).to_numpy("datetime64[s]")[series]
        seconds = (np.asarray(times, "datetime64[s]") - begins[:, None]).astype(float)
        return np.log10(2 + np.maximum(seconds / self.seconds, 0))

    @property
    def sizes(self) -> np.ndarray:
        """Scale of the target of each series (series,) in units of the typical one."""
        return self.target_scaler.scale / self.typical

    @cached_property
    def aged(self) -> bool:
        """Whether series differ in age: else it would number the years, and tell of no series."""
        return len(set(self.begins)) > 1

    @cached_property
    def width(self) -> int:
        """How many channels there are."""
        return 1 + len(self.scalers) + len(calendar_channel_names(self.future, self.dated)) + self.aged

    @cached_property
    def known_ahead(self) -> int:
        """Position of the first channel that is known ahead; those before it end at the origin."""
        return 1 + len(self.past) + bool(self.usual)

    def alone(self, series: str) -> Preprocessing:
        """What a model of one `series` needs; its category codes, one and the same at every step, are left out."""
        row = self.series.index(series)
        return replace(
            self,
            series=(series,),
            target_scaler=self.target_scaler.take(row),
            scalers=tuple(scaler.take(row) for scaler in self.scalers),
            static=((),),
            fallback=self.fallback[row : row + 1],
            usual=self.usual[row : row + 1],
            categories=(),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and strings."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Preprocessing:
        """The reverse of `to_json`; what else `content` holds is passed over."""
        names = {field.name for field in fields(cls)}
        found = {key: _frozen(value) for key, value in content.items() if key in names}
        found["target_scaler"] = _scaler(content["target_scaler"])
        found["scalers"] = tuple(map(_scaler, content["scalers"]))
        found["dated"] = tuple(
            MarkedDays(**{key: _frozen(value) for key, value in one.items()}) for one in content.get("dated", ())
        )
        return cls(**found)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _scaler(content: dict[str, Any]) -> Scaler:
    return Scaler(np.array(content["offset"]), np.array(content["scale"]), content["log1p"])
