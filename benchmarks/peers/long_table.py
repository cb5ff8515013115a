"""The panel as the long tables of Nixtla's libraries: unique_id, ds (numbers of steps), y, and covariates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import panel


def history(data: panel.Panel, covariates: Mapping[str, np.ndarray], end: int) -> pd.DataFrame:
    """Return a row for each value before the step `end`; `covariates` are (n, steps + horizon) by name."""
    rows, steps = np.nonzero(np.isfinite(data.values[:, :end]))
    columns = {name: values[rows, steps] for name, values in covariates.items()}
    return pd.DataFrame({"unique_id": rows, "ds": steps, "y": data.values[rows, steps], **columns})


def ahead(data: panel.Panel, covariates: Mapping[str, np.ndarray], end: int) -> pd.DataFrame:
    """Return a row for each series and each step of the horizon from the step `end` on, without a value."""
    rows, steps = np.meshgrid(np.arange(len(data.series)), np.arange(end, end + data.horizon), indexing="ij")
    rows, steps = rows.ravel(), steps.ravel()
    columns = {name: values[rows, steps] for name, values in covariates.items()}
    return pd.DataFrame({"unique_id": rows, "ds": steps, **columns})


def known_ahead(data: panel.Panel) -> dict[str, np.ndarray]:
    """Return the covariates (n, steps + horizon) that are known ahead, by name."""
    return {name: data.known[:, :, number] for number, name in enumerate(data.known_names)}


def calendar(data: panel.Panel) -> dict[str, np.ndarray]:
    """Return the parts of the stamps (n, steps + horizon) that suit the frequency, by name."""
    times = pd.DatetimeIndex(data.times)
    parts = {
        "M": {"month": times.month},
        "W": {"month": times.month, "week": times.isocalendar().week.to_numpy()},
        "B": {"weekday": times.dayofweek, "month": times.month},
        "D": {"weekday": times.dayofweek, "month": times.month},
        "h": {"hour": times.hour, "weekday": times.dayofweek, "month": times.month},
    }[data.frequency]
    shape = len(data.series), len(times)
    return {name: np.broadcast_to(np.asarray(part, float), shape) for name, part in parts.items()}


def interval_columns(name: str) -> list[str]:
    """Return the columns of the quantiles LEVELS of the model `name`: the lower end of 40 % is the quantile 0.3."""
    ends = {level: ("lo" if level < 0.5 else "hi", round(abs(2 * level - 1) * 100)) for level in panel.LEVELS}
    return [f"{name}-{end}-{width}" if width else name for end, width in ends.values()]


def interval_widths() -> list[int]:
    """Return the central intervals in percent whose ends are the quantiles LEVELS, but for the median."""
    return sorted({round(abs(2 * level - 1) * 100) for level in panel.LEVELS} - {0})


def to_quantiles(forecasts: pd.DataFrame, columns: list[str], data: panel.Panel) -> np.ndarray:
    """Return `columns` of the forecasts as quantiles (n, horizon, levels), sorted so that none cross."""
    ordered = forecasts.sort_values(["unique_id", "ds"])[columns].to_numpy(float)
    return np.sort(ordered.reshape(len(data.series), data.horizon, len(columns)), axis=2)
