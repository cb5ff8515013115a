"""Reading one CSV or Parquet file in whatever dialect it comes."""

import gzip
import lzma

import pandas as pd
import pytest

from gridcast.data import csv_text, parse_fields, readers
from gridcast.data.readers import ReadingOptions
from gridcast.runtime import dialect, number_text
from gridcast.runtime.errors import DataError
from small_experiments import experiment

HEADER = "date,product,quantity\n"


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads `content` as a file called sales.csv, or so."""
    monkeypatch.chdir(tmp_path)

    def of(content, name="sales.csv", **data):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        (table,), _ = readers.read_tables([name], experiment(name, data=data).data)
        return table.rows, table.note

    return of


@pytest.fixture
def refusal(read):
    """What the file is refused with."""

    def of(content, name="sales.csv", **data):
        with pytest.raises(DataError) as caught:
            read(content, name, **data)
        return str(caught.value)

    return of


def stamps(rows):
    return rows["date"].dt.strftime("%Y-%m-%d %H:%M:%S").tolist()


@pytest.mark.parametrize(("separator", "named"), [(",", "commas"), (";", "semicolons"), ("\t", "tabs")])
def test_the_header_shows_the_separator(read, separator, named):
    rows, note = read("date,product,quantity\n2023-01-05,apple,1.5\n2023-01-06,pear,-2\n".replace(",", separator))
    assert note == f"2 rows, UTF-8, {named}, ISO dates"
    assert rows["product"].tolist() == ["apple", "pear"]
    assert rows["quantity"].tolist() == [1.5, -2.0]
    assert stamps(rows) == ["2023-01-05 00:00:00", "2023-01-06 00:00:00"]
    assert rows[parse_fields.LINE].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("text", "value"), [("2,5", 2.5), ("-2,5", -2.5), ("1.234,5", 1234.5), ("1.234.567", 1234567), ("1,5e3", 1500)]
)
def test_decimal_comma(read, text, value):
    rows, note = read(f"date;product;quantity\n2023-01-05;apple;{text}\n2023-01-06;apple;0,5\n")
    assert rows["quantity"].tolist() == [value, 0.5]
    assert note == "2 rows, UTF-8, semicolons, decimal comma, ISO dates"


@pytest.mark.parametrize("text", ["1.23.456", "1,2,3", "1e,5"])
def test_what_is_no_number_with_a_decimal_comma_is_refused(refusal, text):
    message = refusal(f"date;product;quantity\n2023-01-05;apple;0,5\n2023-01-06;apple;{text}\n")
    assert message.startswith(f"sales.csv, line 3, column 'quantity': '{text}' is not a number")


@pytest.mark.parametrize("text", ["1.5", "1,234.5"])
def test_both_decimal_signs_in_one_table_are_refused(refusal, text):
    message = refusal(f"date;product;quantity\n2023-01-05;apple;0,5\n2023-01-06;apple;{text}\n")
    assert message == (
        f"sales.csv, line 2, column 'quantity': '0,5' has another decimal sign than '{text}' in line 3, column "
        "'quantity'; correct one of them, or write data.decimal: comma or point"
    )


def test_a_byte_order_mark_is_no_part_of_the_first_name(read):
    rows, note = read("\ufeff" + HEADER + "2023-01-05,café,1\n")
    assert rows["product"].tolist() == ["café"]
    assert note.startswith("1 rows, UTF-8,")


def test_windows_1252(read):
    rows, note = read((HEADER + "2023-01-05,café für 3 €,1\n").encode("windows-1252"))
    assert rows["product"].tolist() == ["café für 3 €"]
    assert note.startswith("1 rows, Windows-1252,")


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_other_systems(read, refusal, end):
    rows, _ = read((HEADER + "2023-01-05,apple,1\n2023-01-06,apple,2\n").replace("\n", end))
    assert rows["quantity"].tolist() == [1, 2]
    assert refusal((HEADER + "2023-01-05,apple,1\n2023-01-06,apple,x\n").replace("\n", end)).startswith(
        "sales.csv, line 3, column 'quantity': 'x' is not a number"
    )


def test_compressed_files(read):
    raw = (HEADER + "2023-01-05,apple,1\n").encode()
    for suffix, content in ((".gz", gzip.compress(raw)), (".xz", lzma.compress(raw))):
        assert read(content, "sales.csv" + suffix)[0]["quantity"].tolist() == [1]


@pytest.mark.parametrize("name", ["sales.csv.gz", "sales.csv.xz", "sales.parquet"])
def test_a_damaged_file_is_refused(refusal, name):
    assert refusal(b"\x1f\x8b\x08\x00broken and no more", name).startswith(f"{name}: ")


def test_binary_data_under_the_name_of_a_csv_file_is_refused(refusal):
    assert refusal(b"\x01\0\x07date") == "sales.csv: holds binary data; give a CSV, Excel (.xlsx) or Parquet file"


def test_spaces_around_names_and_numbers_do_not_count(read):
    rows, _ = read("date, product , quantity\n2023-01-05,apple, 1.5 \n")
    assert rows["quantity"].tolist() == [1.5]


@pytest.mark.parametrize(
    ("given", "found", "named"),
    [
        (["2023-01-05", "20230106"], ["2023-01-05 00:00:00", "2023-01-06 00:00:00"], "ISO"),
        (["2023/01/31", "2023/02/01"], ["2023-01-31 00:00:00", "2023-02-01 00:00:00"], "ISO"),
        (["2023-01-05 10:30", "2023-01-05T11:00:09"], ["2023-01-05 10:30:00", "2023-01-05 11:00:09"], "ISO"),
        (["2023-01-05T00:00+01:00", "2023-01-05T12:00Z"], ["2023-01-04 23:00:00", "2023-01-05 12:00:00"], "ISO"),
        (["31/01/2023", "02/01/2023"], ["2023-01-31 00:00:00", "2023-01-02 00:00:00"], "day-first"),
        (["31.1.2023", "2.1.2023"], ["2023-01-31 00:00:00", "2023-01-02 00:00:00"], "day-first"),
        (["31-01-2023 10:30", "02-01-2023 9:05:01"], ["2023-01-31 10:30:00", "2023-01-02 09:05:01"], "day-first"),
        (["02/01/2023", "01/31/2023"], ["2023-02-01 00:00:00", "2023-01-31 00:00:00"], "month-first"),
    ],
)
def test_the_dates_of_a_file_show_their_order(read, given, found, named):
    rows, note = read(HEADER + "".join(f"{date},apple,1\n" for date in given))
    assert stamps(rows) == found
    assert f", {named} dates" in note


def test_ambiguous_dates_are_refused_until_the_experiment_says_how_to_read_them(read, refusal):
    text = HEADER + "01/02/2023,apple,1\n02/03/2023,apple,1\n"
    assert refusal(text) == (
        "sales.csv, line 2, column 'date': '01/02/2023' may be 2023-02-01 or 2023-01-02: the dates of this table do "
        "not tell day from month; write data.dates: day-first or month-first"
    )
    assert stamps(read(text, dates="day-first")[0]) == ["2023-02-01 00:00:00", "2023-03-02 00:00:00"]
    assert stamps(read(text, dates="month-first")[0]) == ["2023-01-02 00:00:00", "2023-02-03 00:00:00"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "01/02/2023,apple,1\n",
            "sales.csv, line 2, column 'date': '01/02/2023' may be 2023-02-01 or 2023-01-02: the dates of this table "
            "do not tell day from month; write them as 2011-12-31",
        ),
        (
            "2023-02-30,apple,1\n",
            "sales.csv, line 2, column 'date': '2023-02-30' is not a date; this file's are read as iso, "
            "such as 2011-12-31: correct it",
        ),
    ],
)
def test_without_an_experiment_file_the_remedy_names_none_of_its_keys(tmp_path, monkeypatch, rows, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sales.csv").write_text(HEADER + rows)
    with pytest.raises(DataError) as caught:
        readers.read_tables(["sales.csv"], experiment("sales.csv").data, ReadingOptions(settable=False))
    assert str(caught.value) == message


def test_dates_in_both_orders_are_refused_at_the_rarer_one(refusal):
    assert refusal(HEADER + "31/01/2023,a,1\n30/01/2023,a,1\n01/29/2023,a,1\n") == (
        "sales.csv, line 4, column 'date': '01/29/2023' has day and month the other way round "
        "than the file's other dates; correct it"
    )


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        ("2023-01-05", "2023-13-01", "'2023-13-01' is not a date; this file's are read as iso, such as 2011-12-31"),
        ("2023-01-05", "soon", "'soon' is not a date; this file's are read as iso"),
        ("2023-01-05", "", "empty is not a date"),
        (
            "31/01/2023",
            "31/02/2023",
            "'31/02/2023' is not a date; this file's are read as day-first, such as 31/12/2011",
        ),
        ("01/31/2023", "2023-01-05", "'2023-01-05' is not a date; this file's are read as month-first"),
    ],
)
def test_an_unreadable_date_is_refused_with_its_line(refusal, good, bad, message):
    refused = refusal(HEADER + f"{good},apple,1\n{bad},apple,1\n")
    assert refused.startswith(f"sales.csv, line 3, column 'date': {message}")


@pytest.mark.parametrize("text", ["1x", "1_000", "True", "1.2.3", "-"])
def test_an_unreadable_number_is_refused_with_its_line(refusal, text):
    message = refusal(HEADER + f'2023-01-05,apple,1\n2023-01-06,apple,"{text}"\n')
    assert message.startswith(f"sales.csv, line 3, column 'quantity': '{text}' is not a number")
    assert "leave the field empty for a missing value" in message


def test_covariates_are_read_as_numbers_and_may_be_missing(read, refusal):
    text = "date,product,quantity,price\n2023-01-05,apple,1,0.5\n2023-01-06,apple,2,\n2023-01-07,apple,3,{}\n"
    rows, note = read(text.format("nan"), past=["price"], blanks="ffill")
    assert note.endswith("2 blanks of 'price' filled (blanks: ffill)")
    assert rows["price"].isna().tolist() == [False, True, True]
    assert refusal(text.format("free"), past=["price"]).startswith("sales.csv, line 4, column 'price': 'free' is not a")
    assert read(text.format("nan"), past=["price"], blanks="zero")[0]["price"].tolist() == [0.5, 0, 0]
    assert refusal(text.format("nan"), past=["price"]) == (
        "sales.csv, line 3, column 'price': empty is no value (2 such rows in all); fill it in, or say with "
        "data.blanks what it means: zero, or ffill for the value before"
    )


@pytest.mark.parametrize("missing", dialect.NO_READING)
def test_rows_without_a_target_are_left_out_with_a_note(read, missing):
    rows, note = read(HEADER + f"2023-01-05,apple,1\n2023-01-06,apple,{missing}\n2023-01-07,apple,3\n")
    assert rows[parse_fields.LINE].tolist() == [2, 4]
    assert note == "3 rows, UTF-8, commas, ISO dates, 1 rows without 'quantity' left out"


def test_a_row_without_a_series_is_refused(refusal):
    assert refusal(HEADER + "2023-01-05,,1\n") == (
        "sales.csv, line 2, column 'product': empty is not a name; fill it in, or delete the line"
    )


def test_ids_that_look_like_numbers_stay_text(read):
    assert read(HEADER + "2023-01-05,007,1\n")[0]["product"].tolist() == ["007"]


def test_a_quoted_field_may_hold_separators_and_line_ends_and_line_numbers_stay_right(read, refusal):
    text = 'date,product,quantity\n2023-01-05,"apple,\nred ""one""",1\n\n2023-01-06,pear,{}\n'
    rows, _ = read(text.format(2))
    assert rows["product"].tolist() == ['apple,\nred "one"', "pear"]
    assert rows[parse_fields.LINE].tolist() == [2, 5]
    assert refusal(text.format("x")).startswith("sales.csv, line 5, column 'quantity': 'x' is not a number")


