"""Cases rebuilt from public reports: each ends as its folder says it should.

Models are untrained here: what is read, refused and gone on with is decided before training. Cases about a store, a
server or a signal have tests of their own in this project, which the last table names.
"""

from __future__ import annotations

import io
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gridcast import cli, config
from gridcast.data import readers, sources
from gridcast.evaluation.forecast_results import forecast_baseline
from gridcast.models.baselines.dataset_task import baseline_task
from gridcast.runtime.errors import DataError, InputError
from gridcast.sweep.plan import make_plan
from untrained_models import answer, untrained_forecaster

CASES = Path(__file__).parents[2] / "shared" / "cases" / "forecast"

READ = {
    "09-region-NA": (180, [50.0, 53.27]),
    "12-sep-line": (60, [48.96, 54.53]),
    "13-header-newline": (60, [50.72, 53.3]),
    "18b-xlsx-named-csv-utf16": (60, [50.34, 54.86]),
    "20-years-int": (64, [52.83, 51.95]),
    "20c-years-int-parquet": (64, [48.87, 49.81]),
    "21-yyyymm": (60, [47.2, 51.5]),
    "21c-isoweeks": (120, [49.12, 51.72]),
    "21d-mon-yy": (60, [50.5, 56.3]),
    "22-parquet-decimal": (60, [51.72, 53.09]),
    "22b-parquet-bool": (60, [1.0, 0.0]),
    "22c-csv-bool": (60, [1.0, 0.0]),
    "23-space-ids": (120, [49.82, 50.51]),
    "26-brackets": (60, [49.96, 51.2]),
    "57-dayfirst-predict": (72, [47.49, 47.25]),
    "59-leading-zeros": (120, [55.34, 53.19]),
    "63b-ampm": (500, [46.61, 54.57]),
    "66-odd-columns": (60, [48.9, 54.58]),
    "93-slashed-one-offset": (200, [0.0, 1.0]),
    "48f-name": (60, [50.68, 52.58]),
    "55-repeated-predict": (60, [50.06, 53.0]),
    "56-top-predict": (240, [49.3, 52.7]),
    "95-total-series": (240, [50.0, 51.0]),
    "96-trailing-commas": (80, [50.0, 51.0]),
}
"""Rows and first values of the target."""
REFUSED = {
    "01-yf-multiindex": ["line 2", "lines 2 to 3 are further rows of the header, such as units, delete them"],
    "05-tsv-thousands": ["line 3", "'1,017' may be 1.017", "1017", "data.decimal"],
    "07-quoted-thousands": ["line 3", "1017", "data.decimal"],
    "08-currency": ["line 2", "'$980.50'", "write 980.50"],
    "11-mixed-encodings": ["line 62", "another encoding", "data.encoding"],
    "15-total-row": ["line 62", "'Total'", "such as a total or a remark, delete the line"],
    "16-dup-columns": ["'sales' occurs twice"],
    "17-wide-m5": ["data.wide"],
    "17b-wide-m5-1941": ["data.wide"],
    "18-xlsx": ["Excel workbook", "as CSV"],
    "19-unix-s": ["line 2", "data.time_unit: s"],
    "19b-unix-ms": ["line 2", "data.time_unit: ms"],
    "19c-unix-parquet": ["row 1", "data.time_unit: s"],
    "25-column-model": ["data.series: 'model'", "rename the column in data.csv", "'model_column'"],
    "32b-dst-naive-mar": ["2022-03-27 02:00", "data.time_zone: Europe/Berlin"],
    "41-negbin-returns": ["is -2 at 2021-02-20", "whole numbers", "likelihood: student-t"],
    "44a-axis": ["grid.learning_rate[0]: must be greater than 0"],
    "44b-axis": ["grid.dropout[1]: must be less than 1"],
    "44c-axis": ["grid.units[0]: must be greater than or equal to 1"],
    "44d-axis": ["grid.lookback[0]: must be greater than or equal to 1"],
    "44e-axis": ["grid.batch_size[0]: must be greater than or equal to 1"],
    "44f-axis": ["grid.dropout", "did you mean 'dropout'?"],
    "46-horizon": ["34 needed", "a shorter window or another split"],
    "46b-one-row": ["6 needed"],
    "47-million": ["1,000,000 runs", "search: {strategy: random"],
    "48a-name": ["name: must be letters from A to Z, digits"],
    "48b-name": ["name: must be letters from A to Z, digits"],
    "48c-name": ["name: must be letters from A to Z, digits"],
    "48d-name": ["name: must have at most 200 characters"],
    "48e-name": ["name: must be letters from A to Z, digits"],
    "60-rossmann": ["line 2", "'StateHoliday'", "'a'"],
    "62-static-changes": ["'tier' changes within series 'A'"],
    "63-2digit-year": ["line 2", "two digits"],
    "65-quoted-newline": ["line 152", "'oops'"],
    "90-blank-flags": ["'promo'", "data.blanks"],
    "99-m-2020-02-30": ["line 2"],
    "9a-percent": ["line 2", "percent"],
    "9b-paren": ["line 7", "write -3.5"],
    "9c-dash": ["line 7", "data.missing: ['-']"],
}
"""What the refusal says."""
WARNED = {
    "39-large-level": "too little to be learned as they are; subtract a constant",
    "47b-million-random": "the grid has 1,000,000 runs; random searches 2 of them",
    "92-id-case": "look alike",
    "9d-sentinel": "data.missing: [-9999]",
}
HOUR, SESSION = pd.offsets.Hour(), pd.offsets.BusinessHour(start="09:30", end="16:30")
FOLLOWED = {
    "02-yf-ny-offset": (pd.offsets.BDay(), "2023-05-24"),
    "03-eu-offset-daily": (pd.offsets.Day(), "2022-07-22"),
    "03b-eu-offset-regular": (pd.offsets.Day(), "2022-07-22"),
    "04b-slashed-one-offset": (HOUR, "2022-06-09 06:00"),
    "20-years-int": (pd.offsets.YearBegin(), "2024-01-01"),
    "20c-years-int-parquet": (pd.offsets.YearBegin(), "2024-01-01"),
    "21-yyyymm": (pd.offsets.MonthBegin(), "2023-01-01"),
    "21c-isoweeks": (pd.offsets.Week(weekday=0), "2021-04-26"),
    "21d-mon-yy": (pd.offsets.MonthBegin(), "2023-01-01"),
    "28-last-business-day": (pd.offsets.BMonthEnd(), "2021-11-30"),
    "30-monthly-default-freq": (pd.offsets.MonthBegin(), "2021-07-01"),
    "31-intraday": (SESSION, "2023-04-26 09:30"),
    "33-month-end": (pd.offsets.MonthEnd(), "2020-02-29"),
    "34-fiscal-quarter": (pd.offsets.QuarterEnd(startingMonth=1), "2021-01-31"),
    "42-leading-nan": (pd.offsets.Day(), "2021-05-01"),
    "43-trailing-nan": (pd.offsets.Day(), "2021-04-22"),
    "57-dayfirst-predict": (pd.offsets.MonthBegin(), "2020-01-01"),
    "61-weekly-aggregate": (pd.offsets.Week(weekday=0), "2021-07-19"),
    "63b-ampm": (HOUR, "2021-01-21 20:00"),
    "64-business-observed": (pd.offsets.BDay(), "2020-05-14"),
    "93-slashed-one-offset": (HOUR, "2022-06-28 06:00"),
    "94-iso-offset-dst": (HOUR, "2022-11-02 06:00"),
}
"""The step of pandas, and the first stamp of forecasts from the table of training; other cases have steps of a day."""
MEASURED = ("38-minmax-range", "60b-rossmann")
IN_USE = ("37-log1p-returns", "40-mixed-panel", "58-future-missing", "71x-dialect-skew")
"""Cases with a test of their own below."""
TRAINED = ("27-html-ids", "45-units1", "53-long-ids-local", "76b-ascii-run")
"""Cases that are swept, in a slow test."""
ELSEWHERE = {
    "53b-7000-ids-local": "config/test_large_grid.py::test_a_grid_of_thousands_of_runs_is_warned_of",
    "70-experiment-deleted": "tracking/test_mlflow_runs.py::test_a_deleted_experiment_is_refused_with_a_remedy",
    "74-old-schema": "cli/test_doctor.py::test_a_store_of_an_older_mlflow_is_upgraded_after_a_backup",
    "75-auth-prefix": "cli/test_commands.py::test_no_command_prints_the_password_of_the_store",
    "77-ctrl-c": "test_end_to_end.py::test_ctrl_c_ends_with_130_and_keeps_what_is_finished",
}
"""The tests of the project that hold the kind."""
TABLES = (READ, REFUSED, WARNED, MEASURED, IN_USE, TRAINED, ELSEWHERE)

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"no folder {CASES}")


