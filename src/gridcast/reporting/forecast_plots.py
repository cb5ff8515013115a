"""Figures of the winner's forecasts: fan charts, calibration, error by step, importance of inputs.

First the numbers, as `FanChart` and the frames of `interval_calibration`, `forecast_tables` and the explanation hold
them, then the drawing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from gridcast.reporting import interval_calibration
from gridcast.reporting.plot_style import BLUE, CYCLE, GREEN, GREY, INK, ORANGE, figure_of, shorten

MAX_FAN_CHARTS = 6
MAX_LAGS_SPACED = 30
"""A panel of more lags does not make the figure taller."""
BAND_ALPHA = 0.24
MIN_HISTORY_STEPS = 30
"""Steps of history that a fan chart shows before the forecast, or three horizons if that is more."""


@dataclass(frozen=True)
class FanChart:
    """The last forecast of one series, which has `rank` of `count` by MASE.

    `history` is what was observed before, with the columns time and actual; `path` is the last window of the test
    table, or with a horizon of one step its last windows in a row.
    """

    series: str
    rank: int
    count: int
    mase: float
    history: pd.DataFrame
    path: pd.DataFrame

    @property
    def role(self) -> str:
        """The rank of the series in words, such as `best of 20`; empty where there is only one."""
        if self.count == 1:
            return ""
        words = {1: "best", (self.count + 1) // 2: "typical", self.count: "worst"}
        return f"{words.get(self.rank, str(self.rank))} of {self.count}"


def representative_series(by_series: pd.DataFrame) -> list[tuple[str, int]]:
    """Return series with their rank by MASE (1 = best): all, or the two best, two about the middle, two worst."""
    ranked = by_series.sort_values("mase", na_position="last", kind="stable")["series"].tolist()
    middle = (len(ranked) - 1) // 2
    places = [0, 1, middle, middle + 1, len(ranked) - 2, len(ranked) - 1]
    chosen = range(len(ranked)) if len(ranked) <= MAX_FAN_CHARTS else sorted(set(places))
    return [(ranked[place], place + 1) for place in chosen]


def fan_chart_data(test: pd.DataFrame, recent: pd.DataFrame, by_series: pd.DataFrame) -> list[FanChart]:
    """Return the last forecast of each representative series.

    `test` is the winner's table of the test span, `recent` was observed right before it.
    """
    mase = by_series.set_index("series")["mase"]
    horizon = int(test["step"].max())
    steps = max(MIN_HISTORY_STEPS, 3 * horizon)
    charts = []
    for series, rank in representative_series(by_series):
        rows = test[test["series"] == series]
        windows = interval_calibration.window_numbers(rows)
        path = rows[windows == windows[-1]] if horizon > 1 else rows.tail(steps)
        before = pd.concat([recent[recent["series"] == series], rows[rows["time"] < path["time"].iloc[0]]])
        history = before[["time", "actual"]].drop_duplicates("time").sort_values("time").tail(steps)
        charts.append(FanChart(series, rank, len(by_series), float(mase[series]), history, path))
    return charts


def fan_charts(charts: Sequence[FanChart], target: str) -> Figure:
    """Draw history, the last forecast with its nested intervals, and the actual values, for each of `charts`."""
    columns = {1: 1, 2: 2, 4: 2}.get(len(charts), 3)
    rows = -(-len(charts) // columns)
    figure = figure_of(11 if columns == 1 else 13.5, 0.5 + 2.7 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, chart in zip(panels, charts, strict=False):
        _draw_fan(ax, chart, target)
    for ax in panels[len(charts) :]:
        ax.set_axis_off()
    lines, labels = panels[0].get_legend_handles_labels()
    levels = interval_calibration.quantile_levels(charts[0].path)
    nominals = list(interval_calibration.central_intervals(levels))[::-1]
    # A band is drawn over all wider ones, so its colour is as deep as theirs together.
    lines += [Patch(color=ORANGE, alpha=1 - (1 - BAND_ALPHA) ** (k + 1), linewidth=0) for k in range(len(nominals))]
    labels += [f"{100 * nominal:g} % interval" for nominal in nominals]
    figure.legend(lines, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _draw_fan(ax: Axes, chart: FanChart, target: str) -> None:
    parts = [chart.series if chart.series != "all" else "", chart.role]
    mase = f"MASE {chart.mase:.2f}" if np.isfinite(chart.mase) else "no MASE"
    ax.set_title(f"{shorten(', '.join(filter(None, parts)), 34)}   {mase}".strip())
    path, times = chart.path, chart.path["time"]
    one_step = path["step"].max() == 1
    actual = pd.concat([chart.history, path[["time", "actual"]]])
    ax.plot(actual["time"], actual["actual"], color=INK, linewidth=1.2, label="actual", zorder=3)
    levels = interval_calibration.quantile_levels(path)
    for ends in reversed(interval_calibration.central_intervals(levels).values()):
        low, high = (path[interval_calibration.quantile_column(level)] for level in ends)
        ax.fill_between(times, low, high, color=ORANGE, alpha=BAND_ALPHA, lw=0)
    middle = path[interval_calibration.quantile_column(0.5)] if 0.5 in levels else path["forecast"]
    label = ("median" if 0.5 in levels else "forecast") + (", one step ahead" if one_step else "")
    marker = "." if len(path) < 3 else None
    ax.plot(times, middle, color=ORANGE, linewidth=1.8, marker=marker, label=label)
    if not one_step:
        ax.axvline(times.iloc[0], color=GREY, linewidth=0.9, linestyle=":")
    ax.set_ylabel(target)
    locator = AutoDateLocator(minticks=3, maxticks=7)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def forecaster_colors(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each forecaster, the first of which is the winner: the same in every figure."""
    others = [color for color in CYCLE if color != ORANGE]
    return {name: others[(k - 1) % len(others)] if k else ORANGE for k, name in enumerate(names)}


