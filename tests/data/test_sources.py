"""From `data.source` to one tidy table."""

import sys

import pandas as pd
import pytest

from gridcast.data import build_panel, sources
from gridcast.data.parse_fields import LINE
from gridcast.data.table import ONLY_SERIES, SERIES, TARGET, TIME
from gridcast.runtime.errors import DataError
from small_experiments import experiment, sales


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(source, **data):
    return sources.load_table(experiment(source, data=data).data)


def refusal(source, **data):
    with pytest.raises(DataError) as caught:
        load(source, **data)
    return str(caught.value)


def dialect(year, separator, dates, decimal):
    rows = [
        separator.join([stamp.strftime(dates), product, f"{stamp.day_of_year + half:.1f}".replace(".", decimal)])
        for stamp in pd.date_range(f"{year}-01-01", f"{year}-12-31")
        for product, half in (("apple", 0.5), ("pear", 1.25))
    ]
    return "\n".join([separator.join(["date", "product", "quantity"]), *rows]) + "\n"


def test_a_yearly_set_in_several_dialects_becomes_one_panel_with_a_note_for_each_file(folder):
    (folder / "sales_2023.csv").write_text(dialect(2023, ";", "%d/%m/%Y", ","))
    (folder / "sales_2024.csv").write_text(dialect(2024, ",", "%Y-%m-%d", "."))
    (folder / "sales_2025.csv").write_text(dialect(2025, ",", "%Y-%m-%d", "."))
    table = load("sales_*.csv", calendar="regular")
    assert table.files == ("sales_2023.csv", "sales_2024.csv", "sales_2025.csv")
    assert table.notes == (
        "sales_2023.csv: 730 rows, UTF-8, semicolons, decimal comma, day-first dates",
        "sales_2024.csv: 732 rows, UTF-8, commas, ISO dates",
        "sales_2025.csv: 730 rows, UTF-8, commas, ISO dates",
    )
    found = build_panel.build_panel(table, experiment("sales_*.csv", data={"calendar": "regular"}))
    assert found.series == ("apple", "pear")
    assert found.times.tolist() == pd.date_range("2023-01-01", "2025-12-31").tolist()
    assert found.target[:, 0].tolist() == [1.5, 2.2]
    assert found.target[0].tolist() == (found.times.day_of_year + 0.5).tolist()


@pytest.mark.parametrize(("kept", "value"), [("first", 1.0), ("last", 3.0)])
def test_of_repeated_rows_the_first_or_the_last_counts_across_files_too(folder, kept, value):
    frame = sales(60)
    again = frame.iloc[[3, 3, 70]].assign(quantity=[2.0, 3.0, 9.0])
    frame.assign(quantity=1.0).to_csv("sales_1.csv", index=False)
    again.to_csv("sales_2.csv", index=False)
    table = load("sales_*.csv", repeated=kept)
    assert len(table.rows) == len(frame)
    note = (
        f"3 repeated rows left out (data.repeated: {kept}), of 2 stamps from 2023-01-05 00:00:00 to 2023-01-12 00:00:00"
    )
    assert table.notes[-1] == note
    row = table.rows[(table.rows[SERIES] == frame["product"][3]) & (table.rows[TIME] == frame["date"][3])]
    assert row[TARGET].tolist() == [value]
    assert table.location(int(row.index[0])) == ("sales_1.csv, line 5" if kept == "first" else "sales_2.csv, line 3")
    build_panel.build_panel(table, experiment("sales_*.csv"))
    assert "repeated" not in "".join(load("sales_1.csv", repeated=kept).notes)


def test_a_row_knows_its_file_and_line(folder):
    for year in (2023, 2024):
        (folder / f"sales_{year}.csv").write_text(dialect(year, ",", "%Y-%m-%d", "."))
    table = load("sales_*.csv")
    assert table.location(0) == "sales_2023.csv, line 2"
    assert table.location(730 + 5) == "sales_2024.csv, line 7"


def test_csv_and_parquet_files_of_one_glob_are_merged(folder):
    first, second = sales(20), sales(30).query("date > '2023-01-21'")
    first.to_csv(folder / "sales_1.csv", index=False)
    second.to_parquet(folder / "sales_2.parquet")
    table = load("sales_*")
    assert table.rows[TIME].nunique() == 30
    assert table.location(len(first)) == "sales_2.parquet, row 1"


