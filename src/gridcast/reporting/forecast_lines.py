"""The winner's forecasts of the test span as data of the page's own chart, whose values can be read by pointing."""

from __future__ import annotations

from typing import Any

import pandas as pd

MAX_SERIES, MAX_POINTS = 12, 400
"""Series, from the best to the worst, and points of each, the last ones."""
MIN_POINTS = 3
"""With fewer forecasts of the next step the last window is shown, step after step."""


def forecast_lines(test: pd.DataFrame, by_series: pd.DataFrame) -> list[dict[str, Any]]:
    """Return `name`, `times`, `actual`, `forecast` and `about` of some series; `test` is the winner's table."""
    ranked = by_series.sort_values("mase")["series"].tolist() if len(by_series) else []
    places = range(len(ranked))
    if len(ranked) > MAX_SERIES:  # evenly spaced, the best and the worst among them
        places = [round(k * (len(ranked) - 1) / (MAX_SERIES - 1)) for k in range(MAX_SERIES)]  # type: ignore[assignment]
    tables = dict(list(test.groupby("series", sort=False)))
    return [_line(str(ranked[place]), tables[ranked[place]]) for place in places]


def _line(name: str, rows: pd.DataFrame) -> dict[str, Any]:
    shown, about = rows[rows["step"] == 1], "the forecast of the next step, made at each step"
    if len(shown) < MIN_POINTS:
        # Of each time the forecast from the latest origin: all steps of the last window.
        shown = rows.sort_values(["time", "step"]).drop_duplicates("time")
        about = "of each step the latest forecast"
    shown = shown.sort_values("time").tail(MAX_POINTS)
    has_hours = (shown["time"].dt.normalize() != shown["time"]).any()
    return {
        "name": name,
        "about": about,
        "times": shown["time"].dt.strftime("%Y-%m-%d %H:%M" if has_hours else "%Y-%m-%d").tolist(),
        "actual": [_number(value) for value in shown["actual"]],
        "forecast": [_number(value) for value in shown["forecast"]],
    }


def _number(value: float) -> float | None:
    """A value with five digits, None where there is none: JSON has no NaN."""
    return float(f"{value:.5g}") if pd.notna(value) else None
