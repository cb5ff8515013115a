"""A name that looks like a formula is text in a spreadsheet."""

import csv

import openpyxl
import pandas as pd
import pytest

from gridcast.cli.options import write_table

NAMES = ("=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "＝1", "=", "#N/A", "pear", "-5", "+1.5e3")
TABLE = pd.DataFrame({"=name": NAMES, "kind": pd.Categorical(NAMES), "mixed": [1.5, *NAMES[1:]], "value": 0.5})


def test_in_csv_an_apostrophe_stands_before_a_formula(tmp_path):
    write_table(TABLE, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    expected = [f"'{name}" for name in NAMES[:7]] + list(NAMES[7:])
    assert header == ["'=name", "kind", "mixed", "value"]
    assert [row[0] for row in rows] == [row[1] for row in rows] == expected
    assert [row[2] for row in rows] == ["1.5", *expected[1:]]
    assert TABLE["=name"].tolist() == list(NAMES)


def test_in_excel_no_cell_is_a_formula_and_names_are_unchanged(tmp_path):
    table = pd.concat([TABLE, pd.DataFrame({"=name": ["a\x01b"]})])
    write_table(table, tmp_path / "t.xlsx")
    cells = [cell for row in openpyxl.load_workbook(tmp_path / "t.xlsx").active.iter_rows() for cell in row]
    assert not {cell.data_type for cell in cells} & {"f", "e"}
    assert [cell.value for cell in cells if cell.column == 1] == ["=name", *NAMES, "a\ufffdb"]


@pytest.mark.parametrize("suffix", [".csv", ".xlsx", ".parquet"])
def test_other_tables_are_read_back_as_they_were(tmp_path, suffix):
    times = pd.date_range("2024-01-01", periods=2)
    table = pd.DataFrame({"time": times, "ok": [True, False], "name": ["a", None], "x": [1.5, float("nan")]})
    write_table(table, tmp_path / f"t{suffix}")
    if suffix == ".csv":
        back = pd.read_csv(tmp_path / "t.csv", parse_dates=["time"])
    else:
        back = (pd.read_excel if suffix == ".xlsx" else pd.read_parquet)(tmp_path / f"t{suffix}")
    pd.testing.assert_frame_equal(back, table, check_dtype=False)
