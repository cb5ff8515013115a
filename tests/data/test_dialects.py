"""Tables in any dialect: the values that were written, or a refusal, never other values."""

import gzip
import itertools
import lzma
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gridcast.data import prediction_files, readers, sources
from gridcast.monitoring.stream import feed_rows
from gridcast.runtime.dialect import Dialect
from gridcast.runtime.errors import DataError, InputError
from gridcast.serving.routes import csv_files
from small_experiments import experiment, planned, sales

SIGNS = {"point": ".", "comma": ",", "space": " ", "narrow space": "\u202f", "apostrophe": "'", "none": ""}
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
DATES = {
    "iso": "%Y-%m-%d",
    "day-first": "%d/%m/%Y",
    "month-first": "%m/%d/%Y",
    "points": "%d.%m.%Y",
    "compact": "%Y%m%d",
}


def number(value, decimals, decimal, group):
    whole, _, rest = f"{abs(value):.{decimals}f}".partition(".")
    grouped = f"{int(whole):,}".replace(",", SIGNS[group])
    return ("-" if value < 0 else "") + grouped + (SIGNS[decimal] + rest if rest else "")


@st.composite
def tables(draw):
    """A frame, and the bytes of a file that holds it in some dialect."""
    decimal = draw(st.sampled_from(["point", "comma"]))
    groups = [name for name in SIGNS if name != decimal]
    # A file with commas between fields is written where a point stands before decimals, or quotes its numbers.
    separator = draw(st.sampled_from([*SEPARATORS]))
    if separator == "comma" and decimal == "comma":
        groups.remove("point")
    group, decimals = draw(st.sampled_from(groups)), draw(st.integers(0, 4))
    form, count = draw(st.sampled_from([*DATES])), draw(st.integers(1, 12))
    start = pd.Timestamp(draw(st.dates(pd.Timestamp("1999-01-01").date(), pd.Timestamp("2040-01-01").date())))
    numbers = st.decimals(-10_000_000, 10_000_000, places=decimals)
    values = [[float(draw(numbers)) for _ in range(count)] for _ in range(2)]
    names = draw(
        st.lists(st.sampled_from(["NA", "café", "Größe 3 €", "a;b", "a,b", "null", "007"]), min_size=1, max_size=3)
    )
    dates = [start + pd.Timedelta(days=day) for day in range(count)]
    quoted = draw(st.booleans())
    sign, end = SEPARATORS[separator], draw(st.sampled_from(["\n", "\r\n"]))

    def field(text):
        return f'"{text}"' if quoted or any(other in text for other in ",;|\t\n") else text

    lines = [["date", "product", "quantity", "price"]]
    for row, date in enumerate(dates):
        cells = [number(column[row], decimals, decimal, group) for column in values]
        lines.append([date.strftime(DATES[form]), names[row % len(names)], *cells])
    text = end.join(sign.join(map(field, line)) for line in lines) + end
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "windows-1252"]))
    raw = text.encode(encoding, "replace")
    narrow_lost = encoding == "windows-1252" and group == "narrow space"
    frame = pd.DataFrame({"date": dates, "product": [names[row % len(names)] for row in range(count)]})
    return None if narrow_lost else (frame.assign(quantity=values[0], price=values[1]), raw)


def rows_of(path, data):
    """The rows of one table."""
    (table,), _ = readers.read_tables([str(path)], data)
    return table.rows


def check_round_trip(tmp_path, table):
    if table is None:
        return
    frame, raw = table
    path = tmp_path / "table.csv"
    path.write_bytes(raw)
    try:
        rows = rows_of(path, experiment(str(path), data={"past": ["price"]}).data)
    except InputError:
        return
    assert rows["date"].tolist() == frame["date"].tolist()
    assert rows["product"].astype(str).tolist() == frame["product"].tolist()
    np.testing.assert_allclose(rows[["quantity", "price"]], frame[["quantity", "price"]], rtol=1e-12)


QUICK = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=100, deadline=None, suppress_health_check=QUICK)
@given(table=tables())
def test_a_table_in_any_dialect_is_read_as_it_was_written_or_refused(tmp_path, table):
    check_round_trip(tmp_path, table)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, suppress_health_check=QUICK)
@given(table=tables())
def test_two_thousand_tables_in_any_dialect(tmp_path, table):
    check_round_trip(tmp_path, table)


