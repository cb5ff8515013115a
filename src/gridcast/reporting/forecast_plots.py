"""Pictures of what the winner forecasts and leans on: fans, calibration, error by step, importance of inputs.

First the numbers, as `Fan` and the frames of `quantiles`, `tables` and `importance` hold them, then the drawing.
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
BAND_ALPHA = 0.24
MIN_HISTORY_STEPS = 30
"""Steps of history before the forecast, and one-step forecasts drawn, at least; or three horizons."""


@dataclass(frozen=True)
class FanChart:
    """The last forecast of one series: `rank` of `count` by MASE, what was observed before it, and its path.

    `history` has the columns time and actual; `path` is the last window of the test table, or with a horizon
    of one step its last windows in a row.
    """

    series: str
    rank: int
    count: int
    mase: float
    history: pd.DataFrame
    path: pd.DataFrame

    @property
    def role(self) -> str:
        """Where the series stands, in words."""
        if self.count == 1:
            return ""
        words = {1: "best", (self.count + 1) // 2: "typical", self.count: "worst"}
        return f"{words.get(self.rank, str(self.rank))} of {self.count}"


def representative_series(by_series: pd.DataFrame, most: int = MAX_FAN_CHARTS) -> list[tuple[str, int]]:
    """Series with their rank by MASE (1 = best): all, or the two best, two about the middle, two worst."""
    ranked = by_series.sort_values("mase", na_position="last", kind="stable")["series"].tolist()
    middle = (len(ranked) - 1) // 2
    places = [0, 1, middle, middle + 1, len(ranked) - 2, len(ranked) - 1]
    chosen = range(len(ranked)) if len(ranked) <= most else sorted(set(places))
    return [(ranked[place], place + 1) for place in chosen]


def fan_chart_data(test: pd.DataFrame, recent: pd.DataFrame, by_series: pd.DataFrame) -> list[FanChart]:
    """The last forecast of the series worth a look, by the winner's table `test`; `recent` was observed before it."""
    mase = by_series.set_index("series")["mase"]
    horizon = int(test["step"].max())
    tail = max(MIN_HISTORY_STEPS, 3 * horizon)
    found = []
    for series, rank in representative_series(by_series):
        own = test[test["series"] == series]
        path = (
            own[interval_calibration.window_numbers(own) == interval_calibration.window_numbers(own)[-1]]
            if horizon > 1
            else own.tail(tail)
        )
        before = pd.concat([recent[recent["series"] == series], own[own["time"] < path["time"].iloc[0]]])
        history = before[["time", "actual"]].drop_duplicates("time").sort_values("time").tail(tail)
        found.append(FanChart(series, rank, len(by_series), float(mase[series]), history, path))
    return found


