"""A detector that follows a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from gridcast.runtime.errors import ConfigError


class FollowedDetector(Protocol):
    """What a stream needs of a detector, see `detector.Detector`."""

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
        """Of each step that can be scored: time, score, threshold, anomaly, and the contribution of each sensor."""


@dataclass(frozen=True)
class FollowedModel:
    """A detector, and what it is called in the registry.

    A verdict waits for `wait` steps more, or until a look brings nothing: a step that a detector rebuilds from windows
    is judged the better the more of them cover it, and the newest one lies in one window alone.
    """

    name: str
    version: str
    detector: FollowedDetector
    wait: int = 0


def step_length(frequency: str) -> pd.Timedelta:
    """The length of a step. Raises ConfigError where steps have different lengths."""
    try:
        return pd.Timedelta(frequency if frequency[:1].isdigit() else f"1{frequency}")
    except ValueError:
        raise ConfigError(
            f"the model's frequency '{frequency}' cannot be followed; train one on steps of one length, such as min"
        ) from None


def iso_stamp(time: pd.Timestamp) -> str:
    return time.isoformat(timespec="seconds")


def utc_now() -> pd.Timestamp:
    return pd.Timestamp.now("UTC").tz_localize(None)
