"""Figures of the settings of a grid. Each function draws numbers computed elsewhere and returns a Figure.

`runs` is the frame that `leaderboard` describes, `metric` the column to minimise, `axes` the settings that vary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from gridcast.reporting.plot_style import (
    BLUE,
    CYCLE,
    GREY,
    INK,
    LINE,
    ORANGE,
    axis_label,
    figure_of,
    setting_label,
    shorten,
)

MAX_ANNOTATED_CELLS = 40
"""Heatmaps with more cells have a colour bar instead of a number in each cell."""
MAX_RATES = 12
"""Learning rates above which they were drawn from a range: each run has its own."""
MAX_HEATMAPS = 6


def grid_search_analysis(
    runs: pd.DataFrame,
    leaders: pd.DataFrame,
    *,
    axes: tuple[str, ...],
    metric: str,
    curves: pd.DataFrame,
    best_run_id: str,
    rates: pd.DataFrame | None = None,
) -> Figure:
    """Draw up to six panels: boxes by layer and by every other axis, learning rate, the top ten, two axes, curves.

    `leaders` are the ranked runs, `rates` those of `runs` with learning rates that are not in bins, `curves` the
    columns epoch, loss and val_loss of the best run. A panel that would be empty is left out.
    """
    pair = ("dropout", "units") if {"dropout", "units"} <= set(axes) else tuple(axes[:2])
    panels: list[Callable[[Axes], None]] = []
    if "layer" in axes:
        panels.append(lambda ax: _draw_layers(ax, runs, metric))
    if set(axes) - {"layer"}:
        panels.append(lambda ax: _draw_other_axes(ax, runs, axes, metric))
    if "learning_rate" in axes:
        panels.append(lambda ax: _draw_learning_rates(ax, runs if rates is None else rates, metric))
    if "series" not in leaders:  # losses of different series cannot be compared
        panels.append(lambda ax: _draw_top_runs(ax, leaders, metric, best_run_id))
    if len(pair) == 2:
        panels.append(lambda ax: _draw_two_axes(ax, runs, pair, metric))
    if len(curves):
        panels.append(lambda ax: _draw_curves(ax, curves))
    columns = min(3, len(panels)) or 1
    rows = -(-len(panels) // columns)
    figure = figure_of(4.5 * columns, 4.3 * max(rows, 1))
    for place, draw in enumerate(panels, start=1):
        draw(figure.add_subplot(rows, columns, place))
    return figure


def _draw_layers(ax: Axes, runs: pd.DataFrame, metric: str) -> None:
    ax.set_title("By layer type, best median first")
    losses = _losses_by_median(runs, "layer", metric)
    _draw_boxes(ax, losses, list(CYCLE[: len(losses)]))
    ax.set_xlabel(axis_label(metric))


def _draw_other_axes(ax: Axes, runs: pd.DataFrame, axes: tuple[str, ...], metric: str) -> None:
    ax.set_title("By every other axis")
    groups: dict[str, np.ndarray] = {}
    colors = []
    for number, axis in enumerate(axis for axis in axes if axis != "layer"):
        for value, losses in _losses_by_median(runs, axis, metric).items():
            groups[f"{axis_label(axis)} {value}"] = losses
            colors.append(CYCLE[number % len(CYCLE)])
    _draw_boxes(ax, groups, colors)
    ax.tick_params(axis="y", labelsize=8 if len(groups) <= 16 else 6)
    ax.set_xlabel(axis_label(metric))


def _draw_learning_rates(ax: Axes, runs: pd.DataFrame, metric: str) -> None:
    ax.set_title("Learning rate")
    rates = sorted(runs["learning_rate"].unique())
    is_drawn = len(rates) > MAX_RATES  # from a range: there is no median of a single run
    # The layers are shifted a little to the left and right, so that their dots do not hide each other.
    shifts = np.ones(runs["layer"].nunique()) if is_drawn else np.linspace(0.94, 1.06, runs["layer"].nunique())
    for number, (layer, layer_runs) in enumerate(runs.groupby("layer")):
        shifted, color = layer_runs["learning_rate"] * shifts[number], CYCLE[number % len(CYCLE)]
        ax.scatter(shifted, layer_runs[metric], s=14, alpha=0.5, color=color, label=str(layer), linewidths=0)
        if is_drawn:
            continue
        medians = layer_runs.groupby("learning_rate")[metric].median()
        ax.plot(medians.index, medians.to_numpy(), color=color, linewidth=1.6)
    ax.set_xscale("log")
    if not is_drawn:
        ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
        ax.minorticks_off()
    ax.set_xlabel("learning rate (log)")
    ax.set_ylabel(axis_label(metric))
    ax.legend(title="runs" if is_drawn else "median and runs")


def _draw_top_runs(ax: Axes, leaders: pd.DataFrame, metric: str, best_run_id: str) -> None:
    top = leaders.head(10).iloc[::-1]
    ax.set_title(f"The best {len(top)} of {len(leaders)} runs")
    colors = [ORANGE if run_id == best_run_id else BLUE for run_id in top["run_id"]]
    ax.scatter(top[metric], range(len(top)), color=colors, zorder=3)
    ax.hlines(range(len(top)), top[metric].min(), top[metric], color=LINE)
    ax.set_yticks(range(len(top)), [shorten(name, 44) for name in top["name"]], fontsize=7)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.set_xlabel(axis_label(metric))
    ax.grid(visible=False, axis="y")


def _draw_two_axes(ax: Axes, runs: pd.DataFrame, pair: tuple[str, ...], metric: str) -> None:
    ax.set_title(f"Mean {axis_label(metric)}")
    _draw_heatmap(ax, runs.pivot_table(index=pair[0], columns=pair[1], values=metric))


def _draw_curves(ax: Axes, curves: pd.DataFrame) -> None:
    ax.set_title("Training of the best run")
    marker = "." if len(curves) < 5 else None
    ax.plot(curves["epoch"], curves["loss"], color=GREY, label="training", marker=marker)
    ax.plot(curves["epoch"], curves["val_loss"], color=BLUE, label="validation", marker=marker)
    best = curves.iloc[int(np.argmin(curves["val_loss"]))]
    ax.scatter([best["epoch"]], [best["val_loss"]], color=ORANGE, zorder=3, label=f"kept: epoch {best['epoch']:.0f}")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss (scaled units)")
    ax.legend()


def _losses_by_median(runs: pd.DataFrame, axis: str, metric: str) -> dict[str, np.ndarray]:
    """Return the metric of the runs (runs,) for each value of `axis`, the lowest median first."""
    medians = runs.groupby(axis)[metric].median().sort_values()
    return {setting_label(value): runs.loc[runs[axis] == value, metric].to_numpy() for value in medians.index}


def _draw_boxes(ax: Axes, groups: Mapping[str, np.ndarray], colors: list[str]) -> None:
    """Draw horizontal boxes, the first group at the top; whiskers at 1.5 times the interquartile range."""
    drawn = ax.boxplot(
        list(groups.values())[::-1],
        orientation="horizontal",
        tick_labels=[shorten(name, 24) for name in groups][::-1],
        patch_artist=True,
        widths=0.6,
        medianprops={"color": INK, "linewidth": 1.4},
        whiskerprops={"color": GREY},
        capprops={"color": GREY},
        flierprops={"marker": ".", "markersize": 3, "markeredgecolor": GREY},
    )
    for box, color in zip(drawn["boxes"], colors[::-1], strict=True):
        box.set(facecolor=color, alpha=0.55, edgecolor=color)
    ax.grid(visible=False, axis="y")
    ax.xaxis.set_major_locator(MaxNLocator(4))


def _draw_heatmap(ax: Axes, pivot: pd.DataFrame) -> None:
    """Draw a heatmap (darker is better), with a number in each cell where there are few."""
    import seaborn as sns  # half a second, for grids with two axes

    labelled = pivot.rename(index=setting_label, columns=setting_label)
    annotate = labelled.size <= MAX_ANNOTATED_CELLS
    sns.heatmap(
        labelled,
        ax=ax,
        cmap="cividis",
        annot=annotate,
        fmt=".4g",
        annot_kws={"size": 8},
        cbar=not annotate,
        linewidths=0.5,
    )
    ax.set_xlabel(axis_label(str(pivot.columns.name)))
    ax.set_ylabel(axis_label(str(pivot.index.name)))
    ax.tick_params(axis="y", rotation=0)


def hyperparameter_importance(importance: pd.DataFrame) -> Figure:
    """Draw importance by fANOVA and share of variance explained by axis; columns axis, fanova, variance_share."""
    rows = importance.iloc[::-1]
    figure = figure_of(9, 1.5 + 0.5 * len(rows))
    ax = figure.subplots()
    ax.set_title("Share of the variance that each setting explains")
    places = np.arange(len(rows))
    ax.barh(places + 0.2, rows["fanova"].fillna(0), height=0.36, color=BLUE, label="fANOVA importance")
    ax.barh(places - 0.2, rows["variance_share"].fillna(0), height=0.36, color=ORANGE, label="variance explained alone")
    ax.set_yticks(places, [axis_label(axis) for axis in rows["axis"]])
    ax.set_xlabel("share")
    ax.legend(loc="lower right")
    ax.grid(visible=False, axis="y")
    return figure


def interactions(pivots: Mapping[tuple[str, str], pd.DataFrame], strengths: Mapping[tuple[str, str], float]) -> Figure:
    """Draw heatmaps of the mean loss over pairs of axes, strongest interaction first, at most MAX_HEATMAPS."""
    pairs = sorted(pivots, key=lambda pair: -np.nan_to_num(strengths.get(pair, 0.0)))[:MAX_HEATMAPS]
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = figure_of(4.5 * columns, 3.4 * rows)
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for ax, pair in zip(panels, pairs, strict=False):
        _draw_heatmap(ax, pivots[pair])
        strength = strengths.get(pair, float("nan"))
        ax.set_title(f"{100 * strength:.1f} % of the variance" if np.isfinite(strength) else "mean loss")
    for ax in panels[len(pairs) :]:
        ax.set_axis_off()
    return figure


def cost_quality(runs: pd.DataFrame, fronts: Mapping[str, np.ndarray], metric: str) -> Figure:
    """Draw the loss against each cost (fit_seconds, parameters); `fronts` are masks (runs,) of the Pareto sets."""
    labels = {"fit_seconds": "seconds of training (log)", "parameters": "parameters of the network (log)"}
    figure = figure_of(11, 4)
    for ax, (cost, front) in zip(figure.subplots(1, len(fronts), squeeze=False)[0], fronts.items(), strict=True):
        ax.set_title("Cost against quality")
        ax.scatter(runs[cost], runs[metric], s=14, color=BLUE, alpha=0.45, linewidths=0, label="runs")
        best = runs[front].sort_values(cost)
        ax.plot(best[cost], best[metric], color=ORANGE, marker="o", markersize=4, label="Pareto set")
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel(labels.get(cost, cost))
        ax.set_ylabel(axis_label(metric))
        ax.margins(y=0.12)
        ax.legend(loc="upper right")
    return figure


def parallel_coordinates(runs: pd.DataFrame, axes: tuple[str, ...], metric: str) -> Figure:
    """Draw each run as a line through its settings to its loss, the best tenth highlighted."""
    columns = [*axes, metric]
    figure = figure_of(max(7.0, 1.7 * len(columns)), 4.6)
    ax = figure.subplots()
    ax.set_title("Every run, the best tenth in orange")
    heights = np.zeros((len(runs), len(columns)))
    for k, column in enumerate(columns):
        heights[:, k], ticks = _metric_heights(runs[metric]) if column == metric else _setting_heights(runs[column])
        ax.axvline(k, color=GREY, linewidth=1)
        for height, text in ticks:
            ax.annotate(text, (k, height), textcoords="offset points", xytext=(5, 5), fontsize=9, fontweight="bold")
    # Lines through the same value would hide each other: small fixed offsets separate them.
    heights[:, :-1] += np.random.default_rng(0).uniform(-0.02, 0.02, (len(runs), len(columns) - 1))
    is_top = (runs[metric] <= runs[metric].quantile(0.1)).to_numpy()
    for top in (False, True):
        for line in heights[is_top == top]:
            ax.plot(range(len(columns)), line, color=ORANGE if top else BLUE, alpha=0.9 if top else 0.18, linewidth=1)
    ax.set_xticks(range(len(columns)), [axis_label(column) for column in columns])
    ax.set_yticks([])
    ax.grid(visible=False)
    ax.spines[["left", "bottom"]].set_visible(False)
    return figure


def _metric_heights(values: pd.Series) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Return the heights (runs,) of a metric, 0 to 1, and the tick texts with their heights."""
    low, high = values.min(), values.max()
    if not high > low:
        return np.full(len(values), 0.5), [(0.5, f"{low:.4g}")]
    return ((values - low) / (high - low)).to_numpy(float), [(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")]


def _setting_heights(values: pd.Series) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Return the heights (runs,) of a setting, evenly spaced by value, and the tick texts with their heights."""
    distinct = sorted(values.unique())
    spread = np.linspace(0, 1, len(distinct)) if len(distinct) > 1 else np.array([0.5])
    heights = values.map(dict(zip(distinct, spread, strict=True))).to_numpy(float)
    return heights, [(float(height), setting_label(value)) for height, value in zip(spread, distinct, strict=True)]