def test_blank_lines_are_passed_over_and_counted(read, refusal):
    text = HEADER + "\n2023-01-05,apple,1\n\n\n2023-01-06,apple,{}\n\n"
    assert read(text.format(2))[0][parse_fields.LINE].tolist() == [3, 6]
    assert refusal(text.format("x")).startswith("sales.csv, line 6, column 'quantity'")


def test_a_quote_within_a_field_is_an_ordinary_sign(read):
    rows, _ = read(HEADER + '2023-01-05,5" pipe,1\n2023-01-06,apple,2\n')
    assert rows["product"].tolist() == ['5" pipe', "apple"]
    assert rows[parse_fields.LINE].tolist() == [2, 3]


@pytest.mark.parametrize("before", ["", '2023-01-04,"two\nlines",1\n'])
def test_too_many_fields_are_refused_with_their_line(refusal, before):
    message = refusal(HEADER + before + "2023-01-05,apple,1\n2023-01-06,apple,1,5\n")
    line = 3 + before.count("\n")
    assert message == f"sales.csv, line {line}: 4 fields where the header has 3; quote fields that contain ','"


def test_a_separator_at_the_end_of_a_line_is_no_further_field(read):
    assert read(HEADER + "2023-01-05,apple,1,\n")[0]["quantity"].tolist() == [1]