@pytest.mark.parametrize(
    ("text", "settings_of_it", "value"),
    [
        ("date\tproduct\tquantity\n2023-01-05\ta\t1,017\n", {"decimal": "point"}, 1017),
        ("date\tproduct\tquantity\n2023-01-05\ta\t1,017\n", {"decimal": "comma"}, 1.017),
        ("date\tproduct\tquantity\n2023-01-05\ta\t1,017\n", {"thousands": ","}, 1017),
        ("date;product;quantity\n2023-01-05;a;1.017\n", {"thousands": "."}, 1017),
        ("date,product,quantity\n1609459200,a,3\n", {"time_unit": "s"}, 3),
        ("date,product,quantity\n44197.25,a,3\n", {"time_unit": "excel"}, 3),
        ("Station 7\n\ndate,product,quantity\n2023-01-05,a,3\n", {"skip": 2}, 3),
        ("date,product,quantity\n2023-01-05,a,?\n2023-01-06,a,3\n", {"missing": ["?"]}, 3),
        ("date,product,quantity\n2023-01-05,a,-9999\n2023-01-06,a,3\n", {"missing": [-9999]}, 3),
        ("date,product,quantity\n01/02/2023,a,3\n", {"dates": "day-first"}, 3),
    ],
)
def test_what_is_refused_is_read_with_the_setting_that_the_refusal_names(tmp_path, text, settings_of_it, value):
    path = tmp_path / "sales.csv"
    path.write_text(text)
    rows = rows_of(path, experiment(str(path), data=settings_of_it).data)
    assert rows["quantity"].tolist() == [value]
    if "missing" not in settings_of_it or settings_of_it["missing"] == ["?"]:
        name = next(iter(settings_of_it)).replace("thousands", "decimal")
        with pytest.raises(DataError, match=f"data.{name}"):
            rows_of(path, experiment(str(path)).data)


@pytest.mark.parametrize("first", ["9,14", "0,5", "12,5"])
def test_one_number_of_any_column_decides_for_the_table(tmp_path, first):
    path = tmp_path / "sales.csv"
    path.write_text(f"date;product;quantity;price\n2023-01-05;a;1.017;{first}\n2023-01-06;a;980;1,000\n")
    rows = rows_of(path, experiment(str(path), data={"past": ["price"]}).data)
    assert rows["quantity"].tolist() == [1017, 980]
    assert rows["price"].tolist() == [float(first.replace(",", ".")), 1]


def test_one_file_decides_for_all_of_a_table(tmp_path):
    (tmp_path / "1.csv").write_text("date;product;quantity\n01/02/2023;a;1.017\n")
    (tmp_path / "2.csv").write_text("date;product;quantity\n13/02/2023;a;2,5\n")
    table = sources.load_table(experiment(str(tmp_path / "*.csv")).data)
    assert table.rows["__target__"].tolist() == [1017, 2.5]
    assert table.rows["__time__"].tolist() == [pd.Timestamp("2023-02-01"), pd.Timestamp("2023-02-13")]
    assert (table.dialect.decimal, table.dialect.dates, table.dialect.separator) == ("comma", "day-first", "semicolon")


def packed(name, raw):
    return {"sales.csv.gz": gzip.compress, "sales.CSV.XZ": lzma.compress}.get(name, lambda content: content)(raw)


