"""A summary of the training span that a detector carries, to be shown beside what it is used on."""

from __future__ import annotations

from typing import Any

import numpy as np

from gridcast.data.dataset import Dataset
from gridcast.runtime.detector import Detector
from gridcast.runtime.model_files import TRAINING_SERIES

MAX_BLOCKS, MAX_RECENT = 240, 240
"""Blocks of the training span whose extremes are kept, and its last steps that are kept one by one."""
MAX_NUMBERS = 12_000
"""Numbers of the summary: of many sensors, fewer blocks and steps are kept."""
DIGITS = 5
"""Significant digits of a number, which is looked at."""


def detector_content(detector: Detector, dataset: Dataset) -> dict[str, Any]:
    """Return the settings file of a detector that was fitted to `dataset`, with the summary of its training span."""
    return {**detector.to_json(), TRAINING_SERIES: training_series(dataset)}


def training_series(dataset: Dataset) -> dict[str, Any]:
    """Return the summary as plain values: by sensor, the extremes of blocks of steps, and the last steps."""
    end, names = dataset.training_end, dataset.preprocessing.series
    values, times = dataset.target[:, :end], dataset.times[:end]
    room = MAX_NUMBERS // (3 * len(names))
    blocks, recent = min(MAX_BLOCKS, room, end), min(MAX_RECENT, room, end)
    borders = np.linspace(0, end, blocks + 1).astype(int)
    is_known = np.isfinite(values)
    low = np.minimum.reduceat(np.where(is_known, values, np.inf), borders[:-1], axis=1)
    high = np.maximum.reduceat(np.where(is_known, values, -np.inf), borders[:-1], axis=1)
    return {
        "times": [f"{times[at]}" for at in borders[:-1]],
        "end": f"{times[-1]}",
        "low": _by_sensor(names, low),
        "high": _by_sensor(names, high),
        "recent_times": [f"{time}" for time in times[end - recent :]],
        "recent": _by_sensor(names, values[:, end - recent :]),
    }


def _by_sensor(names: tuple[str, ...], values: np.ndarray) -> dict[str, list[float | None]]:
    """The rounded values of each sensor, None where there is none."""
    return {
        name: [float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None for value in row]
        for name, row in zip(names, values.tolist(), strict=True)
    }