def test_too_few_fields_are_missing_values(read):
    assert read(HEADER + "2023-01-05,apple\n2023-01-06,apple,2\n")[0][parse_fields.LINE].tolist() == [3]


def test_an_open_quote_is_refused(refusal):
    assert refusal(HEADER + '2023-01-05,"apple,1\n').startswith("sales.csv: not a table: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "sales.csv: the file is empty; give one with a header and rows"),
        (" \n\n", "sales.csv: the file is empty; give one with a header and rows"),
        ("\n" + HEADER, "sales.csv, line 1: is no header; line 2 names the columns: write data.skip: 1"),
        ("\nsome,words\n", "sales.csv, line 1: blank; the first line must name the columns"),
        (HEADER, "sales.csv: no rows; the file holds a header and nothing else; add rows, or leave the file out"),
        (HEADER + "\n\n", "sales.csv: no rows; the file holds a header and nothing else; add rows, or leave the file"),
    ],
)
def test_a_file_without_rows_is_refused(refusal, text, message):
    assert refusal(text).startswith(message)


@pytest.mark.parametrize(
    ("data", "field", "column", "near"),
    [
        ({"time": "dat"}, "data.time", "dat", "; did you mean 'date'?"),
        ({"series": ["product", "shopp"]}, "data.series", "shopp", "; did you mean 'shop'?"),
        ({"target": "Quantity_"}, "data.target", "Quantity_", "; did you mean 'quantity'?"),
        ({"past": ["zzz"]}, "data.past", "zzz", ""),
        ({"future": ["day_of_week", "promo"]}, "data.future", "promo", ""),
        ({"static": ["shops"]}, "data.static", "shops", "; did you mean 'shop'?"),
    ],
)
def test_a_missing_column_is_refused_with_a_near_miss(refusal, data, field, column, near):
    message = refusal("date,product,quantity,shop\n2023-01-05,apple,1,x\n", **data)
    assert message == (
        f"sales.csv, line 1: no column '{column}' ({field}){near} (the file has: date, product, quantity, shop)"
    )


