"""Figures of the grid."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
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
    write_note,
)

MAX_ANNOTATED_CELLS = 40


def _boxes(ax: Axes, groups: Mapping[str, np.ndarray], colors: list[str]) -> None:
    """Horizontal boxes, the first group on top; whiskers at 1.5 times the quartile range."""
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


def _by_median(runs: pd.DataFrame, axis: str, metric: str) -> dict[str, np.ndarray]:
    medians = runs.groupby(axis)[metric].median().sort_values()
    return {setting_label(value): runs.loc[runs[axis] == value, metric].to_numpy() for value in medians.index}


def grid_search_analysis(
    runs: pd.DataFrame, leaders: pd.DataFrame, axes: tuple[str, ...], metric: str, curves: pd.DataFrame, winner: str
) -> Figure:
    """Six panels: boxes by layer and by every other axis, learning rate, the top ten, dropout x units, curves.

    `curves` has the columns epoch, loss and val_loss of the best run. A panel whose axis was not
    varied says so.
    """
    figure = figure_of(13.5, 8.6)
    panels = figure.subplots(2, 3)
    _layer_panel(panels[0, 0], runs, axes, metric)
    _axes_panel(panels[0, 1], runs, axes, metric)
    _rate_panel(panels[0, 2], runs, axes, metric)
    _top_panel(panels[1, 0], leaders, metric, winner)
    _heat_panel(panels[1, 1], runs, axes, metric)
    _curves_panel(panels[1, 2], curves)
    return figure


def _layer_panel(ax: Axes, runs: pd.DataFrame, axes: tuple[str, ...], metric: str) -> None:
    ax.set_title("By layer type, best median first")
    if "layer" not in axes:
        write_note(ax, f"Every run used {runs['layer'].iloc[0]} layers.")
        return
    groups = _by_median(runs, "layer", metric)
    _boxes(ax, groups, list(CYCLE[: len(groups)]))
    ax.set_xlabel(axis_label(metric))


def _axes_panel(ax: Axes, runs: pd.DataFrame, axes: tuple[str, ...], metric: str) -> None:
    ax.set_title("By every other axis")
    others = [axis for axis in axes if axis != "layer"]
    if not others:
        write_note(ax, "No other axis was varied.")
        return
    groups: dict[str, np.ndarray] = {}
    colors = []
    for number, axis in enumerate(others):
        for value, losses in _by_median(runs, axis, metric).items():
            groups[f"{axis_label(axis)} {value}"] = losses
            colors.append(CYCLE[number % len(CYCLE)])
    _boxes(ax, groups, colors)
    ax.tick_params(axis="y", labelsize=8 if len(groups) <= 16 else 6)
    ax.set_xlabel(axis_label(metric))


def _rate_panel(ax: Axes, runs: pd.DataFrame, axes: tuple[str, ...], metric: str) -> None:
    ax.set_title("Learning rate")
    if "learning_rate" not in axes:
        write_note(ax, f"Every run used the learning rate {runs['learning_rate'].iloc[0]:g}.")
        return
    for number, (layer, own) in enumerate(runs.groupby("layer")):
        # Moved a little aside by layer, else the dots of one rate hide each other.
        aside = own["learning_rate"] * (0.94 if number == 0 else 1.06)
        ax.scatter(aside, own[metric], s=14, alpha=0.5, color=CYCLE[number], label=str(layer), linewidths=0)
        medians = own.groupby("learning_rate")[metric].median()
        ax.plot(medians.index, medians.to_numpy(), color=CYCLE[number], linewidth=1.6)
    ax.set_xscale("log")
    rates = sorted(runs["learning_rate"].unique())
    ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
    ax.minorticks_off()
    ax.set_xlabel("learning rate (log)")
    ax.set_ylabel(axis_label(metric))
    ax.legend(title="median and runs")


def _top_panel(ax: Axes, leaders: pd.DataFrame, metric: str, winner: str) -> None:
    if "series" in leaders:
        ax.set_title("The best run of each series")
        write_note(ax, "Losses of different series do not compare: see the table of series.")
        return
    top = leaders.head(10).iloc[::-1]
    ax.set_title(f"The best {len(top)} of {len(leaders)} runs")
    ax.scatter(
        top[metric], range(len(top)), color=[ORANGE if run == winner else BLUE for run in top["run_id"]], zorder=3
    )
    ax.hlines(range(len(top)), top[metric].min(), top[metric], color=LINE)
    ax.set_yticks(range(len(top)), [shorten(name, 44) for name in top["name"]], fontsize=7)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.set_xlabel(axis_label(metric))
    ax.grid(visible=False, axis="y")


def _heat_panel(ax: Axes, runs: pd.DataFrame, axes: tuple[str, ...], metric: str) -> None:
    pair = ("dropout", "units") if {"dropout", "units"} <= set(axes) else tuple(axes[:2])
    if len(pair) < 2:
        ax.set_title("Two axes together")
        write_note(ax, "Fewer than two axes were varied.")
        return
    ax.set_title(f"Mean {axis_label(metric)}")
    heat(ax, runs.pivot_table(index=pair[0], columns=pair[1], values=metric))


def heat(ax: Axes, pivot: pd.DataFrame) -> None:
    """A heatmap with its numbers written in, darker is better."""
    shown = pivot.rename(index=setting_label, columns=setting_label)
    small = shown.size <= MAX_ANNOTATED_CELLS
    sns.heatmap(
        shown, ax=ax, cmap="cividis", annot=small, fmt=".4g", annot_kws={"size": 8}, cbar=not small, linewidths=0.5
    )
    ax.set_xlabel(axis_label(str(pivot.columns.name)))
    ax.set_ylabel(axis_label(str(pivot.index.name)))
    ax.tick_params(axis="y", rotation=0)


def _curves_panel(ax: Axes, curves: pd.DataFrame) -> None:
    ax.set_title("Training of the best run")
    if not len(curves):
        write_note(ax, "No curves were recorded.")
        return
    ax.plot(curves["epoch"], curves["loss"], color=GREY, label="training", marker="." if len(curves) < 5 else None)
    ax.plot(
        curves["epoch"], curves["val_loss"], color=BLUE, label="validation", marker="." if len(curves) < 5 else None
    )
    best = curves.iloc[int(np.argmin(curves["val_loss"]))]
    ax.scatter([best["epoch"]], [best["val_loss"]], color=ORANGE, zorder=3, label=f"kept: epoch {best['epoch']:.0f}")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss (scaled units)")
    ax.legend()


def hyperparameter_importance(importance: pd.DataFrame) -> Figure:
    """Importance by fANOVA and share of variance explained, by axis; columns axis, fanova, variance_share."""
    shown = importance.iloc[::-1]
    figure = figure_of(9, 1.5 + 0.5 * max(len(shown), 1))
    ax = figure.subplots()
    ax.set_title("Which settings mattered")
    if not len(shown) or shown[["fanova", "variance_share"]].isna().all(axis=None):
        write_note(ax, "Too few different runs to tell.")
        return figure
    rows = np.arange(len(shown))
    ax.barh(rows + 0.2, shown["fanova"].fillna(0), height=0.36, color=BLUE, label="fANOVA importance")
    ax.barh(rows - 0.2, shown["variance_share"].fillna(0), height=0.36, color=ORANGE, label="variance explained alone")
    ax.set_yticks(rows, [axis_label(axis) for axis in shown["axis"]])
    ax.set_xlabel("share")
    ax.legend(loc="lower right")
    ax.grid(visible=False, axis="y")
    return figure


def interactions(pivots: Mapping[tuple[str, str], pd.DataFrame], strengths: Mapping[tuple[str, str], float]) -> Figure:
    """Heatmaps of mean loss over pairs of axes, strongest interaction first (at most six)."""
    pairs = sorted(pivots, key=lambda pair: -np.nan_to_num(strengths.get(pair, 0.0)))[:6]
    columns = max(1, min(3, len(pairs)))
    rows = max(1, -(-len(pairs) // columns))
    figure = figure_of(4.5 * columns, 3.4 * rows)
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for ax, pair in zip(panels, pairs, strict=False):
        heat(ax, pivots[pair])
        strength = strengths.get(pair, float("nan"))
        ax.set_title(f"{100 * strength:.1f} % of the variance" if np.isfinite(strength) else "mean loss")
    for ax in panels[len(pairs) :]:
        ax.set_axis_off()
    if not pairs:
        write_note(panels[0], "Fewer than two axes were varied.")
    return figure


def cost_quality(runs: pd.DataFrame, fronts: Mapping[str, np.ndarray], metric: str) -> Figure:
    """Loss against each cost (fit_seconds, parameters); `fronts` marks the Pareto set of each."""
    names = {"fit_seconds": "seconds of training (log)", "parameters": "parameters of the network (log)"}
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
        ax.set_xlabel(names.get(cost, cost))
        ax.set_ylabel(axis_label(metric))
        ax.margins(y=0.12)
        ax.legend(loc="upper right")
    return figure


def parallel_coordinates(runs: pd.DataFrame, axes: tuple[str, ...], metric: str) -> Figure:
    """Each run as a line through its settings to its loss; the best tenth stands out."""
    columns = [*axes, metric]
    figure = figure_of(max(7.0, 1.7 * len(columns)), 4.6)
    ax = figure.subplots()
    ax.set_title("Every run, the best tenth in orange")
    places = np.zeros((len(runs), len(columns)))
    for k, column in enumerate(columns):
        if column == metric:
            low, high = runs[metric].min(), runs[metric].max()
            places[:, k] = (runs[metric] - low) / (high - low) if high > low else 0.5
            marks = [(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")] if high > low else [(0.5, f"{low:.4g}")]
        else:
            values = sorted(runs[column].unique())
            spread = np.linspace(0, 1, len(values)) if len(values) > 1 else np.array([0.5])
            places[:, k] = runs[column].map(dict(zip(values, spread, strict=True)))
            marks = [(float(at), setting_label(value)) for at, value in zip(spread, values, strict=True)]
        ax.axvline(k, color=GREY, linewidth=1)
        for at, text in marks:
            ax.annotate(text, (k, at), textcoords="offset points", xytext=(5, 5), fontsize=9, fontweight="bold")
    # Lines that share a value would lie on each other: a fixed small spread keeps them apart.
    places[:, :-1] += np.random.default_rng(0).uniform(-0.02, 0.02, (len(runs), len(columns) - 1))
    top = runs[metric] <= runs[metric].quantile(0.1)
    for best in (False, True):
        for line in places[(top == best).to_numpy()]:
            ax.plot(range(len(columns)), line, color=ORANGE if best else BLUE, alpha=0.9 if best else 0.18, linewidth=1)
    ax.set_xticks(range(len(columns)), [axis_label(column) for column in columns])
    ax.set_yticks([])
    ax.grid(visible=False)
    ax.spines[["left", "bottom"]].set_visible(False)
    return figure