@pytest.fixture
def plan_of(monkeypatch):
    """Plans a case in its folder, with `changes` to its section `data`."""

    def of(name, **changes):
        monkeypatch.chdir(CASES / name)
        experiment = config.read("exp.yaml")
        data = experiment.data.model_copy(update=changes)
        return make_plan(experiment.model_copy(update={"data": data}), "", "jax")

    return of


def test_each_case_is_in_one_table():
    names = [name for table in TABLES for name in table] + [name for name in FOLLOWED if name not in READ]
    assert sorted(names) == sorted(folder.name for folder in CASES.iterdir() if folder.is_dir())


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_is_tested_elsewhere_has_its_test(name):
    path, _, test = ELSEWHERE[name].partition("::")
    assert re.search(rf"^def {test}\(", (Path(__file__).parent / path).read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", READ)
def test_a_table_is_read(monkeypatch, name):
    rows, values = READ[name]
    monkeypatch.chdir(CASES / name)
    table = sources.load_table(config.read("exp.yaml").data)
    assert len(table.rows) == rows
    assert table.rows["__target__"].tolist()[:2] == values


@pytest.mark.parametrize("name", {**READ, **FOLLOWED})
def test_the_table_that_trained_is_answered_with_the_stamps_that_follow(plan_of, name):
    plan = plan_of(name)
    step, first = FOLLOWED.get(name, (pd.offsets.Day(), None))
    table = answer(plan, plan.experiment.data.source)
    expected = pd.date_range(plan.panel.times[-1] + step, periods=plan.experiment.window.horizon, freq=step)
    assert first in (None, str(expected[0]).removesuffix(" 00:00:00").removesuffix(":00"))
    stamps = table[plan.experiment.data.time].tolist()
    assert stamps == expected.tolist() * len(plan.panel.series)
    assert table["forecast"].notna().all()
    if plan.experiment.data.series:
        assert set(table[plan.experiment.data.series[0]]) == set(plan.panel.series)


@pytest.mark.parametrize("name", REFUSED)
def test_a_case_is_refused_with_its_place_and_a_remedy_on_one_screen(plan_of, name):
    with pytest.raises(InputError) as refused:
        plan_of(name)
    message = str(refused.value)
    assert [part for part in REFUSED[name] if part not in message] == []
    assert len(message) < 600


@pytest.mark.parametrize("name", WARNED)
def test_what_is_doubtful_is_planned_with_a_warning(plan_of, name):
    notes = plan_of(name).panel.notes
    assert any(note.startswith("warning:") and WARNED[name] in note for note in notes)


@pytest.mark.parametrize("name", MEASURED)
def test_errors_are_those_that_a_person_computes(plan_of, name):
    """Those of the last value, over all windows of the test span; no value is clipped to the range of training."""
    plan = plan_of(name)
    dataset, panel = plan.dataset, plan.panel
    forecasts = forecast_baseline("last value", baseline_task(dataset, 4))
    measured = np.abs(forecasts.forecast - dataset.targets(forecasts.index)).mean()
    data, table = plan.experiment.data, pd.read_csv("data.csv").sort_values(plan.experiment.data.time)
    start, end = panel.spans["test"]
    errors = []
    for _, rows in table.groupby(list(data.series) or (lambda _: 0)):
        values = rows[data.target].to_numpy(float)
        errors += [abs(values[o + k] - values[o - 1]) for o in range(start, end - 1) for k in (0, 1)]
    assert measured == pytest.approx(np.mean(errors), rel=1e-6)
    assert (dataset.channels[0, :, 0].max() > 1) == (name == "38-minmax-range")


def test_a_value_below_the_logarithm_is_refused_in_use(plan_of):
    with pytest.raises(DataError, match="is '-3' at 2021-03-.*log1p needs values above -1"):
        answer(plan_of("37-log1p-returns"), "history.csv")


def test_short_and_ended_series_are_refused_or_left_out_and_named_in_the_answer(plan_of):
    with pytest.raises(DataError, match=r"'new3' is too short: .* write data.short: drop"):
        plan_of("40-mixed-panel")
    plan = plan_of("40-mixed-panel", short="drop")
    table = answer(plan, "data.csv").groupby("sku")
    assert plan.panel.series == ("const", "latenan", "normal", "zeros")
    assert {name: rows["forecast"].notna().all() for name, rows in table} == {
        name: name in plan.panel.series for name in ("const", "ended", "latenan", "new3", "normal", "zeros")
    }
    assert "data.short: drop" in table.get_group("new3")["problem"].iloc[0]


def test_a_future_column_must_be_known_ahead(plan_of):
    plan = plan_of("58-future-missing")
    with pytest.raises(DataError, match="column 'promo': .* has no value at 2021-03-22"):
        answer(plan, "data.csv")
    assert answer(plan, "ok.csv")["date"].astype(str).tolist() == ["2021-03-22", "2021-03-23"]


def test_an_id_that_lost_its_zeros_is_refused_with_the_way_to_keep_them(plan_of):
    model = untrained_forecaster(plan_of("59-leading-zeros"))
    with pytest.raises(DataError, match="'7' was not in the training data; '007' was: read the column as text"):
        model.predict(pd.read_csv("data.csv"))


def test_a_history_is_read_with_the_signs_of_training(monkeypatch):
    monkeypatch.chdir(CASES / "71x-dialect-skew")
    data = config.Data(source="train.csv", time="date", target="y")
    (trained,), dialect = readers.read_tables(["train.csv"], data)
    (history,), _ = readers.read_tables(["history.csv"], data, readers.ReadingOptions(dialect, settable=False))
    assert trained.rows["y"].tolist() == [12.5, 1234.0, 2050.0]
    assert history.rows["y"].tolist() == [1234.0, 2050.0]


def write_long_ids(folder):
    """The table of a case that is too large for its folder: ids of thousands of characters."""
    days = pd.date_range("2021-01-01", periods=60).astype(str)
    names = ["A" + "x" * 6000, "B/" + "é" * 300]
    tables = [pd.DataFrame({"date": days, "sku": name, "y": np.arange(60) % 7 + 50.0}) for name in names]
    pd.concat(tables).to_csv(folder / "data.csv", index=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_a_sweep_ends_well_and_its_model_answers(tmp_path, monkeypatch, capsys, name):
    folder = tmp_path / "case"
    shutil.copytree(CASES / name, folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if not (folder / "data.csv").exists():
        write_long_ids(folder)
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    if name == "76b-ascii-run":
        monkeypatch.setattr(sys, "stdout", ascii_only)
    for words in (["run", "exp.yaml", "--workers", "1"], ["predict", "exp.yaml", "data.csv", "-o", "forecast.csv"]):
        monkeypatch.setattr(sys, "argv", ["gridcast", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code, capsys.readouterr().err
    table, given = pd.read_csv("forecast.csv"), pd.read_csv("data.csv")
    assert table["forecast"].notna().all()
    assert set(table.get("sku", ())) == set(given.get("sku", ()))
    page = next(folder.glob("reports/*/report.html")).read_text()
    assert "<script>alert" not in page
    assert ("&lt;script&gt;alert" in page) == (name == "27-html-ids")
    if name == "76b-ascii-run":
        assert b"Gr??e" in ascii_only.buffer.getvalue()