@pytest.mark.parametrize("name", ["sales.csv.gz", "sales.CSV.XZ", "SALES.CSV", "sales[1].csv", "sales.txt"])
def test_the_ending_of_a_name_does_not_matter(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(packed(name, b"date,product,quantity\n2023-01-05,a,3\n"))
    assert sources.load_table(experiment(str(path)).data).rows["__target__"].tolist() == [3]


def test_a_zip_with_one_file_is_read_and_one_with_two_is_refused(tmp_path):
    path = tmp_path / "sales.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "date,product,quantity\n2023-01-05,a,3\n")
    data = experiment(str(path)).data
    assert sources.load_table(data).rows["__target__"].tolist() == [3]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b.csv", "")
    with pytest.raises(DataError, match=r"holds 2 files \(a.csv, b.csv\)"):
        sources.load_table(data)


FRAME = pd.DataFrame(
    {"date": pd.date_range("2023-01-05", periods=3), "product": ["007", "NA", "x"], "quantity": [1.5, 1000.25, 3]}
)


def write_excel(path):
    FRAME.to_excel(path, index=False)


def write_database(path):
    import sqlalchemy

    FRAME.to_sql("sales", sqlalchemy.create_engine(f"sqlite:///{path}"), index=False)


@pytest.mark.parametrize(
    ("name", "write", "source", "data"),
    [
        ("t.xlsx", write_excel, "{}", {}),
        ("t.parquet", FRAME.to_parquet, "{}", {}),
        ("t.db", write_database, "sqlite:///{}", {"query": "SELECT * FROM sales"}),
        ("t.csv", lambda path: FRAME.to_csv(path, index=False), "file://{}", {}),
    ],
)
def test_every_source_brings_the_same_table(tmp_path, name, write, source, data):
    path = tmp_path / name
    write(path)
    table = sources.load_table(experiment(source.format(path), data=data).data)
    expected = sources.load_table(experiment("unused").data, frame=FRAME)
    columns = ["__series__", "__time__", "__target__"]
    assert table.rows[columns].astype(str).to_numpy().tolist() == expected.rows[columns].astype(str).to_numpy().tolist()
    assert expected.rows["__series__"].tolist() == ["007", "NA", "x"]


WIDE_HEADERS = {
    "es": ["ene-21", "feb-21", "mar-21", "abr-21"],
    "en": ["Jan 2021", "February 2021", "Mar. 2021", "April 2021"],
    "pt": ["janeiro/2021", "fev/21", "março 2021", "abr/21"],
    "iso": ["2021-01", "2021-02", "2021-03", "2021-04"],
    "digits": ["202101", "202102", "202103", "202104"],
    "excel": ["44197", "44228", "44256", "44287"],
}


@pytest.mark.parametrize("headers", WIDE_HEADERS.values(), ids=WIDE_HEADERS)
@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_columns_that_are_months_become_rows(tmp_path, headers, ending):
    wide = pd.DataFrame([["A", 1, 2.5, 3, 4], ["B", 5, 6, None, 8]], columns=["product", *headers])
    path = tmp_path / f"wide.{ending}"
    wide.to_csv(path, index=False) if ending == "csv" else wide.to_excel(path, index=False)
    table = sources.load_table(experiment(str(path), data={"wide": {"time": "columns"}, "time": "month"}).data)
    found = table.rows.pivot_table(index="__series__", columns="__time__", values="__target__", observed=False)
    assert found.columns.tolist() == list(pd.date_range("2021-01-01", periods=4, freq="MS"))
    np.testing.assert_array_equal(found.to_numpy(), [[1, 2.5, 3, 4], [5, 6, np.nan, 8]])


def test_numbered_columns_are_counted_from_a_start(tmp_path):
    path = tmp_path / "m5.csv"
    path.write_text("item,d_1,d_2,d_10\nA,1,2,10\n")
    wide = {"columns": "d_*", "start": "2011-01-29"}
    table = sources.load_table(experiment(str(path), data={"wide": wide, "series": "item", "frequency": "D"}).data)
    assert table.rows["__time__"].dt.strftime("%m-%d").tolist() == ["01-29", "01-30", "02-07"]


def test_columns_that_are_products_become_series(tmp_path):
    path = tmp_path / "products.csv"
    path.write_text("date,A,B,promo\n2023-01-05,1,2,0\n2023-01-06,3,,1\n")
    table = sources.load_table(experiment(str(path), data={"wide": {"time": "date"}, "future": ["promo"]}).data)
    assert table.rows[["__series__", "__target__", "promo"]].to_numpy().tolist() == [
        ["A", 1, 0],
        ["B", 2, 0],
        ["A", 3, 1],
    ]


def test_columns_that_may_be_days_or_years_are_refused(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text("product,Jan-01,Jan-02,Jan-03\nA,1,2,3\n")
    with pytest.raises(DataError, match="may be days of a month or a month of several years"):
        sources.load_table(experiment(str(path), data={"wide": {"time": "columns"}}).data)


USES = list(
    itertools.product(
        [("comma", "point"), ("semicolon", "comma"), ("tab", "comma"), ("pipe", "point"), ("comma", "comma")],
        ["iso", "day-first", "month-first", "points"],
        ["utf-8-sig", "utf-16"],
    )
)


def dialect_file(path, dialect, rows):
    (separator, decimal), dates, encoding = dialect
    sign = SEPARATORS[separator]
    lines = [sign.join(["date", "product", "quantity"])]
    for date, name, value in rows:
        text = number(value, 3, decimal, "none")
        lines.append(sign.join([date.strftime(DATES[dates]), name, f'"{text}"' if sign in text else text]))
    path.write_bytes("\r\n".join(lines).encode(encoding))


@pytest.fixture(scope="module")
def preprocessing(tmp_path_factory):
    """Of a model that is trained on a plain table."""
    frame = sales(40, ("NA",)).drop(columns="price")
    return planned(tmp_path_factory.mktemp("plain"), frame).dataset.preprocessing


@pytest.mark.parametrize("dialect", USES, ids=lambda dialect: "-".join([*dialect[0], *dialect[1:]]))
def test_a_history_that_shows_nothing_is_read_as_the_file_of_training(tmp_path, preprocessing, dialect):
    """The second file alone leaves two readings: 1,017 and the third of February."""
    training = [(pd.Timestamp("2023-01-13"), "NA", 0.5), (pd.Timestamp("2023-02-03"), "NA", 1.017)]
    dialect_file(tmp_path / "training.csv", dialect, training)
    dialect_file(tmp_path / "history.csv", dialect, training[1:])
    table = sources.load_table(experiment(str(tmp_path / "training.csv")).data)
    assert table.rows["__target__"].tolist() == [0.5, 1.017]
    carried = replace(preprocessing, dialect=Dialect.from_json(table.dialect.to_json()))
    content = (tmp_path / "history.csv").read_bytes()
    upload = csv_files.CsvFile(None, SimpleNamespace(preprocessing=carried), prediction_files.read_series_table)
    followed = feed_rows.parse_rows(content, "history.csv", feed_rows.RowFormat.of_model(carried)).rows
    predicted = prediction_files.read_series_table(tmp_path / "history.csv", carried)
    uploaded = upload._parse(content)
    for rows in (predicted, uploaded, followed):
        assert rows["quantity"].astype(float).tolist() == [1.017]
        assert rows["date"].tolist() == [pd.Timestamp("2023-02-03")]
    assert [*predicted["product"], *uploaded["product"]] == ["NA", "NA"]
