"""Figures of the report's chapter on anomalies: scores, contributions of sensors, comparison of detectors."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from gridcast.evaluation.detection_table import LABELLED, METRIC_TITLES
from gridcast.models.baselines.detectors import DETECTOR_BASELINES
from gridcast.reporting import plot_style
from gridcast.reporting.anomaly_chapter import AnomalyChapter
from gridcast.reporting.plot_style import BLUE, GREY, INK, ORANGE, RED
from gridcast.runtime import events
from gridcast.runtime.detector import ANOMALY, ENSEMBLE, SCORE, THRESHOLD

ANOMALY_TITLES = {
    "scores": "Anomaly score and threshold",
    "contributions": "Which sensors were to blame",
    "detectors": "The winner and the baselines",
}
MAX_LINE_POINTS = 1500
"""Points of a line: of more steps, the extremes of as many blocks are drawn."""
MAX_SENSORS_DRAWN, MAX_CONTRIBUTION_ROWS = 4, 40


class ScoredSpan(Protocol):
    """The part of an `AnomalyChapter` that `draw_scores` and `draw_contributions` read."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def sensors(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def table(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def sensor_values(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def alarms(self) -> pd.DataFrame: ...  # noqa: D102


def draw_figures(chapter: AnomalyChapter) -> dict[str, Figure]:
    """Return the figures of the chapter by name, without those that have no data."""
    figures = {"scores": draw_scores(chapter)}
    if len(chapter.sensors) > 1:
        figures["contributions"] = draw_contributions(chapter)
    if "auc_pr" in chapter.measures:
        figures["detectors"] = _draw_detectors(chapter)
    return figures


def draw_scores(chapter: ScoredSpan) -> Figure:
    """Draw the score with its threshold above the sensors most to blame; events and labels are shaded."""
    table, times = chapter.table, pd.DatetimeIndex(chapter.table.iloc[:, 0])
    blame = table.loc[table[ANOMALY].astype(bool), list(chapter.sensors)].sum()
    names = list(blame.sort_values(ascending=False, kind="stable").index[:MAX_SENSORS_DRAWN])
    figure = plot_style.figure_of(13.5, 3.4 + 1.7 * len(names))
    panels = figure.subplots(1 + len(names), 1, sharex=True, height_ratios=[1.7] + [1] * len(names))
    top = panels[0]
    score = table[SCORE].to_numpy(float)
    _draw_extremes(top, times, score, color=BLUE, label="score")
    top.plot(times, table[THRESHOLD], color=RED, linewidth=1.2, linestyle="--", label="threshold")
    if np.isfinite(score).any() and np.nanmin(score) > 0:
        top.set_yscale("log")
        top.yaxis.set_major_formatter(LogFormatter())  # the usual one writes formulas, see plot_style
        top.yaxis.set_minor_formatter(LogFormatter())
    units = dict.fromkeys(DETECTOR_BASELINES, "of this detector") | {ENSEMBLE: "in thresholds of its members"}
    unit = units.get(chapter.kind, "in units of a typical error")
    top.set(title="Anomaly score", ylabel=unit)
    top.margins(x=0)
    values = chapter.sensor_values[chapter.sensor_values.iloc[:, 0] >= times[0]]
    for ax, name in zip(panels[1:], names, strict=True):
        _draw_extremes(ax, pd.DatetimeIndex(values.iloc[:, 0]), values[name].to_numpy(float), color=INK, label=name)
        ax.set_ylabel(plot_style.shorten(name, 16))
    step = times[1] - times[0] if len(times) > 1 else pd.Timedelta(0)
    labelled_spans = events.spans(table[LABELLED].to_numpy(bool)).tolist() if LABELLED in table else []
    labelled = [(times[start], times[end - 1] + step) for start, end in labelled_spans]
    found = [(row["start"], row["end"] + step) for row in chapter.alarms.to_dict("records")]
    for ax in panels:
        _shade(ax, labelled, color=ORANGE, alpha=0.3, label="labelled as anomalous" if ax is top else None)
        _shade(ax, found, color=RED, alpha=0.25, label="found" if ax is top else None)
    top.legend(ncols=4, loc="lower left", bbox_to_anchor=(0.2, 1.0))
    return figure