def _line_style(colors: Mapping[str, str], name: str) -> str:
    """Return a solid line for the first forecaster of a colour, a dashed one for others."""
    first = next(other for other, color in colors.items() if color == colors[name])
    return "-" if first == name else "--"


def coverage_diagram(
    calibration: pd.DataFrame,
    intervals: pd.DataFrame,
    by_step: pd.DataFrame,
    *,
    colors: Mapping[str, str],
    nominal: float | None,
) -> Figure:
    """Draw observed against nominal shares of quantiles and intervals, and the coverage of `nominal` by step.

    `calibration` and `intervals` are frames of `interval_calibration`, `by_step` one of `forecast_tables`; `colors` are
    by forecaster, the winner's first. Panels without data are left out.
    """
    has_steps = nominal is not None and len(by_step) > 0
    count = 1 + (nominal is not None) + has_steps
    figure = figure_of(4.5 * count if count > 1 else 6, 4.9)
    panels = iter(figure.subplots(1, count, squeeze=False)[0])
    winner = next(iter(colors))
    colors = {name: color for name, color in colors.items() if name in set(calibration["name"])}
    ax = next(panels)
    ax.set_title("Quantiles: share of actual values below")
    _draw_diagonal(ax, calibration.rename(columns={"level": "nominal"}), "share", colors)
    ax.set_xlabel("level of the quantile (%)")
    ax.set_ylabel("share below it (%)")
    handles, labels = ax.get_legend_handles_labels()
    if nominal is not None:
        ax = next(panels)
        ax.set_title("Intervals: share of actual values inside")
        _draw_diagonal(ax, intervals, "coverage", colors)
        ax.set_xlabel("nominal coverage (%)")
        ax.set_ylabel("observed coverage (%)")
    if has_steps and nominal is not None:
        ax = next(panels)
        ax.set_title(f"{100 * nominal:g} % interval by step of the horizon")
        row = intervals[(intervals["name"] == winner) & (intervals["nominal"] == nominal)].iloc[0]
        ax.axhspan(100 * row["low"], 100 * row["high"], color=GREY, alpha=0.22, linewidth=0)
        ax.axhline(100 * nominal, color=GREY, linewidth=1, linestyle="--")
        _draw_lines_by_step(ax, by_step.assign(coverage=100 * by_step["coverage"]), "coverage", colors)
        ax.set_ylim(min(ax.get_ylim()[0], 50), 102)
        ax.set_ylabel("observed coverage (%)")
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _draw_diagonal(ax: Axes, table: pd.DataFrame, observed: str, colors: Mapping[str, str]) -> None:
    """Draw the column `observed` against the nominal share, in percent; the grey band is the winner's."""
    ax.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle="--", label="nominal")
    winner = next(iter(colors))
    band = table[table["name"] == winner].sort_values("nominal")
    if len(band) > 1:
        ax.fill_between(
            100 * band["nominal"],
            100 * band["low"],
            100 * band["high"],
            color=GREY,
            alpha=0.22,
            linewidth=0,
            label="within chance (95 %)",
        )
    elif len(band):
        first = 100 * band.iloc[0][["nominal", "low", "high"]].astype(float)
        ax.vlines(first["nominal"], first["low"], first["high"], color=GREY, alpha=0.35, linewidth=9)
    for name in reversed(list(colors)):
        rows = table[table["name"] == name].sort_values("nominal")
        width, size = (2.2, 6.5) if name == winner else (1.2, 4)
        ax.plot(
            100 * rows["nominal"],
            100 * rows[observed],
            color=colors[name],
            linestyle=_line_style(colors, name),
            marker="o",
            markersize=size,
            linewidth=width,
            label=shorten(name),
        )
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 102)
    ax.set_aspect("equal", adjustable="box")


