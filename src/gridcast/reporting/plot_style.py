"""The look of all figures: colours, fonts, labels of metrics and settings.

The colours are those of Okabe and Ito, which colour-blind readers can distinguish. Text is drawn in `INK` and lines in
`LINE`, so that an HTML page can replace both by its own colours.
"""

from __future__ import annotations

import contextlib
import textwrap
import warnings
from collections.abc import Iterator

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gridcast.reporting import words

INK, LINE = "#1f2431", "#d3d8e0"
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#8c93a1",
)  # fmt: skip
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, YELLOW, GREY)
STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "svg.hashsalt": "gridcast",
    "text.parse_math": False,  # names of series and columns may have dollar signs
}
METRIC_LABELS = {
    "best_val_loss": "validation loss",
    "best_val_mae": "validation MAE",
    "best_val_wql": "validation WQL",
    "val_online_faults_missed": "faults missed",
    "val_online_varied_faults_missed": "varied faults missed",
    "val_online_false_alarms_per_day": "false alarms a day",
    "val_faults_missed": "faults missed in hindsight",
    "val_false_alarms_per_day": "false alarms a day in hindsight",
}


@contextlib.contextmanager
def plot_style() -> Iterator[None]:
    """Apply the style within a `with` block; figures drawn outside of it are not affected."""
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box stands for the character
        yield


def figure_of(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, with constrained layout."""
    return Figure(figsize=(width, height), layout="constrained")


def write_note(ax: Axes, text: str) -> None:
    """Write `text` in place of the plot of `ax`, such as why there is none."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, textwrap.fill(text, 34), ha="center", va="center", color=GREY, transform=ax.transAxes)


def axis_label(column: str) -> str:
    """Return the label of a metric or a setting."""
    is_measure = column.startswith(("val_", "minus_val_")) and column not in METRIC_LABELS
    return words.metric_name(column) if is_measure else METRIC_LABELS.get(column, column.replace("_", " "))


def setting_label(value: object) -> str:
    """Return the value of a setting as a figure shows it: yes and no, short numbers."""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)


def shorten(name: str, width: int = 34) -> str:
    """Return `name`, cut at the end where it is longer than `width`."""
    return name if len(name) <= width else name[: width - 1] + "…"