def _shade(ax: Axes, spans: list[tuple[Any, Any]], *, color: str, alpha: float, label: str | None) -> None:
    """Shade the spans of time; only the first has the label, so that the legend shows it once."""
    for number, (start, end) in enumerate(spans):
        ax.axvspan(start, end, color=color, alpha=alpha, linewidth=0, label=None if number else label)


def _draw_extremes(ax: Axes, times: pd.DatetimeIndex, values: np.ndarray, *, color: str, label: str) -> None:
    """Draw a line that shows every extreme, however many steps there are."""
    size = -(-len(values) // MAX_LINE_POINTS)
    if size > 1:
        end = len(values) // size * size
        blocks = values[:end].reshape(-1, size)
        is_finite = np.isfinite(blocks)
        low = np.min(blocks, 1, where=is_finite, initial=np.inf)
        high = np.max(blocks, 1, where=is_finite, initial=-np.inf)
        values = np.where(is_finite.any(axis=1)[:, None], np.stack([low, high], axis=1), np.nan).ravel()
        times = pd.DatetimeIndex(np.repeat(times[:end:size], 2))
    ax.plot(times, values, color=color, linewidth=0.9, label=label)


def draw_contributions(chapter: ScoredSpan) -> Figure:
    """Draw the contribution of each sensor, in units of the threshold, on a logarithmic scale."""
    table = chapter.table
    mean_contributions = table[list(chapter.sensors)].mean()
    names = list(mean_contributions.sort_values(ascending=False, kind="stable").index[:MAX_CONTRIBUTION_ROWS])
    thresholds = table[THRESHOLD].to_numpy(float)
    contributions = table[names].to_numpy(float).T / np.where(thresholds > 0, thresholds, 1.0)
    size = max(1, contributions.shape[1] // MAX_LINE_POINTS)
    blocks = contributions[:, : contributions.shape[1] // size * size].reshape(len(names), -1, size)
    peaks = np.max(np.where(np.isfinite(blocks), blocks, 0.0), axis=2)
    figure = plot_style.figure_of(13.5, 1.6 + 0.3 * len(names))
    ax = figure.subplots()
    times = pd.DatetimeIndex(table.iloc[:, 0])
    edges = np.append(times[: peaks.shape[1] * size : size].to_numpy(), times[-1].to_datetime64())
    logs = np.log10(np.maximum(peaks, 1e-3))
    mesh = ax.pcolormesh(edges, np.arange(len(names) + 1), logs, cmap="cividis", rasterized=True, vmin=-2)
    ax.set_yticks(np.arange(len(names)) + 0.5, [plot_style.shorten(name, 24) for name in names])
    ax.invert_yaxis()
    ax.grid(visible=False)
    ax.set_title("Contribution of each sensor, in units of the threshold (powers of ten)")
    figure.colorbar(mesh, ax=ax, pad=0.01)
    return figure


def _draw_detectors(chapter: AnomalyChapter) -> Figure:
    """Draw AUC-PR and event F1 of each detector, best first."""
    ranked = chapter.measures.sort_values("auc_pr", kind="stable")
    figure = plot_style.figure_of(13.5, 1.4 + 0.36 * len(ranked))
    rows = np.arange(len(ranked))
    panels = figure.subplots(1, 2, sharey=True)
    colors = [ORANGE if name == chapter.winner else BLUE for name in ranked["name"]]
    for ax, measure in zip(panels, ("auc_pr", "event_f1"), strict=True):
        values = ranked[measure].to_numpy(float) if measure in ranked else np.full(len(ranked), np.nan)
        ax.barh(rows, np.nan_to_num(values), color=colors, alpha=0.85)
        for row, value in zip(rows, values, strict=True):
            text = f" {value:.3f}" if np.isfinite(value) else " -"
            ax.text(np.nan_to_num(value), row, text, va="center", fontsize=8, color=GREY)
        ax.set(title=f"{METRIC_TITLES[measure]} (higher is better)", xlim=(0, 1.08))
        ax.grid(visible=False, axis="y")
    panels[0].set_yticks(rows, [plot_style.shorten(str(name)) for name in ranked["name"]])
    return figure
