"""The model that follows a stream, and the length of its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from gridcast.runtime.errors import ConfigError


class FollowedDetector(Protocol):
    """The part of `runtime.detector.Detector` that a stream uses."""

    @property
    def sensors(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def time(self) -> str: ...  # noqa: D102
    @property
    def frequency(self) -> str: ...  # noqa: D102
    @property
    def lookback(self) -> int: ...  # noqa: D102
    @property
    def least(self) -> int: ...  # noqa: D102
    @property
    def gap(self) -> int: ...  # noqa: D102

    def predict(self, table: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return for each step that can be scored: time, score, threshold, anomaly, contribution of each sensor."""


@dataclass(frozen=True)
class FollowedModel:
    """A detector with its name and version in the registry.

    A step is scored when `wait` more steps have arrived, or when a poll finds nothing new: a reconstruction is more
    reliable the more windows cover the step, and only one window covers the newest step.
    """

    name: str
    version: str
    detector: FollowedDetector
    wait: int = 0


def step_length(frequency: str) -> pd.Timedelta:
    """Return the length of a step. Raises ConfigError where steps differ in length."""
    try:
        return pd.Timedelta(frequency if frequency[:1].isdigit() else f"1{frequency}")
    except ValueError:
        raise ConfigError(
            f"the model's frequency '{frequency}' cannot be followed; train one on steps of equal length, such as min"
        ) from None


def with_zone(table: pd.DataFrame, detector: FollowedDetector) -> pd.DataFrame:
    """Return `table` of a stream, whose stamps are in UTC, with their zone if the detector counts in local time else.

    A detector whose code knows no time zones counts in UTC.
    """
    if not getattr(getattr(detector, "preprocessing", None), "has_zoned_axis", False):
        return table
    return table.assign(**{detector.time: table[detector.time].dt.tz_localize("UTC")})


def iso_stamp(time: pd.Timestamp) -> str:
    """Return `time` in ISO format, to the second."""
    return time.isoformat(timespec="seconds")


def utc_now() -> pd.Timestamp:
    """Return the current time in UTC, without a time zone."""
    return pd.Timestamp.now("UTC").tz_localize(None)
