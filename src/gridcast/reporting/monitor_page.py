"""The page of the monitor, written to `reports/<name>/monitor.html`."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gridcast.data.written_folder import written_folder
from gridcast.monitoring.drift import BINS
from gridcast.monitoring.findings import MonitorFindings
from gridcast.reporting import html, plot_style
from gridcast.reporting.plot_style import BLUE, GREY, INK, RED

MAX_FEATURES_DRAWN = 24
"""Rows of the figure of drift, those with the highest PSI; the table has all of them."""
MAX_DECILE_PANELS = 8
SMOOTHING_STEPS = 7
"""Steps of the running mean through the live errors."""


def render_page(findings: MonitorFindings) -> str:
    """Return the findings as one self-contained HTML page."""
    return (
        html.template_environment()
        .get_template("monitor.html")
        .render(
            findings=findings,
            model=findings.model,
            errors=findings.errors.to_dict("records"),
            drift=_highest_psi_first(findings).to_dict("records"),
            movers=findings.movers.to_dict("records"),
            stuck=findings.stuck.to_dict("records"),
            challengers=findings.challengers.to_dict("records"),
            figures={
                name: html.inline_svg(name, html.to_svg(figure)) for name, figure in draw_figures(findings).items()
            },
            written=time.strftime("%Y-%m-%d %H:%M"),
        )
    )


def write_page(text: str, name: str, folder: Path) -> Path:
    """Write the page of the model `name` under `folder` atomically; return its path. Raises OSError, GridcastError."""
    with written_folder(folder / name, "monitor") as temporary:
        (temporary / html.MONITOR_FILE).write_text(text, encoding="utf-8")
    return folder / name / html.MONITOR_FILE


def draw_figures(findings: MonitorFindings) -> dict[str, Figure]:
    """Return the figures of the page by name."""
    with plot_style.plot_style():
        figures = {"errors": _draw_errors(findings)}
        if len(findings.drift):
            figures |= {"drift": _draw_drift(findings), "deciles": _draw_deciles(findings)}
    return figures


def _draw_errors(findings: MonitorFindings) -> Figure:
    """Draw the live error over time with that of the best naive forecast and that at promotion."""
    figure = plot_style.figure_of(13.5, 3.6)
    ax = figure.subplots()
    losses, champion = findings.losses, findings.champion
    is_short = len(losses) < 3 * SMOOTHING_STEPS
    best_naive = [row["name"] for row in findings.naive[:1]]
    for name, color in ((champion["name"], BLUE), *((naive, GREY) for naive in best_naive)):
        line = losses[name] if is_short else losses[name].rolling(SMOOTHING_STEPS, center=True, min_periods=1).mean()
        if color == BLUE and not is_short:
            ax.plot(losses.index, losses[name], color=color, linewidth=0.7, alpha=0.35)
        ax.plot(line.index, line, color=color, linewidth=1.8, marker="o" if is_short else "", label=name)
    ax.axhline(champion["mase_before"], color=INK, linewidth=1, linestyle=":", label="champion at promotion")
    limit = findings.limits.error * champion["mase_before"]
    label = f"limit of its mean ({findings.limits.error:g} times)"
    ax.axhline(limit, color=RED, linewidth=1, linestyle="--", label=label)
    ax.set(title="Error over time", ylabel="absolute error, in MASE", ylim=(0, None))
    ax.legend(ncols=4, loc="upper left", bbox_to_anchor=(0, -0.12))
    return figure


def _highest_psi_first(findings: MonitorFindings) -> pd.DataFrame:
    return findings.drift.sort_values("psi", ascending=False, kind="stable")


def _feature_labels(rows: pd.DataFrame) -> list[str]:
    return [
        f"{plot_style.shorten(feature, 24)}, {view}"
        for feature, view in zip(rows["feature"], rows["view"], strict=True)
    ]


def _draw_drift(findings: MonitorFindings) -> Figure:
    """Draw the PSI of each feature and view, and that of stretches of the training and validation spans."""
    rows = _highest_psi_first(findings).head(MAX_FEATURES_DRAWN)[::-1]
    figure = plot_style.figure_of(13.5, 1.5 + 0.34 * len(rows))
    ax = figure.subplots()
    places = np.arange(len(rows))
    usual_label = "95 % of stretches in the training and validation spans"
    ax.barh(places, rows["usual_psi"], color=GREY, alpha=0.3, height=0.78, label=usual_label)
    colors = [RED if drifted else BLUE for drifted in rows["drifted"]]
    ax.barh(places, rows["psi"], color=colors, height=0.36, label="new stretch (red: drifted)")
    ax.axvline(findings.limits.psi, color=INK, linewidth=1, linestyle="--", label=f"limit {findings.limits.psi:g}")
    ax.set_yticks(places, _feature_labels(rows))
    ax.grid(visible=False, axis="y")
    ax.set(title="Population stability index", xlabel="PSI", xlim=(0, None))
    figure.legend(ncols=3, loc="outside lower center")
    return figure


def _draw_deciles(findings: MonitorFindings) -> Figure:
    """Draw the share of new values of each feature in the deciles of training: without a change, a tenth in each."""
    rows = _highest_psi_first(findings).head(MAX_DECILE_PANELS)
    columns = min(4, len(rows))
    panel_rows = -(-len(rows) // columns)
    figure = plot_style.figure_of(3.4 * columns, 2.3 * panel_rows)
    panels = figure.subplots(panel_rows, columns, squeeze=False, sharey=True).ravel()
    for ax, label, deciles, drifted in zip(
        panels, _feature_labels(rows), rows["deciles"], rows["drifted"], strict=False
    ):
        ax.bar(np.arange(1, BINS + 1), 100 * deciles, color=RED if drifted else BLUE, alpha=0.8)
        ax.axhline(100 / BINS, color=INK, linewidth=1, linestyle=":")
        ax.set(title=label, xticks=[1, 5, 10])
    for ax in panels[len(rows) :]:
        ax.set_axis_off()
    panels[0].set_ylabel("% of the new values")
    figure.supxlabel("decile of training", fontsize=9)
    return figure
