"""Names in figures: drawn as they are, without a word on the terminal."""

import warnings

import pytest
from matplotlib.figure import Figure

from gridcast.reporting import html, plot_style


@pytest.mark.parametrize("name", ["US$ and CA$", r"$\frac{$", "日本 Größe", "<b>&"])
def test_any_name_can_stand_in_a_figure(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with plot_style.plot_style():
            figure = Figure()
            axes = figure.subplots()
            axes.plot([1, 2], label=name)
            axes.set_title(name)
            axes.legend()
        svg = html.to_svg(figure)
    assert "<b>&" not in svg
    assert not axes.title.get_parse_math()
