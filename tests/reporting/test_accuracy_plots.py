"""Figures of forecasts against actual values, judged by what is drawn."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from gridcast.reporting import accuracy_plots, plot_style


def test_the_comparison_puts_the_best_model_on_top_and_shares_add_up() -> None:
    shares = {"share_excellent": 10.0, "share_good": 20.0, "share_acceptable": 30.0, "share_needs_improvement": 40.0}
    table = pd.DataFrame(
        [{"name": name, "mase": mase, **shares} for name, mase in (("a", 0.9), ("b", 0.5), ("c", 0.7))]
    )
    with plot_style.plot_style():
        figure = accuracy_plots.model_comparison(table, "b")
        FigureCanvasAgg(figure).draw()
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["a", "c", "b"]
    assert [bar.get_width() for bar in left.patches] == [0.9, 0.7, 0.5]
    ends = [bar.get_x() + bar.get_width() for bar in right.patches]
    assert max(ends) == pytest.approx(100)