def test_the_table_is_tidy_whatever_the_columns_are_called(folder):
    """Covariates may bear any name, those of the table's own columns among them."""
    names = {"time": 1.0, "target": 2.0, "series": 3.0, "line": 4.0, "file": 5.0}
    frame = pd.DataFrame({"date": ["2023-01-01"], "product": "apple", "quantity": 7.0} | names)
    frame.to_csv(folder / "sales.csv", index=False)
    row = load("sales.csv", past=list(names)).rows.iloc[0]
    assert {name: row[name] for name in names} == names
    assert (row[SERIES], row[TIME], row[TARGET], row[LINE]) == ("apple", pd.Timestamp("2023-01-01"), 7.0, 2)


def test_several_series_columns_make_a_composite_id(folder):
    sales(5).assign(shop=[1, 2] * 5).to_csv(folder / "sales.csv", index=False)
    assert load("sales.csv", series=["shop", "product"]).rows[SERIES].unique().tolist() == [
        "1/apple",
        "2/apple",
        "2/pear",
        "1/pear",
    ]


def test_a_table_without_a_series_column_is_one_series(folder):
    sales(5, ("apple",)).to_csv(folder / "sales.csv", index=False)
    assert load("sales.csv", series=[]).rows[SERIES].unique().tolist() == [ONLY_SERIES]


def test_select_cuts_time_at_both_bounds_and_keeps_the_named_series(folder):
    sales(20).to_csv(folder / "sales.csv", index=False)
    rows = load("sales.csv", select={"start": "2023-01-05", "end": "2023-01-08", "only": ["pear"]}).rows
    assert rows[TIME].dt.day.tolist() == [5, 6, 7, 8]
    assert rows[SERIES].unique().tolist() == ["pear"]


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ({"only": ["aple"]}, "data.select.only: no series 'aple' in sales.csv; did you mean 'apple'?"),
        ({"start": "soon"}, "data.select.start: 'soon' is not a date; write it as 2011-12-31"),
        ({"end": ""}, "data.select.end: '' is not a date; write it as 2011-12-31"),
        ({"end": "2022-01-01"}, "sales.csv: no rows are left after data.select end: 2022-01-01"),
    ],
)
def test_a_selection_of_missing_series_or_dates_is_refused(folder, select, message):
    sales(20).to_csv(folder / "sales.csv", index=False)
    assert refusal("sales.csv", select=select) == message


@pytest.mark.parametrize(
    ("source", "near"),
    [
        ("sale.csv", "; did you mean 'sales.csv'?"),
        ("online-retial", "; did you mean 'online-retail'?"),
        ("zzz/*.csv", ""),
    ],
)
def test_a_source_that_is_nowhere_is_refused_with_a_near_miss(folder, source, near):
    sales(5).to_csv(folder / "sales.csv", index=False)
    assert refusal(source) == (
        f"data.source: no file matches '{source}'{near} "
        "(a built-in set: online-retail, daily-stocks, met-mast; or a path or glob of CSV, Excel or Parquet files)"
    )


@pytest.mark.parametrize("value", ["inf", "-inf", "Infinity", "1e999"])
@pytest.mark.parametrize("column", ["quantity", "price"])
def test_an_infinite_value_is_refused_with_its_place(folder, column, value):
    frame = sales(20).astype({column: object})
    frame.loc[3, column] = value
    frame.to_csv(folder / "sales.csv", index=False)
    assert refusal("sales.csv", past=["price"]) == (
        f"sales.csv, line 5, column '{column}': infinite value; "
        "give a number, or leave the field empty for a missing one"
    )


