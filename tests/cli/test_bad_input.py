"""Input that is wrong: exit code 2, a message with place and remedy, and nothing left behind."""

import sys

import numpy as np
import pandas as pd
import pytest
import warm_python

from gridcast import cli
from small_experiments import sales, write_experiment

FRAME = sales(60)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def gridcast(*arguments, monkeypatch, capsys):
    """Exit code, standard output and standard error of the command, called in this process."""
    monkeypatch.setattr(sys, "argv", ["gridcast", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code, *capsys.readouterr()


def started(*arguments, folder):
    """The same, as a process of its own."""
    command = [sys.executable, "-m", "gridcast.cli", *arguments]
    done = warm_python.run(command, cwd=folder)
    return done.returncode, done.stdout, done.stderr


def edited(row, column, value):
    """The frame with another value in one field, as text."""
    frame = FRAME.astype({column: object})
    frame.loc[row, column] = value
    return frame


def without(*days):
    return FRAME[~FRAME["date"].isin([sorted(FRAME["date"].unique())[day] for day in days])]


CASES = {
    "missing column": (
        FRAME.rename(columns={"quantity": "quantty"}),
        {},
        "sales.csv, line 1: no column 'quantity' (data.target); did you mean 'quantty'? "
        "(the file has: date, product, quantty, price)",
    ),
    "unparsable date": (
        edited(9, "date", "2023-02-30"),
        {},
        "sales.csv, line 11, column 'date': '2023-02-30' is not a date; this file's are read as iso, such as "
        "2011-12-31: correct it, or see data.dates",
    ),
    "unparsable number": (
        edited(9, "quantity", "a dozen"),
        {},
        "sales.csv, line 11, column 'quantity': 'a dozen' is not a number; correct it, or leave the field empty for a "
        "missing value, or write data.missing: ['a dozen'] if it always means that",
    ),
    "unparsable covariate": (
        edited(9, "price", "free"),
        {"data": {"past": ["price"]}},
        "sales.csv, line 11, column 'price': 'free' is not a number; write one in place of the word, such as 0 or 1, "
        "leave the field empty for a missing value, or write data.missing: ['free'] if it always means that",
    ),
    "duplicate series and time": (
        pd.concat([FRAME, FRAME.iloc[[9]]]),
        {},
        "sales.csv, line 122: series 'apple' at 2023-01-11 00:00:00 is already in sales.csv, line 11 (1 such rows in "
        "all); keep one row per series and time, say which one counts in data.repeated (first or last), or name every "
        "column that distinguishes series in data.series",
    ),
    "infinite value": (
        edited(9, "quantity", "inf"),
        {},
        "sales.csv, line 11, column 'quantity': infinite value; give a number, or leave the field empty for a missing "
        "one",
    ),
    "irregular steps": (
        edited(9, "date", "2023-01-11 07:00"),
        {"data": {"calendar": "regular"}},
        "sales.csv, line 11: 2023-01-11 07:00:00 is off the regular axis of frequency D that starts at 2023-01-02 "
        "00:00:00 (1 such stamps); correct it, or write data.calendar: observed, which takes every stamp for a step",
    ),
    "missing steps": (
        without(9),
        {"data": {"calendar": "regular", "gaps": "error"}},
        "sales.csv, line 10: after this line the row of series 'apple' for 2023-01-11 00:00:00 is missing (2 steps "
        "missing in all); add them, or say with data.gaps how to fill them (zero, ffill, interpolate), or write "
        "data.calendar: observed if there is no step then",
    ),
    "too short a series": (
        sales(20),
        {"window": {"lookback": 30}},
        "sales.csv: series 'apple' and 1 other series are too short: 16 observed steps in the train span of 16, 31 "
        "needed (lookback 30 + horizon 1); give a longer series, a shorter window or another split",
    ),
    "no file": (
        FRAME,
        {"data": {"source": "sale.csv"}},
        "data.source: no file matches 'sale.csv'; did you mean 'sales.csv'? (a built-in set: online-retail, "
        "daily-stocks, met-mast; or a path or glob of CSV, Excel or Parquet files)",
    ),
    "empty file": (FRAME.iloc[:0, :0], {}, "sales.csv: the file is empty; give one with a header and rows"),
    "header only": (
        FRAME.iloc[:0],
        {},
        "sales.csv: no rows; the file holds a header and nothing else; add rows, or leave the file out",
    ),
    "ambiguous dates": (
        FRAME[FRAME["date"].str.endswith(("-01", "-02"))].replace(
            {"date": r"(\d+)-(\d+)-(\d+)"}, r"\3/\2/\1", regex=True
        ),
        {},
        "sales.csv, line 2, column 'date': '02/01/2023' may be 2023-01-02 or 2023-02-01: the dates of this table do "
        "not tell day from month; write data.dates: day-first or month-first",
    ),
    "nothing but constant series": (
        FRAME.assign(quantity=3),
        {"data": {"constant": "drop"}},
        "data.constant: every series is constant over the training span (apple, pear); nothing is left",
    ),
    "an unknown country": (
        FRAME,
        {"data": {"future": ["day_of_week", "holidays:GBB"]}},
        "data.future: 'holidays:GBB': unknown country 'GBB'; did you mean 'GB'? (ISO 3166 codes, such as GB, DE, US, "
        "or GB-ENG for a part of a country)",
    ),
    "a name that resembles one made from the time stamp": (
        FRAME,
        {"data": {"future": ["holiday:GB"]}},
        "sales.csv, line 1: no column 'holiday:GB' (data.future); did you mean 'holidays:GB'? "
        "(the file has: date, product, quantity, price)",
    ),
    "an event file with a fault": (
        FRAME.assign(end=[*["" for _ in range(9)], "2022-01-01", *["" for _ in range(110)]]),
        {"data": {"future": ["events:sales.csv"]}},
        "sales.csv, line 11, column 'end': '2022-01-01' is before '2023-01-11'; let an event end on its date or later",
    ),
    "a fault in the experiment": (
        FRAME,
        {"grid": {"units": [4, "many"]}},
        "experiment.yaml: grid.units[1]: must be an integer (got 'many')",
    ),
}


def prepare(folder, case):
    """Both input files of a case, and what its refusal says."""
    frame, sections, message = CASES[case]
    frame.to_csv(folder / "sales.csv", index=False)
    write_experiment(folder / "experiment.yaml", "sales.csv", **sections)
    return f"error: {message}\n"


def left(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("case", CASES)
def test_run_refuses_and_leaves_nothing_behind(folder, case, monkeypatch, capsys):
    message = prepare(folder, case)
    assert gridcast("run", "experiment.yaml", monkeypatch=monkeypatch, capsys=capsys) == (2, "", message)
    assert left(folder) == ["experiment.yaml", "sales.csv"]


@pytest.mark.parametrize(
    ("verb", "case"), [("run", "missing steps"), ("run", "header only"), ("validate", "duplicate series and time")]
)
def test_the_command_itself_refuses_and_leaves_nothing_behind(folder, verb, case):
    message = prepare(folder, case)
    assert started(verb, "experiment.yaml", folder=folder) == (2, "", message)
    assert left(folder) == ["experiment.yaml", "sales.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "elsewhere.yaml"], "elsewhere.yaml: no such experiment file"),
        (["run", "experiment.yam"], "experiment.yam: no such experiment file; did you mean 'experiment.yaml'?"),
        (["run", "experiment.yaml", "--backend", "torch"], "--backend: 'torch' is not allowed (allowed: jax, tensorfl"),
        (
            ["run", "experiment.yaml", "--workers", "0"],
            "Invalid value for '--workers': Input should be greater than or equal to 1",
        ),
        (["run", "experiment.yaml", "--workers", "many"], "Invalid value for '--workers': "),
        (["run", "experiment.yaml", "--wrokers", "2"], "No such option: --wrokers"),
        (["rnu", "experiment.yaml"], "No such command 'rnu'."),
        (["run"], "Missing argument 'experiment'."),
    ],
)
def test_a_wrong_command_line_is_refused_and_leaves_nothing_behind(folder, arguments, message, monkeypatch, capsys):
    FRAME.to_csv(folder / "sales.csv", index=False)
    write_experiment(folder / "experiment.yaml", "sales.csv")
    code, _, output = gridcast(*arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 2
    assert output.startswith(f"error: {message}")
    assert left(folder) == ["experiment.yaml", "sales.csv"]


@pytest.mark.parametrize(
    ("constant", "message", "series"),
    [
        (
            "keep",
            "warning: 1 series constant over the training span (pear): kept; data.constant: drop leaves them out",
            2,
        ),
        ("drop", "1 series constant over the training span (pear): dropped", 1),
    ],
)
def test_a_constant_target_is_reported_and_kept_or_dropped(folder, constant, message, series, monkeypatch, capsys):
    frame = FRAME.assign(quantity=np.where(FRAME["product"] == "pear", 3.0, FRAME["quantity"]))
    frame.to_csv(folder / "sales.csv", index=False)
    write_experiment(folder / "experiment.yaml", "sales.csv", data={"constant": constant})
    code, output, errors = gridcast("validate", "experiment.yaml", monkeypatch=monkeypatch, capsys=capsys)
    assert (code, errors) == (0, "")
    assert f"  {message}\n" in output
    assert output.endswith(f"experiment.yaml is valid: 1 run on {series} series.\n")
    assert left(folder) == ["experiment.yaml", "sales.csv"]


def test_validate_tells_the_spans_and_their_windows_and_writes_nothing(folder, monkeypatch, capsys):
    FRAME.to_csv(folder / "sales.csv", index=False)
    write_experiment(folder / "experiment.yaml", "sales.csv", grid={"units": [4, 8], "layer": ["GRU", "LSTM"]})
    assert gridcast("validate", "experiment.yaml", monkeypatch=monkeypatch, capsys=capsys) == (
        0,
        "small: sales.csv\n"
        "  sales.csv: 120 rows, UTF-8, commas, ISO dates\n"
        "  steps: one row a day (frequency D, inferred; calendar regular, inferred); after 2023-03-02 come "
        "2023-03-03 and 2023-03-04\n"
        "  2 series, 60 steps\n"
        "  train: 2023-01-02 to 2023-02-18, 82 windows\n"
        "  validation: 2023-02-19 to 2023-02-24, 12 windows\n"
        "  test: 2023-02-25 to 2023-03-02, 12 windows\n"
        "experiment.yaml is valid: 4 runs on 2 series.\n",
        "",
    )
    assert left(folder) == ["experiment.yaml", "sales.csv"]