def test_a_column_that_stands_twice_is_refused_only_where_it_is_used(read, refusal):
    assert read("date,product,quantity,x,x\n2023-01-05,apple,1,2,3\n")[0]["quantity"].tolist() == [1]
    message = refusal("date,product,quantity,quantity\n2023-01-05,apple,1,2\n")
    assert message == (
        "sales.csv, line 1: the column 'quantity' occurs twice; rename one of them, and write a header of several "
        "lines as one line"
    )


@pytest.fixture
def parquet(tmp_path, read):
    """Reads the frame from a Parquet file."""

    def of(frame, **data):
        frame.to_parquet(tmp_path / "t.parquet")
        return read((tmp_path / "t.parquet").read_bytes(), "sales.parquet", **data)

    return of


def frame(**columns):
    return pd.DataFrame({"date": ["2023-01-05", "2023-01-06"], "product": "apple", "quantity": [1, 2]} | columns)


@pytest.mark.parametrize(
    "dates",
    [
        ["2023-01-05", "2023-01-06"],
        pd.to_datetime(["2023-01-05", "2023-01-06"]),
        pd.to_datetime(["2023-01-05", "2023-01-06"]).tz_localize("Europe/Kyiv"),
        ["05.01.2023", "06.01.2023"],
    ],
)
def test_parquet_files_bring_text_or_time_stamps(parquet, dates):
    rows, note = parquet(frame(date=dates), dates="day-first" if "05." in str(dates[0]) else "auto")
    assert stamps(rows) == ["2023-01-05 00:00:00", "2023-01-06 00:00:00"]
    assert rows["quantity"].tolist() == [1.0, 2.0]
    assert note == "2 rows, Parquet"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"quantity": ["1", "many"]}, "sales.parquet, row 2, column 'quantity': 'many' is not a number"),
        ({"product": ["apple", None]}, "sales.parquet, row 2, column 'product': empty is not a name"),
        ({"date": [pd.Timestamp("2023-01-05"), pd.NaT]}, "sales.parquet, row 2, column 'date': empty is not a name"),
        ({"date": ["2023-01-05", "soon"]}, "sales.parquet, row 2, column 'date': 'soon' is not a date"),
    ],
)
def test_faults_in_parquet_files_are_refused_with_their_row(parquet, columns, message):
    with pytest.raises(DataError) as caught:
        parquet(frame(**columns))
    assert str(caught.value).startswith(message)


