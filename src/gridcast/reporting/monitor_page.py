"""The page of the monitor: what it found, drawn and told, written to `reports/<name>/monitor.html`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gridcast.data.atomic_write import atomic_write
from gridcast.monitoring.drift import BINS
from gridcast.reporting import html, plot_style
from gridcast.reporting.plot_style import BLUE, GREY, INK, RED

if TYPE_CHECKING:
    from gridcast.monitoring.findings import MonitorFindings


MAX_FEATURES_DRAWN = 24
"""Features that the pictures show, the most unlike training first; the table has all."""
SMOOTHING_STEPS = 7
"""Steps of the running mean through the live errors."""


def draw_figures(findings: MonitorFindings) -> dict[str, Figure]:
    """The pictures of the page by name."""
    with plot_style.plot_style():
        figures = {"errors": _errors(findings)}
        if len(findings.drift):
            figures |= {"drift": _drift(findings), "deciles": _deciles(findings)}
    return figures


def render_page(findings: MonitorFindings) -> str:
    """The findings as one self-contained HTML page."""
    drift = findings.drift.sort_values("psi", ascending=False, kind="stable")
    return (
        html.template_environment()
        .get_template("monitor.html")
        .render(
            found=findings,
            model=findings.model,
            errors=findings.errors.to_dict("records"),
            drift=drift.to_dict("records"),
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
    """Write the page of the model `name` under `folder`, whole or not at all; returns its path. Raises OSError."""
    path = folder / name / html.MONITOR_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _errors(findings: MonitorFindings) -> Figure:
    """The live error over time beside that of the best naive forecast and that at promotion."""
    figure = plot_style.figure_of(13.5, 3.6)
    ax = figure.subplots()
    losses = findings.losses
    champion, best = findings.own, findings.naive[:1]
    few = len(losses) < 3 * SMOOTHING_STEPS
    for name, color in ((champion["name"], BLUE), *((row["name"], GREY) for row in best)):
        line = losses[name] if few else losses[name].rolling(SMOOTHING_STEPS, center=True, min_periods=1).mean()
        if color == BLUE and not few:
            ax.plot(losses.index, losses[name], color=color, linewidth=0.7, alpha=0.35)
        ax.plot(line.index, line, color=color, linewidth=1.8, marker="o" if few else "", label=name)
    ax.axhline(champion["mase_before"], color=INK, linewidth=1, linestyle=":", label="champion at promotion")
    limit = findings.limits.error * champion["mase_before"]
    ax.axhline(
        limit, color=RED, linewidth=1, linestyle="--", label=f"limit of its mean ({findings.limits.error:g} times)"
    )
    ax.set(title="Error by time", ylabel="absolute error, in MASE", ylim=(0, None))
    ax.legend(ncols=4, loc="upper left", bbox_to_anchor=(0, -0.12))
    return figure


def _shown(findings: MonitorFindings) -> pd.DataFrame:
    return findings.drift.sort_values("psi", ascending=False, kind="stable").head(MAX_FEATURES_DRAWN)


def _names(shown: pd.DataFrame) -> list[str]:
    return [
        f"{plot_style.shorten(feature, 24)}, {view}"
        for feature, view in zip(shown["feature"], shown["view"], strict=True)
    ]


def _drift(findings: MonitorFindings) -> Figure:
    """PSI of each feature and view, with what known stretches of the same length have."""
    shown = _shown(findings)[::-1]
    figure = plot_style.figure_of(13.5, 1.5 + 0.34 * len(shown))
    ax = figure.subplots()
    at = np.arange(len(shown))
    ax.barh(at, shown["usual_psi"], color=GREY, alpha=0.3, height=0.78, label="19 of 20 known stretches lie within")
    colors = [RED if drifted else BLUE for drifted in shown["drifted"]]
    ax.barh(at, shown["psi"], color=colors, height=0.36, label="new stretch (red: drifted)")
    ax.axvline(findings.limits.psi, color=INK, linewidth=1, linestyle="--", label=f"limit {findings.limits.psi:g}")
    names = _names(shown)
    ax.set_yticks(at, names)
    ax.grid(visible=False, axis="y")
    ax.set(title="Population stability index", xlabel="PSI", xlim=(0, None))
    figure.legend(ncols=3, loc="outside lower center")
    return figure


def _deciles(findings: MonitorFindings) -> Figure:
    """Where the new values of each feature lie among those of training: a tenth in each decile is no change."""
    shown = _shown(findings).head(8)
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure = plot_style.figure_of(3.4 * columns, 2.3 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for ax, name, deciles, drifted in zip(panels, _names(shown), shown["deciles"], shown["drifted"], strict=False):
        ax.bar(np.arange(1, BINS + 1), 100 * deciles, color=RED if drifted else BLUE, alpha=0.8)
        ax.axhline(100 / BINS, color=INK, linewidth=1, linestyle=":")
        ax.set(title=name, xticks=[1, 5, 10])
    for ax in panels[len(shown) :]:
        ax.set_axis_off()
    panels[0].set_ylabel("% of the new values")
    figure.supxlabel("decile of training", fontsize=9)
    return figure
