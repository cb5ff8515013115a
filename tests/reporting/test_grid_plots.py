"""Figures of a grid, judged by what is drawn: values, order, labels that do not overlap."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from gridcast.reporting import grid_plots, leaderboard, plot_style

METRIC = "best_val_loss"


def runs(units: list[int]) -> pd.DataFrame:
    random = np.random.default_rng(1)
    rows = []
    for layer, size, rate in itertools.product(["GRU", "LSTM"], units, [0.01, 0.001]):
        rows.append(
            {
                "name": f"{layer}-{size} b32 lr{rate:g} d0.1 attention",
                "run_id": f"run-{len(rows)}",
                "layer": layer,
                "units": size,
                "dropout": 0.1,
                "learning_rate": rate,
                "fit_seconds": float(size),
                "parameters": size**2,
                METRIC: (0.04 if layer == "LSTM" else 0.05) + 0.01 / size + random.normal(0, 1e-5),
            }
        )
    return pd.DataFrame(rows)


def drawn(figure: Figure) -> Figure:
    FigureCanvasAgg(figure).draw()
    return figure


def overlaps(ax: Axes) -> int:
    boxes = [label.get_window_extent() for label in ax.get_yticklabels() if label.get_text()]
    boxes.sort(key=lambda box: box.y0)
    return sum(lower.y1 > upper.y0 + 1 for lower, upper in itertools.pairwise(boxes))


@pytest.mark.parametrize("count", [2, 12])
def test_six_panels_with_labels_apart_for_two_values_and_for_twelve(count: int) -> None:
    frame = runs([8 * (k + 1) for k in range(count)])
    curves = pd.DataFrame({"epoch": [1, 2, 3], "loss": [0.2, 0.1, 0.05], "val_loss": [0.2, 0.08, 0.09]})
    with plot_style.plot_style():
        leaders = frame.sort_values(METRIC)
        axes = ("layer", "units", "learning_rate")
        figure = drawn(
            grid_plots.grid_search_analysis(
                frame, leaders, axes=axes, metric=METRIC, curves=curves, best_run_id=leaders["run_id"].iloc[0]
            )
        )
    assert len(figure.axes) == 6
    assert [overlaps(ax) for ax in figure.axes] == [0] * 6
    by_layer, by_axis, rate, top, _, training = figure.axes
    # The best median stands on top, which matplotlib counts last.
    assert [label.get_text() for label in by_layer.get_yticklabels()] == ["GRU", "LSTM"]
    assert len(by_axis.get_yticklabels()) == count + 2
    assert rate.get_xscale() == "log"
    assert top.get_yticklabels()[-1].get_text() == leaders["name"].iloc[0]
    assert [tuple(color) for color in top.collections[0].get_facecolors()].count(to_rgba(plot_style.ORANGE)) == 1
    assert training.get_legend_handles_labels()[1][-1] == "kept: epoch 2"


def test_a_panel_without_data_is_left_out() -> None:
    frame = runs([8])
    none = pd.DataFrame(columns=["epoch", "loss"])
    with plot_style.plot_style():
        figure = drawn(
            grid_plots.grid_search_analysis(frame, frame, axes=("layer",), metric=METRIC, curves=none, best_run_id="")
        )
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "By layer type, best median first",
        "The best 4 of 4 runs",
    ]
    assert not any(ax.texts for ax in figure.axes)


def test_the_pareto_line_joins_the_runs_that_nothing_beats() -> None:
    frame = runs([8, 16, 32])
    front = leaderboard.pareto_front(frame, "parameters", METRIC)
    with plot_style.plot_style():
        figure = drawn(grid_plots.cost_quality(frame, {"parameters": front}, METRIC))
    line = figure.axes[0].lines[0]
    assert list(line.get_xdata()) == sorted(frame.loc[front, "parameters"])
    assert list(line.get_ydata()) == sorted(frame.loc[front, METRIC], reverse=True)


def test_the_style_of_other_figures_is_not_changed() -> None:
    from matplotlib import rcParams

    before = dict(rcParams)
    with plot_style.plot_style():
        grid_plots.hyperparameter_importance(
            pd.DataFrame({"axis": ["units"], "fanova": [0.5], "variance_share": [0.4]})
        )
    assert dict(rcParams) == before
