"""The chapters on the forecasts themselves: numbers by hand, sentences, and what is drawn of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from gridcast.evaluation import forecast_table
from gridcast.reporting import forecast_chapters, forecast_plots, forecast_tables, plot_style, record, report, verdict
from made_up_sweep import EXPLAINED, sweep
from small_experiments import planned, sales

pytestmark = pytest.mark.xdist_group("report")
LEVELS = (0.1, 0.5, 0.9)
NOTES = [
    "sales.csv: 3 rows without a date dropped",
    "series a: without exhibition from 2020-03-02 to 2020-05-04",
    "warning: <b> is constant",
]
SEGMENTS = {"segment": {"a": "toys", "b": "toys", "c": "garden"}}


def steps(name: str, errors: list[float], scale: float = 1.0, series: str = "a") -> pd.DataFrame:
    """One window, its errors by step, all actual values 10."""
    table = pd.DataFrame({"series": series, "step": np.arange(1, len(errors) + 1), "actual": 10.0, "scale": scale})
    return table.assign(forecast=10.0 + np.array(errors), time=pd.Timestamp("2021-01-01"))


def test_error_by_step_is_the_mean_over_series_each_in_its_own_unit() -> None:
    table = pd.concat([steps("a", [1.0, 2.0], 1.0, "a"), steps("b", [2.0, 6.0], 4.0, "b")])
    found = forecast_tables.measures_by_step({"own": table})
    assert found["step"].tolist() == [1, 2]
    assert found["mae"].tolist() == [1.5, 4.0]
    assert found["mase"].tolist() == [0.75, 1.75]
    assert "wql" not in found


def test_quantiles_are_measured_step_by_step_at_the_winners_levels() -> None:
    own = steps("own", [0.0, 0.0]).assign(**{"q0.1": [9.0, 11.0], "q0.9": [12.0, 12.0]})
    found = forecast_tables.measures_by_step({"own": own, "point": steps("point", [1.0, 1.0])})
    assert found["coverage"].tolist()[:2] == [1.0, 0.0]
    assert found["width"].tolist()[:2] == [3.0, 1.0]
    # Level 0.1: 0.1 x 1 and 0.9 x 1; level 0.9: 0.1 x 2 both; twice their mean over 10.
    assert found["wql"].tolist()[:2] == pytest.approx([0.03, 0.11])
    assert found["wql"].isna().tolist() == [False, False, True, True]


def test_categories_gather_series_and_unknown_ones_stand_together() -> None:
    table = pd.concat([steps("own", [error], 1.0, series) for series, error in zip("abcd", [1, 3, 5, 7], strict=True)])
    found = forecast_tables.measures_by_category({"own": table}, {"a": "toys", "b": "toys", "c": "garden"}).set_index(
        "value"
    )
    assert found["mae"].to_dict() == {"garden": 5.0, "toys": 2.0, "unknown": 7.0}


@pytest.mark.parametrize(
    ("count", "ranks"), [(1, [1]), (6, [1, 2, 3, 4, 5, 6]), (7, [1, 2, 4, 5, 6, 7]), (20, [1, 2, 10, 11, 19, 20])]
)
def test_fans_show_the_best_the_typical_and_the_worst(count: int, ranks: list[int]) -> None:
    by_series = pd.DataFrame({"series": [f"s{k}" for k in range(count)], "mase": np.arange(count)[::-1].astype(float)})
    shown = forecast_plots.representative_series(by_series)
    assert [rank for _, rank in shown] == ranks
    assert shown[0][0] == f"s{count - 1}"


def test_a_fan_is_the_last_window_after_what_was_observed_before_it() -> None:
    times = pd.date_range("2021-01-01", periods=4)
    test = pd.DataFrame({"series": "a", "step": [1, 2] * 3, "time": times[[0, 1, 1, 2, 2, 3]], "scale": 1.0})
    test = test.assign(actual=[1.0, 2.0, 2.0, 3.0, 3.0, 4.0], forecast=0.0)
    recent = pd.DataFrame({"series": ["a", "b"], "time": pd.Timestamp("2020-12-31"), "actual": [0.0, 9.0]})
    (fan,) = forecast_plots.fan_chart_data(test, recent, pd.DataFrame({"series": ["a"], "mase": [1.0]}))
    assert fan.path["actual"].tolist() == [3.0, 4.0]
    assert fan.history["actual"].tolist() == [0.0, 1.0, 2.0]
    assert fan.role == ""


def test_what_was_observed_right_before_the_test_span_is_kept(tmp_path: Path) -> None:
    frame = sales(120)
    plan = planned(tmp_path, frame[frame.index != 100], data={"frequency": "D", "calendar": "regular", "gaps": "ffill"})
    found, start = forecast_table.recent_history(plan.panel, horizon=2), plan.panel.spans["test"][0]
    days = plan.panel.times[start - 30 : start]
    pear = found[found["series"] == "pear"]
    assert pear["time"].tolist() == days.tolist()
    assert pear["actual"].tolist() == plan.panel.target[1, start - 30 : start].tolist()
    # The day whose row is missing was filled, so never observed.
    assert set(days) - set(found.loc[found["series"] == "apple", "time"]) == {pd.Timestamp("2023-04-12")}


def test_nested_intervals_are_drawn_widest_first_and_named() -> None:
    times = pd.date_range("2021-01-01", periods=2)
    levels = {"q0.05": 1.0, "q0.25": 2.0, "q0.5": 3.0, "q0.75": 4.0, "q0.95": 5.0}
    path = pd.DataFrame({"time": times, "step": [1, 2], "actual": 3.0, "forecast": 9.0, **levels})
    fan = forecast_plots.FanChart("a", 1, 2, 0.5, path.iloc[:0][["time", "actual"]], path)
    with plot_style.plot_style():
        figure = forecast_plots.fan_charts([fan], "pieces")
        FigureCanvasAgg(figure).draw()
    (ax,) = figure.axes
    spans = [
        (band.get_paths()[0].vertices[:, 1].min(), band.get_paths()[0].vertices[:, 1].max()) for band in ax.collections
    ]
    assert spans == [(1.0, 5.0), (2.0, 4.0)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *("actual", "median"),
        *("90 % interval", "50 % interval"),
    ]
    assert ax.get_ylabel() == "pieces"
    median = next(line for line in ax.lines if line.get_label() == "median")
    assert list(median.get_ydata()) == [3.0, 3.0]


INTERVAL = {"name": "own", "nominal": 0.8, "low": 0.7, "high": 0.9}


@pytest.mark.parametrize(
    ("covered", "said"),
    [
        (0.78, "Its 80 % intervals cover 78 % of the actual values; correct intervals would cover 70 to 90 % here."),
        (0.6, "fewer than chance explains: they are too narrow."),
        (0.95, "more than chance explains: they are wide, or"),
    ],
)
def test_the_sentence_on_coverage_says_whether_chance_explains_it(covered: float, said: str) -> None:
    assert said in verdict.coverage_sentence(pd.DataFrame([{**INTERVAL, "coverage": covered}]), "own", 0.8)


def test_too_few_origins_judge_no_coverage() -> None:
    said = verdict.coverage_sentence(pd.DataFrame([{**INTERVAL, "low": 0.0, "high": 1.0, "coverage": 0.2}]), "own", 0.8)
    assert said == "Its 80 % intervals cover 20 % of the actual values: too few independent origins to judge that."


def test_the_sentence_on_quantile_loss_names_the_best_baseline_that_has_one() -> None:
    tested = pd.DataFrame({"name": ["own", "ETS"], "wql": [0.05, 0.0625], "crps": [np.nan] * 2})
    against = pd.DataFrame({"name": ["naive", "ETS"], "error": [0.08, 0.0625], "percent": [-38.0, -20.0]})
    against = against.assign(p_value=[0.001, 0.03], reason="")
    said = verdict.quantile_loss_sentence(tested, "own", against)
    assert said.endswith("of 0.05, 20 % below that of ETS (p 0.03), the best baseline that gives quantiles.")
    untested = against.assign(p_value=np.nan, reason="one origin")
    assert "that of ETS (not tested: one origin)" in verdict.quantile_loss_sentence(tested, "own", untested)
    assert "no baseline gives the same quantiles" in verdict.quantile_loss_sentence(tested, "own", against.iloc[:0])
    sampled = verdict.quantile_loss_sentence(tested.assign(crps=2.5), "own", against)
    assert "loss of 0.05 (and a CRPS of 2.5, from its sample paths, in data units), 20 %" in sampled


def test_the_sentence_on_closeness_adds_up_the_classes() -> None:
    shares = {"share_excellent": [27.8, 3.3], "share_good": [20.0, 10.0], "share_acceptable": [16.7, 12.2]}
    said = verdict.closeness_sentence(pd.DataFrame({"name": ["own", "Prophet"], **shares}), "own")
    assert "28 % of the winner's forecasts came within 5 % of the actual value, 48 % within 10 % and 64 %" in said
    assert said.endswith("36 % were further off (of the baselines, Prophet came closest: 26 % within 20 %).")


def test_the_sentences_on_inputs_say_what_mattered_and_what_did_not() -> None:
    permuted, attention = pd.DataFrame(EXPLAINED["permuted"]), pd.DataFrame(EXPLAINED["attention"])
    assert verdict.input_sentences(permuted, attention, repeats=5, relevant=0.01) == [
        "After shuffling the past of pieces among the windows the error is 42 % higher; after shuffling price 12 %.",
        "After shuffling month the error is not shown to be higher by 1 % or more.",
        "Of the past values, shuffling lag 1 alone costs most here: the error is 24 % higher (lag 1 is the step before "
        "the forecast).",
        "Attention is highest at lag 1 (50 %; uniform would be 14 %).",
    ]


def test_a_report_on_quantiles_has_every_chapter_and_its_sheets(tmp_path: Path) -> None:
    more = {"notes": NOTES, "categories": SEGMENTS}
    store = sweep(tmp_path, {"units": [8, 64]}, horizon=3, levels=LEVELS, more=more)
    path, findings = report.write_report(record.read_sweep(store, "made-up"), store, tmp_path / "reports")
    page, own = path.read_text(encoding="utf-8"), findings.chapters
    assert {f"{name}.png" for name in forecast_chapters.FORECAST_TITLES} <= {
        file.name for file in path.parent.iterdir()
    }
    # The made-up quantiles are right, so are their intervals; 38 origins of 3 series, 3 at a time overlap.
    held = own.intervals.iloc[0]
    assert held["low"] <= held["coverage"] <= held["high"]
    assert (own.windows, own.independent) == (114, pytest.approx(38 / 3))
    assert sum("weighted quantile loss" in text for text in findings.sentences) == 1
    assert sum(text.startswith("Its 80 % intervals cover") for text in findings.sentences) == 1
    expected = (
        "By segment: 2, worst first",
        "80 % coverage",
        "WQL",
        "Unusual runs of zeros",
        "shuffling lag 1 alone costs most",
    )
    for text in expected:
        assert text in page
    assert "Series a: without exhibition from" in page
    assert "sales.csv: 3 rows" in page
    assert "&lt;b&gt; is constant." in page
    book = openpyxl.load_workbook(path.with_name("leaderboard.xlsx"))
    assert {"intervals", "quantiles", "by step", "category segment", "inputs", "attention"} <= set(book.sheetnames)


def test_a_long_horizon_is_a_line_without_dots_and_a_short_one_has_them() -> None:
    def lines(steps: int) -> set[str]:
        frame = pd.DataFrame({"name": "own", "step": np.arange(1, steps + 1), "mase": 1.0})
        return {line.get_marker() for line in forecast_plots.error_by_step(frame, {"own": "black"}).axes[0].lines}

    assert lines(48) == {"none"}
    assert lines(12) == {"o"}