def fan_charts(shown: Sequence[FanChart], target: str) -> Figure:
    """History, the last forecast with its nested intervals, and what came, for each of `shown`."""
    columns = {1: 1, 2: 2, 4: 2}.get(len(shown), 3)
    rows = -(-len(shown) // columns)
    figure = figure_of(11 if columns == 1 else 13.5, 0.5 + 2.7 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, fan in zip(panels, shown, strict=False):
        _fan(ax, fan, target)
    for ax in panels[len(shown) :]:
        ax.set_axis_off()
    lines, labels = panels[0].get_legend_handles_labels()
    nested = list(interval_calibration.central_intervals(interval_calibration.quantile_levels(shown[0].path)))[::-1]
    # A band lies on all wider ones, so it looks as deep as they together.
    lines += [Patch(color=ORANGE, alpha=1 - (1 - BAND_ALPHA) ** (k + 1), linewidth=0) for k in range(len(nested))]
    labels += [f"{100 * nominal:g} % interval" for nominal in nested]
    figure.legend(lines, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _fan(ax: Axes, fan: FanChart, target: str) -> None:
    parts = [fan.series if fan.series != "all" else "", fan.role]
    mase = f"MASE {fan.mase:.2f}" if np.isfinite(fan.mase) else "no MASE"
    ax.set_title(f"{shorten(', '.join(filter(None, parts)), 34)}   {mase}".strip())
    path, times = fan.path, fan.path["time"]
    one = path["step"].max() == 1
    seen = pd.concat([fan.history, path[["time", "actual"]]])
    ax.plot(seen["time"], seen["actual"], color=INK, linewidth=1.2, label="actual", zorder=3)
    given = interval_calibration.quantile_levels(path)
    for low, high in reversed(interval_calibration.central_intervals(given).values()):
        ax.fill_between(
            times,
            path[interval_calibration.quantile_column(low)],
            path[interval_calibration.quantile_column(high)],
            color=ORANGE,
            alpha=BAND_ALPHA,
            lw=0,
        )
    middle = path[interval_calibration.quantile_column(0.5)] if 0.5 in given else path["forecast"]
    label = ("median" if 0.5 in given else "forecast") + (", one step ahead" if one else "")
    dot = "." if len(path) < 3 else None
    ax.plot(times, middle, color=ORANGE, linewidth=1.8, marker=dot, label=label)
    if not one:
        ax.axvline(times.iloc[0], color=GREY, linewidth=0.9, linestyle=":")
    ax.set_ylabel(target)
    locator = AutoDateLocator(minticks=3, maxticks=7)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def forecaster_colors(names: Sequence[str]) -> dict[str, str]:
    """A colour for each forecaster, the first of them the winner: the same in every picture."""
    others = [color for color in CYCLE if color != ORANGE]
    return {name: others[(k - 1) % len(others)] if k else ORANGE for k, name in enumerate(names)}


def _style(colors: Mapping[str, str], name: str) -> str:
    """Dashed for the second forecaster of a colour."""
    first = next(other for other, color in colors.items() if color == colors[name])
    return "-" if first == name else "--"


def coverage_diagram(
    calibration: pd.DataFrame,
    intervals: pd.DataFrame,
    by_step: pd.DataFrame,
    colors: Mapping[str, str],
    nominal: float | None,
) -> Figure:
    """What quantiles and intervals promise against what they hold, and the coverage of `nominal` by step.

    Frames as `quantiles.calibration`, `quantiles.intervals` and `tables.by_step` give them; `colors` by forecaster,
    the winner's first. Panels of which there is nothing to show are left out.
    """
    steps = nominal is not None and len(by_step) > 0
    count = 1 + (nominal is not None) + steps
    figure = figure_of(4.5 * count if count > 1 else 6, 4.9)
    panels = iter(figure.subplots(1, count, squeeze=False)[0])
    winner = next(iter(colors))
    colors = {name: color for name, color in colors.items() if name in set(calibration["name"])}
    ax = next(panels)
    ax.set_title("Quantiles: share of actual values below")
    _diagonal(ax, calibration.rename(columns={"level": "nominal"}), "share", colors)
    ax.set_xlabel("level of the quantile (%)")
    ax.set_ylabel("share below it (%)")
    handles, labels = ax.get_legend_handles_labels()
    if nominal is not None:
        ax = next(panels)
        ax.set_title("Intervals: share of actual values inside")
        _diagonal(ax, intervals, "coverage", colors)
        ax.set_xlabel("share that the interval promises (%)")
        ax.set_ylabel("share that it holds (%)")
    if steps and nominal is not None:
        ax = next(panels)
        ax.set_title(f"{100 * nominal:g} % interval by step of the horizon")
        own = intervals[(intervals["name"] == winner) & (intervals["nominal"] == nominal)].iloc[0]
        ax.axhspan(100 * own["low"], 100 * own["high"], color=GREY, alpha=0.22, linewidth=0)
        ax.axhline(100 * nominal, color=GREY, linewidth=1, linestyle="--")
        _lines(ax, by_step.assign(coverage=100 * by_step["coverage"]), "coverage", colors)
        ax.set_ylim(min(ax.get_ylim()[0], 50), 102)
        ax.set_ylabel("share that it holds (%)")
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _diagonal(ax: Axes, frame: pd.DataFrame, held: str, colors: Mapping[str, str]) -> None:
    """Held against promised, in percent: the nearer to the diagonal the better; the band is the winner's."""
    ax.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle="--", label="as promised")
    winner = next(iter(colors))
    own = frame[frame["name"] == winner].sort_values("nominal")
    if len(own) > 1:
        bounds = (100 * own["low"], 100 * own["high"])
        ax.fill_between(
            100 * own["nominal"], *bounds, color=GREY, alpha=0.22, linewidth=0, label="within chance (95 %)"
        )
    elif len(own):
        first = 100 * own.iloc[0][["nominal", "low", "high"]].astype(float)
        ax.vlines(first["nominal"], first["low"], first["high"], color=GREY, alpha=0.35, linewidth=9)
    for name in reversed(list(colors)):
        rows = frame[frame["name"] == name].sort_values("nominal")
        wide, size = (2.2, 6.5) if name == winner else (1.2, 4)
        ax.plot(
            100 * rows["nominal"],
            100 * rows[held],
            color=colors[name],
            linestyle=_style(colors, name),
            marker="o",
            markersize=size,
            linewidth=wide,
            label=shorten(name),
        )
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 102)
    ax.set_aspect("equal", adjustable="box")


def _lines(ax: Axes, frame: pd.DataFrame, measure: str, colors: Mapping[str, str]) -> None:
    """One line per forecaster over the steps of the horizon, the winner's on top."""
    for name in reversed(list(colors)):
        rows = frame[frame["name"] == name].dropna(subset=[measure])
        wide = 2.2 if name == next(iter(colors)) else 1.2
        dot = "o" if len(rows) <= 24 else "none"
        (line,) = ax.plot(rows["step"], rows[measure], color=colors[name], linewidth=wide, label=shorten(name))
        line.set(marker=dot, markersize=3.5, linestyle=_style(colors, name))
    ax.set_xlabel("step of the horizon (1 = next)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def error_by_step(by_step: pd.DataFrame, colors: Mapping[str, str]) -> Figure:
    """MASE, and weighted quantile loss where there are quantiles, at each step of the horizon."""
    measures = {"mase": "MASE (lower is better)"}
    if "wql" in by_step:
        measures["wql"] = "weighted quantile loss (lower is better)"
    figure = figure_of(13.5 if len(measures) > 1 else 9, 4.6)
    for ax, (measure, title) in zip(figure.subplots(1, len(measures), squeeze=False)[0], measures.items(), strict=True):
        ax.set_title(f"Error by step: {title}")
        _lines(ax, by_step, measure, colors)
        ax.set_ylim(bottom=0)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=4)
    return figure


def input_importance(permuted: pd.DataFrame, attention: pd.DataFrame) -> Figure:
    """How far the error rises without each input and each lag, and where attention looks; whiskers are deviations.

    Frames as `importance.permutation` and `importance.attention` give them, each possibly empty; a part whose
    rise is NaN is left out.
    """
    permuted = permuted.dropna(subset=["rise"])
    whole = permuted[permuted["kind"] != "lag"].sort_values("rise")
    lags = permuted[permuted["kind"] == "lag"].iloc[::-1]
    panels = [(whole, "Without an input"), (lags, "Without a past value")]
    panels = [panel for panel in panels if len(panel[0])]
    count = len(panels) + bool(len(attention))
    tall = max(len(lags) if len(lags) <= MAX_FAN_CHARTS * 5 else 0, len(whole))
    figure = figure_of(4.5 * count, 1.6 + 0.27 * max(tall, 5))
    axes = figure.subplots(1, count, squeeze=False)[0]
    for ax, (frame, title) in zip(axes, panels, strict=False):
        ax.set_title(title)
        colors = [ORANGE if kind == "target" else BLUE for kind in frame["kind"]]
        bars = {"color": colors, "alpha": 0.85, "ecolor": INK, "error_kw": {"linewidth": 1}}
        ax.barh([shorten(name, 22) for name in frame["name"]], frame["rise"], xerr=frame["spread"], capsize=2, **bars)
        ax.axvline(0, color=INK, linewidth=0.8)
        ax.set_xlabel("rise of the validation error (%)")
        ax.grid(visible=False, axis="y")
    if len(attention):
        ax = axes[-1]
        ax.set_title("Where attention looks")
        ends = np.minimum(attention["spread"], attention["share"]), attention["spread"]
        ax.bar(attention["lag"], attention["share"], color=GREEN, alpha=0.85)
        ax.errorbar(attention["lag"], attention["share"], yerr=ends, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
        ax.axhline(100 / len(attention), color=GREY, linewidth=1, linestyle="--")
        ax.set_xlim(len(attention) + 0.6, 0.4)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("lag (1 = the step before the forecast)")
        ax.set_ylabel("share of attention (%), dashed: even")
        ax.grid(visible=False, axis="x")
    return figure
