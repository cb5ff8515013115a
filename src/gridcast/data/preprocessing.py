"""From data units to the network's channels and back, the same in training and in use.

Everything here was fixed on the training span and travels with the model as JSON.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from .features import calendar, is_column
from .scaling import Scaler


@dataclass(frozen=True)
class Preprocessing:
    """What a table means and how its numbers are scaled.

    `scalers` holds one Scaler for each past and future column, in that order; `static` the
    category codes of each series (series, columns); `fallback` the value (series, columns) that
    stands for a past or future column before its first observation, in data units. `closed` are
    the dates of the data on which an observed calendar has no step though its weekday has as a
    rule; None where a table alone shows which steps there are.
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

    @property
    def future_columns(self) -> tuple[str, ...]:
        """Future covariates that the table must bring, the others follow from the time stamp."""
        return tuple(filter(is_column, self.future))

    def channels(
        self, target: np.ndarray, columns: np.ndarray, times: pd.DatetimeIndex, series: Any = slice(None)
    ) -> np.ndarray:
        """Network channels (n, steps, channels), float32: target, past, future columns, calendar.

        `target` (n, steps) and `columns` (n, steps, past + future columns) are in data units; row
        i belongs to `series[i]`.
        """
        stamps, given = calendar(times, self.future), 1 + len(self.scalers)
        channels = np.empty((*target.shape, given + stamps.shape[1]), np.float32)
        channels[:, :, 0] = self.target_scaler.transform(target, series)
        for k, scaler in enumerate(self.scalers):
            channels[:, :, 1 + k] = scaler.transform(columns[:, :, k], series)
        channels[:, :, given:] = stamps
        return channels

    @property
    def known_ahead(self) -> int:
        """Position of the first channel that is known ahead; those before it end at the origin."""
        return 1 + len(self.past)

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
        )

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and strings."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Preprocessing:
        """The reverse of `to_json`."""
        fields = {key: _frozen(value) for key, value in content.items()}
        fields["target_scaler"] = _scaler(content["target_scaler"])
        fields["scalers"] = tuple(map(_scaler, content["scalers"]))
        return cls(**fields)


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
