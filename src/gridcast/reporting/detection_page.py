"""The page of a detector in use: what it found in a table, beside the data that it was trained on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gridcast.reporting import anomaly_plots, html, plot_style
from gridcast.reporting.plot_style import BLUE, GREY
from gridcast.runtime.detector import ANOMALY, SCORE, THRESHOLD

MAX_EVENTS_LISTED, MAX_SENSORS_DRAWN = 100, 4
MANY_FLAGGED = 0.1
"""Share of flagged steps above which the page asks whether this is still the operation that was trained on."""
FAR_OUT = 0.05
"""Share of the values of a sensor outside the range of training from which the sensor is named."""


@dataclass(frozen=True)
class DetectionPage:
    """The content of a page.

    `title` names the model, `command` computes a new threshold, `kind` is that of the detector. `table` has a row for
    each step: time, score, threshold, anomaly, and the contribution of each of the `sensors`; `sensor_values` has the
    time and the sensors in data units. `alarms` are the events: start, end, duration, steps, peak, peak_time, severity,
    blame. `training` is the summary that the model carries, empty where it carries none. `state` are sentences on a
    follower.
    """

    title: str
    command: str
    kind: str
    sensors: tuple[str, ...]
    table: pd.DataFrame
    sensor_values: pd.DataFrame
    alarms: pd.DataFrame
    training: Mapping[str, Any] = field(default_factory=dict)
    state: Sequence[str] = ()

    @property
    def worst(self) -> dict[str, Any]:
        """The most severe event."""
        row = int(np.argmax(self.alarms["severity"]))
        return {str(name): self.alarms[name].iloc[row] for name in self.alarms}

    @property
    def headline(self) -> str:
        """The result in a sentence."""
        count, steps = len(self.alarms), len(self.table)
        if not np.isfinite(self.table[SCORE].to_numpy(float)).any():
            return f"None of {steps:,} steps could be scored."
        if not count:
            return f"No event in {steps:,} steps."
        worst = self.worst
        events = "1 event" if count == 1 else f"{count:,} events"
        return (
            f"{events} in {steps:,} steps; the most severe, from {_stamp(worst['start'])} on, reached "
            f"{worst['severity']:.3g} times the threshold."
        )

    @property
    def advice(self) -> list[str]:
        """Sentences on what to look at, made from these figures alone."""
        score = self.table[SCORE].to_numpy(float)
        scored = np.isfinite(score)
        if not scored.any():
            return ["Give the detector as many steps in a row as it reads at once, with a value of every sensor."]
        sentences = []
        if len(self.alarms):
            worst = self.worst
            sentences.append(f"Look first at {_stamp(worst['peak_time'])}: {worst['blame']}.")
        else:
            at = int(np.nanargmax(score))
            threshold, when = float(self.table[THRESHOLD].iloc[at]), _stamp(self.table.iloc[at, 0])
            sentences.append(
                f"The highest score is {score[at]:.3g}, at {when}; the threshold there is {threshold:.3g}."
            )
        share = float(self.table[ANOMALY].to_numpy(bool)[scored].mean())
        if share > MANY_FLAGGED:
            remedy = f" If it runs well, compute a new threshold: {self.command}." if self.command else ""
            sentences.append(
                f"{100 * share:.0f} % of the scored steps exceed the threshold: these are faults, or the plant "
                f"runs in a way that was not in training.{remedy}"
            )
        sentences += [
            f"{name}: {100 * outside:.0f} % of its values lie outside the range of training."
            for name, outside in _outside_training(self.sensor_values, self.training).items()
        ]
        return sentences


def render_page(page: DetectionPage) -> str:
    """Return the page as self-contained HTML."""
    listed = page.alarms.astype({"severity": float}).nlargest(MAX_EVENTS_LISTED, "severity").sort_values("start")
    return (
        html.template_environment()
        .get_template("detection.html")
        .render(
            page=page,
            events=listed.to_dict("records"),
            figures={name: html.inline_svg(name, html.to_svg(figure)) for name, figure in draw_figures(page).items()},
            first=page.table.iloc[0, 0],
            last=page.table.iloc[-1, 0],
            unscored=int(page.table[SCORE].isna().sum()),
            threshold=_threshold_text(page.table[THRESHOLD].to_numpy(float)),
            written=time.strftime("%Y-%m-%d %H:%M"),
        )
    )


def draw_figures(page: DetectionPage) -> dict[str, Figure]:
    """Return the figures by name: scores, contributions of several sensors, training where the model has it."""
    figures = {}
    with plot_style.plot_style():
        if page.table[SCORE].notna().any():
            figures["scores"] = anomaly_plots.draw_scores(page)
            if len(page.sensors) > 1:
                figures["contributions"] = anomaly_plots.draw_contributions(page)
        if page.training:
            figures["training"] = _draw_training(page)
    return figures


def _draw_training(page: DetectionPage) -> Figure:
    """Draw, for the sensors most to blame, the extremes of the training span, and its last steps enlarged."""
    blame = page.table[list(page.sensors)].sum()
    names = list(blame.sort_values(ascending=False, kind="stable").index[:MAX_SENSORS_DRAWN])
    figure = plot_style.figure_of(13.5, 1.0 + 1.6 * len(names))
    panels = figure.subplots(len(names), 2, squeeze=False, width_ratios=[2, 1], sharex="col")
    times = pd.DatetimeIndex([*page.training["times"], page.training["end"]])
    recent_times = pd.DatetimeIndex(page.training["recent_times"])
    for (overview, recent), name in zip(panels, names, strict=True):
        low, high, last = (_numbers(page.training[part][name]) for part in ("low", "high", "recent"))
        _draw_extremes(overview, times, low, high)
        recent.plot(recent_times, last, color=BLUE, linewidth=1)
        overview.set_ylabel(plot_style.shorten(name, 16))
        overview.axvspan(recent_times[0], times[-1], color=GREY, alpha=0.2, linewidth=0)
        for ax in (overview, recent):
            ax.margins(x=0)
            ax.tick_params(axis="x", labelrotation=20)
    panels[0, 0].set_title("Training span, lowest and highest value of each block")
    panels[0, 1].set_title("Its last steps")
    return figure


def _draw_extremes(ax: Axes, times: pd.DatetimeIndex, low: np.ndarray, high: np.ndarray) -> None:
    """Draw, as a band with its edges, the lowest and highest value of each block: a line where a block is a step."""
    middles = times[:-1] + (times[1:] - times[:-1]) / 2
    ax.fill_between(middles, low, high, color=BLUE, alpha=0.5, linewidth=0)
    ax.plot(middles, low, color=BLUE, linewidth=0.8)
    ax.plot(middles, high, color=BLUE, linewidth=0.8)


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


def _outside_training(sensor_values: pd.DataFrame, training: Mapping[str, Any]) -> dict[str, float]:
    """The share of the values of each sensor outside the range of training, where it is not small."""
    shares = {}
    for name in training.get("low", ()):
        values = sensor_values[name].to_numpy(float)
        known = values[np.isfinite(values)]
        if not len(known):
            continue
        low, high = np.nanmin(_numbers(training["low"][name])), np.nanmax(_numbers(training["high"][name]))
        margin = 1e-4 * (high - low)  # the summary is rounded
        share = float(((known < low - margin) | (known > high + margin)).mean())
        if share >= FAR_OUT:
            shares[name] = share
    return shares


def _threshold_text(thresholds: np.ndarray) -> str:
    lowest, highest = np.nanmin(thresholds), np.nanmax(thresholds)
    return f"{lowest:.4g}" if lowest == highest else f"running, {lowest:.4g} to {highest:.4g}"


def _stamp(time: Any) -> str:
    return f"{time:%Y-%m-%d %H:%M}"