def _draw_lines_by_step(ax: Axes, by_step: pd.DataFrame, measure: str, colors: Mapping[str, str]) -> None:
    """Draw one line per forecaster over the steps of the horizon, the winner's on top."""
    for name in reversed(list(colors)):
        rows = by_step[by_step["name"] == name].dropna(subset=[measure])
        width = 2.2 if name == next(iter(colors)) else 1.2
        marker = "o" if len(rows) <= 24 else "none"
        (line,) = ax.plot(rows["step"], rows[measure], color=colors[name], linewidth=width, label=shorten(name))
        line.set(marker=marker, markersize=3.5, linestyle=_line_style(colors, name))
    ax.set_xlabel("step of the horizon (1 = next)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def error_by_step(by_step: pd.DataFrame, colors: Mapping[str, str]) -> Figure:
    """Draw MASE, and weighted quantile loss where there are quantiles, at each step of the horizon."""
    measures = {"mase": "MASE (lower is better)"}
    if "wql" in by_step:
        measures["wql"] = "weighted quantile loss (lower is better)"
    figure = figure_of(13.5 if len(measures) > 1 else 9, 4.6)
    for ax, (measure, title) in zip(figure.subplots(1, len(measures), squeeze=False)[0], measures.items(), strict=True):
        ax.set_title(f"Error by step: {title}")
        _draw_lines_by_step(ax, by_step, measure, colors)
        ax.set_ylim(bottom=0)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=4)
    return figure


def input_importance(permuted: pd.DataFrame, attention: pd.DataFrame) -> Figure:
    """Draw the rise of the error without each input and each lag, and attention by lag; whiskers are deviations.

    `permuted` has the columns name, kind, rise and spread, `attention` lag, share and spread; either may be empty. An
    input whose rise is NaN is left out.
    """
    permuted = permuted.dropna(subset=["rise"])
    inputs = permuted[permuted["kind"] != "lag"].sort_values("rise")
    lags = permuted[permuted["kind"] == "lag"].iloc[::-1]
    panels = [(inputs, "Without an input"), (lags, "Without a past value")]
    panels = [panel for panel in panels if len(panel[0])]
    count = len(panels) + bool(len(attention))
    bars = max(len(lags) if len(lags) <= MAX_LAGS_SPACED else 0, len(inputs), 5)
    figure = figure_of(4.5 * count, 1.6 + 0.27 * bars)
    axes = figure.subplots(1, count, squeeze=False)[0]
    for ax, (rows, title) in zip(axes, panels, strict=False):
        ax.set_title(title)
        colors = [ORANGE if kind == "target" else BLUE for kind in rows["kind"]]
        style = {"color": colors, "alpha": 0.85, "ecolor": INK, "error_kw": {"linewidth": 1}}
        ax.barh([shorten(name, 22) for name in rows["name"]], rows["rise"], xerr=rows["spread"], capsize=2, **style)
        ax.axvline(0, color=INK, linewidth=0.8)
        ax.set_xlabel("rise of the validation error (%)")
        ax.grid(visible=False, axis="y")
    if len(attention):
        _draw_attention(axes[-1], attention)
    return figure


def _draw_attention(ax: Axes, attention: pd.DataFrame) -> None:
    ax.set_title("Attention by lag")
    whiskers = np.minimum(attention["spread"], attention["share"]), attention["spread"]
    ax.bar(attention["lag"], attention["share"], color=GREEN, alpha=0.85)
    ax.errorbar(attention["lag"], attention["share"], yerr=whiskers, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
    ax.axhline(100 / len(attention), color=GREY, linewidth=1, linestyle="--")
    ax.set_xlim(len(attention) + 0.6, 0.4)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("lag (1 = the step before the forecast)")
    ax.set_ylabel("share of attention (%), dashed: uniform")
    ax.grid(visible=False, axis="x")