def test_a_target_that_is_empty_everywhere_is_refused(folder):
    sales(20).assign(quantity=None).to_csv(folder / "sales.csv", index=False)
    assert refusal("sales.csv") == ("sales.csv, column 'quantity': empty in every row; fill it in, or name another")


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("2023-01-02", "2023-01-03", "2023-01-02 00:00", "2023-01-03 23:00"),
        ("2023-01-02 05:00", "2023-01-03 00:00", "2023-01-02 05:00", "2023-01-03 00:00"),
        ("2023-01-02T05", "2023-01-03T07", "2023-01-02 05:00", "2023-01-03 07:00"),
        ("2023-01-02T05:00+02:00", "2023-01-03T07:00Z", "2023-01-02 03:00", "2023-01-03 07:00"),
        ("2023-01", "2023-01", "2023-01-01 00:00", "2023-01-31 23:00"),
    ],
)
def test_a_date_is_its_whole_day_and_a_stamp_with_a_time_is_exact(folder, start, end, first, last):
    hours = pd.date_range("2022-12-30", "2023-02-03", freq="h", inclusive="left")
    pd.DataFrame({"date": hours, "quantity": 1.0}).to_csv(folder / "sales.csv", index=False)
    times = load("sales.csv", series=[], frequency="h", select={"start": start, "end": end}).rows[TIME]
    assert times.tolist() == pd.date_range(first, last, freq="h").tolist()


def test_ids_are_categories_in_the_order_of_their_text_over_all_files(folder):
    for number, ids in enumerate(([10, 2], [2, 1])):
        frame = pd.DataFrame({"date": ["2023-01-05", "2023-01-06"], "product": ids, "quantity": [1.0, 2.0]})
        frame.to_parquet(folder / f"sales_{number}.parquet")
    rows = load("sales_*.parquet").rows
    assert rows[SERIES].cat.categories.tolist() == ["1", "10", "2"]
    assert rows[SERIES].tolist() == ["10", "2", "2", "1"]


CATALOGUE = {"static_source": "products.csv", "static": ["kind", "colour"], "series": ["shop", "product"]}


@pytest.fixture
def catalogue(folder):
    def of(text, **data):
        (folder / "products.csv").write_text(text)
        sales(40).assign(shop=1).to_csv(folder / "sales.csv", index=False)
        return load("sales.csv", **CATALOGUE | data)

    return of


def test_another_file_may_bring_the_categories_of_series(catalogue):
    table = catalogue("product;colour;kind;shop\npear;green;fruit;1\napple;red;fruit;1\nfig;violet;fruit;1\n")
    found = build_panel.build_panel(table, experiment("sales.csv", data=CATALOGUE))
    assert found.series == ("1/apple", "1/pear")
    assert found.vocabularies == (("fruit",), ("green", "red"))
    assert found.static.tolist() == [[1, 2], [1, 1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "shop,product,kind,color\n",
            "products.csv, line 1: no column 'colour'; did you mean 'color'? "
            "(the file has: shop, product, kind, color)",
        ),
        (
            "shop,product,kind,colour\n1,apple,fruit,red\n1,paer,fruit,green\n",
            "products.csv: no line for 1 of 2 series, such as '1/pear'; did you mean '1/paer'? (add them, or leave "
            "them out with data.select.only)",
        ),
        (
            "shop,product,kind,colour\n1,apple,fruit,red\n\n1,apple,fruit,green\n",
            "products.csv, line 4: series '1/apple' is already in line 2; keep one",
        ),
        (
            "shop,product,kind,colour\n1,apple,,red\n",
            "products.csv, line 2, column 'kind': empty is not a name; fill it in",
        ),
    ],
)
def test_a_file_of_categories_with_faults_is_refused(catalogue, text, message):
    with pytest.raises(DataError) as caught:
        catalogue(text)
    assert str(caught.value) == message


def test_a_file_of_categories_that_is_not_there_is_refused(catalogue):
    with pytest.raises(
        DataError, match=r"^data.static_source: 'product.csv': no such file; did you mean 'products.csv'"
    ):
        catalogue("", static_source="product.csv")


def test_a_series_without_any_target_is_named_unless_another_file_has_values(folder):
    table = sales(12, ("apple", "pear", "plum"))
    empty = table.assign(quantity=table["quantity"].where(table["product"] == "apple"))
    empty.to_csv("a.csv", index=False)
    loaded = load("a.csv")
    assert loaded.notes[-1] == "warning: 2 series without any 'quantity' left out: pear, plum"
    assert loaded.left_out == ("pear", "plum")
    later = table[table["product"] == "pear"].assign(date="2024-01-01").head(1)
    later.to_csv("b.csv", index=False)
    assert load("?.csv").left_out == ("plum",)


def test_a_database_without_its_driver_is_refused_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    text = refusal("postgresql://anna:opensesame@localhost/shop", query="SELECT * FROM sales")
    assert text.endswith("; run: pip install 'gridcast[postgres]'")
    assert "opensesame" not in text
