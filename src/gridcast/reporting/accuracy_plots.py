"""Figures of forecasts against actual values on the test span. Each function draws numbers computed elsewhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gridcast.evaluation.metrics import CLOSENESS_CLASSES
from gridcast.reporting.plot_style import BLUE, GREEN, INK, LINE, ORANGE, RED, SKY, figure_of, shorten, write_note

MAX_SERIES_BARS = 40
"""Errors of more series are drawn as a histogram instead of a bar for each."""


def best_model_evaluation(test: pd.DataFrame, by_series: pd.DataFrame, target: str) -> Figure:
    """Draw forecast against actual for the best, median and worst series, residuals, and error by series.

    `test` is the winner's table of the test span, `by_series` its measures with the column series. The series are left
    out where each was forecast many steps ahead from one or two origins: fan charts show those.
    """
    with_mase = by_series.dropna(subset=["mase"]) if by_series["mase"].notna().any() else by_series
    ranked = with_mase.sort_values("mase")["series"].tolist()
    roles = {"best": ranked[0], "median": ranked[(len(ranked) - 1) // 2], "worst": ranked[-1]}
    # Reversed, so that of few series the only one is called the best.
    role_of = {name: role for role, name in reversed(roles.items())}
    next_step = test[test["step"] == 1]
    has_lines = test["step"].max() == 1 or next_step["series"].value_counts().max() > 2
    names = [name for name in ranked if name in role_of and has_lines]
    figure = figure_of(13.5, 3.0 + 2.2 * len(names))
    spec = figure.add_gridspec(len(names) + 1, 2, height_ratios=[1] * len(names) + [1.3])
    for row, name in enumerate(names):
        ax = figure.add_subplot(spec[row, :])
        rows = next_step[next_step["series"] == name]
        role = f", {role_of[name]} of {len(ranked)}" if len(ranked) > 1 else ""
        mase = by_series.loc[by_series["series"] == name, "mase"].iloc[0]
        ax.set_title(f"{shorten(name, 60)}{role}, MASE {mase:.2f}" if name != "all" else f"MASE {mase:.2f}")
        marker = "o" if len(rows) < 3 else None  # a line through one point is invisible
        ax.plot(rows["time"], rows["actual"], color=INK, linewidth=1.1, marker=marker, label="actual")
        ax.plot(
            rows["time"],
            rows["forecast"],
            color=ORANGE,
            linewidth=1.4,
            marker=marker,
            label="forecast, one step ahead",
        )
        ax.set_ylabel(target)
        if row == 0:
            ax.legend(loc="upper right", ncols=2)
    has_many = len(ranked) > 1
    _draw_residuals(figure.add_subplot(spec[-1, 0] if has_many else spec[-1, :]), test)
    if has_many:
        _draw_error_by_series(figure.add_subplot(spec[-1, 1]), by_series)
    return figure


def _draw_residuals(ax: Axes, test: pd.DataFrame) -> None:
    ax.set_title("Residuals (forecast - actual) in units of the naive error")
    residuals = ((test["forecast"] - test["actual"]) / test["scale"].where(test["scale"] > 0)).dropna()
    if not len(residuals):
        write_note(ax, "The naive error is zero: nothing to compare with.")
        return
    low, high = np.quantile(residuals, [0.005, 0.995])
    ax.hist(residuals.clip(low, high), bins=40, color=BLUE, alpha=0.7)
    ax.axvline(0, color=INK, linewidth=1)
    ax.axvline(residuals.mean(), color=ORANGE, linewidth=1.6, label=f"mean {residuals.mean():.2f}")
    ax.set_xlabel("naive errors (the outer 0.5 % on each side drawn at the edge)")
    ax.set_ylabel("forecasts")
    ax.legend()


def _draw_error_by_series(ax: Axes, by_series: pd.DataFrame) -> None:
    errors = by_series.dropna(subset=["mase"]).sort_values("mase")
    if len(errors) > MAX_SERIES_BARS:
        ax.set_title(f"Error of {len(errors)} series")
        ax.hist(errors["mase"], bins=40, color=BLUE, alpha=0.7)
        ax.set_xlabel("MASE")
        ax.set_ylabel("series")
        return
    ax.set_title("Error by series")
    colors = [BLUE if mase < 1 else RED for mase in errors["mase"]]
    ax.bar(range(len(errors)), errors["mase"], color=colors, alpha=0.8)
    ax.axhline(1, color=INK, linewidth=1, linestyle="--")
    names = [shorten(str(name), 12) for name in errors["series"]]
    ax.set_xticks(range(len(errors)), names, rotation=90 if len(errors) > 6 else 0)
    ax.set_ylabel("MASE (1: naive in training)")
    ax.grid(visible=False, axis="x")


def model_comparison(table: pd.DataFrame, winner: str) -> Figure:
    """Draw MASE and closeness shares of the winner and the baselines on the test span, best first; column name."""
    ranked = table.dropna(subset=["mase"]).sort_values("mase", ascending=False)
    height = 1.6 + 0.42 * len(ranked)
    figure = figure_of(13.5, height)
    left, right = figure.subplots(1, 2, sharey=True)
    rows = range(len(ranked))
    left.set_title("Error on unseen data (MASE, lower is better)")
    left.barh(rows, ranked["mase"], color=[ORANGE if name == winner else BLUE for name in ranked["name"]], alpha=0.85)
    for row, value in zip(rows, ranked["mase"], strict=True):
        left.text(value, row, f" {value:.3f}", va="center", fontsize=8)
    left.set_yticks(rows, [shorten(name) for name in ranked["name"]])
    left.margins(x=0.12)
    left.grid(visible=False, axis="y")
    right.set_title("How close the forecasts came (percent of all)")
    start = np.zeros(len(ranked))
    bands = ("95-105 %", "90-110 %", "80-120 %", "outside")
    for name, band, color in zip(CLOSENESS_CLASSES, bands, (GREEN, SKY, ORANGE, LINE), strict=True):
        share = ranked[f"share_{name.lower().replace(' ', '_')}"].to_numpy()
        right.barh(rows, share, left=start, color=color, label=f"{name.lower()} ({band})")
        start = start + share
    right.legend(loc="lower center", bbox_to_anchor=(0.5, -0.02 - 1.1 / height), ncols=2)
    right.grid(visible=False)
    return figure