def test_a_parquet_file_may_keep_its_stamps_in_the_index(parquet):
    rows, _ = parquet(frame().set_index("date"))
    assert stamps(rows) == ["2023-01-05 00:00:00", "2023-01-06 00:00:00"]


def test_many_rows_are_read_in_parts_as_they_would_be_at_once(read, refusal, monkeypatch):
    for module in (csv_text, number_text):
        monkeypatch.setattr(module, "ROWS_PER_CHUNK", 2)
    text = HEADER + "".join(f"2023-01-{day:02},apple,{day}{{}}\n" for day in range(5, 10))
    assert read(text.format("", ".5", "", "", ".25"))[0]["quantity"].tolist() == [5, 6.5, 7, 8, 9.25]
    assert refusal(text.format("", "", "", "", "x")).startswith("sales.csv, line 6, column 'quantity': '9x' is not a")


@pytest.mark.parametrize(
    ("top", "bottom", "line", "advice"),
    [
        ("Ticker,A,A\nDate,,\n", "", 2, "if lines 2 to 3 are further rows of the header, such as units, delete them"),
        ("units,,pieces\n", "", 2, "if it is a further row of the header, such as units, delete the line"),
        ("", "Total,,3000\n", 32, "if it is no row of data, such as a total or a remark, delete the line"),
    ],
)
def test_rows_of_headers_and_totals_are_named_and_the_table_is_read_without_them(read, top, bottom, line, advice):
    rows = "".join(f"2023-01-{day:02},a,{day}\n" for day in range(1, 31))
    with pytest.raises(DataError) as refused:
        read(f"date,product,quantity\n{top}{rows}{bottom}")
    assert str(refused.value).startswith(f"sales.csv, line {line}, column 'date'")
    assert str(refused.value).endswith(advice)
    assert len(read(f"date,product,quantity\n{rows}")[0]) == 30
