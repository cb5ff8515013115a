"""Rows of a feed: read in the dialect of training, row by row, since one bad row must not stop the others."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from gridcast.data import csv_text, file_bytes, parse_fields, text_encoding
from gridcast.data.csv_text import SEPARATOR_SIGNS, Header, HeaderOptions
from gridcast.runtime import date_text, local_time, number_text
from gridcast.runtime.dialect import FORMER, UNKNOWN, Dialect
from gridcast.runtime.errors import DataError, suggest
from gridcast.runtime.preprocessing import Preprocessing


@dataclass(frozen=True)
class RowFormat:
    """How the rows of a feed are written: the `time` column, and what a model knows of the tables of its training.

    `dialect` is how those were written, `reading` the settings of their experiment about that. Stamps are counted in
    `time_zone` by steps of `frequency`, see `runtime.local_time`.
    """

    time: str
    dialect: Dialect = UNKNOWN
    reading: Mapping[str, Any] = field(default_factory=dict)
    time_zone: str = local_time.UTC
    frequency: str = "min"

    @classmethod
    def of_model(cls, preprocessing: Any) -> RowFormat:
        """Return the format of the tables that a detector was trained on."""
        carried = Preprocessing.adopt(preprocessing)
        return cls(carried.time, carried.dialect, carried.reading, carried.time_zone, carried.frequency)

    def find_header(self, raw: bytes, name: str) -> Header:
        """Return the header of the file `name` with the text `raw`. Raises DataError."""
        separator = SEPARATOR_SIGNS.get(str(self.reading.get("separator")))
        options = HeaderOptions(separator, int(self.reading.get("skip", 0)), settable=False)
        return csv_text.parse_header(raw, name, options, lambda names: self.time in names)


@dataclass(frozen=True)
class ParsedRows:
    """The rows of a feed: `rows` with a readable time, their other columns as text; `unreadable` counts the rest.

    `notes` say what is wrong with those.
    """

    rows: pd.DataFrame
    unreadable: int = 0
    notes: tuple[str, ...] = ()


def parse_rows(body: bytes, name: str, form: RowFormat) -> ParsedRows:
    """Return the rows of CSV or JSON text. Numbers in them are written with a decimal point, whatever their dialect."""
    nothing = pd.DataFrame({form.time: []})
    lines = 1
    try:
        content = file_bytes.decompressed(body, name)
        if file_bytes.kind_of_content(content, name) != "text":
            raise DataError("holds binary data; a feed has CSV files")
        raw, _ = text_encoding.to_utf8(content, name, form.reading.get("encoding"), settable=False)
        if not raw.strip():
            return ParsedRows(nothing)
        is_csv = raw.lstrip()[:1] not in (b"[", b"{")
        lines = max(1, sum(bool(line.strip()) for line in raw.splitlines()[1:])) if is_csv else 1
        rows, torn = _parse_csv(raw, name, form) if is_csv else (_parse_json(raw), 0)
        if len(rows) and form.time not in rows:
            names = [str(column) for column in rows.columns]
            raise DataError(f"no column '{form.time}'{suggest(form.time, names)} (there are: {', '.join(names[:20])})")
        if not len(rows):
            return ParsedRows(nothing, torn, (f"{torn} lines are incomplete",) if torn else ())
        return _with_times(rows, torn, form)
    except DataError as error:
        return ParsedRows(nothing, lines, (str(error).removeprefix(name).lstrip(", :"),))


def _with_times(rows: pd.DataFrame, torn: int, form: RowFormat) -> ParsedRows:
    """The rows whose time can be read."""
    notes = [f"{torn} lines have more or fewer fields than the header"] if torn else []
    texts = rows[form.time].astype("str").str.strip()
    is_header = (texts == form.time).to_numpy(bool, na_value=False)
    if is_header.any():
        notes.append(f"{is_header.sum()} lines that repeat the header are passed over")
        rows, texts = rows[~is_header].reset_index(drop=True), texts[~is_header].reset_index(drop=True)
    local, offsets = date_text.split_dates(
        texts, date_text.decide_order(texts, form.dialect.dates), form.dialect.time_unit
    )
    stamps = local_time.axis_times(local, offsets, time_zone=form.time_zone, frequency=form.frequency)
    times = pd.Series(stamps, index=rows.index)
    is_bad = times.isna()
    if is_bad.any():
        example = texts[is_bad].iloc[0]
        notes.append(f"{is_bad.sum()} rows have no time such as 2024-01-31T12:00:00, the first '{example}'")
    kept = rows.assign(**{form.time: times})[~is_bad].reset_index(drop=True)
    return ParsedRows(kept, torn + int(is_bad.sum()), tuple(notes))


def _parse_csv(raw: bytes, name: str, form: RowFormat) -> tuple[pd.DataFrame, int]:
    """Every line that has as many fields as the header, and the number of the others."""
    header = form.find_header(raw, name)
    text = raw[header.start :].decode()
    try:
        _, *lines = csv.reader(io.StringIO(text, newline=""), delimiter=header.separator)
    except csv.Error as error:
        raise DataError(f"not a CSV table: {error}") from None
    names = list(header.names)
    while names and not names[-1]:
        names.pop()
    if repeated := {column for column in names if names.count(column) > 1}:
        raise DataError(f"the column '{min(repeated)}' occurs twice")
    lines = [fields for fields in lines if any(text.strip() for text in fields)]
    # A separator at the end of a line makes an empty field.
    whole = [fields[: len(names)] for fields in lines if len(fields) >= len(names) and not any(fields[len(names) :])]
    rows = pd.DataFrame(whole, columns=names, dtype="str")
    return _with_decimal_points(rows, header.separator, form), len(lines) - len(whole)


def _with_decimal_points(rows: pd.DataFrame, separator: str, form: RowFormat) -> pd.DataFrame:
    """The rows with their numbers written with a decimal point. Raises DataError where two readings remain."""
    stated = form.reading.get("decimal")
    trained = form.dialect
    name = {sign: label for label, sign in SEPARATOR_SIGNS.items()}.get(separator, separator)
    if trained.separator not in (None, name) and trained.decimal != FORMER:
        trained = replace(trained, decimal=None)
    texts = {column: rows[column] for column in rows.columns if column != form.time}
    evidence = number_text.find_evidence(texts)
    try:
        decimal = number_text.decide_decimal(
            evidence, decimal=stated, thousands=form.reading.get("thousands"), trained=trained
        )
    except number_text.Undecided as undecided:
        raise parse_fields.undecided_error(undecided, settable=False) from None
    dialect = replace(trained, decimal=decimal, thousands=form.reading.get("thousands"))
    return rows.assign(**{column: _canonical(text, dialect) for column, text in texts.items()})


def _canonical(text: pd.Series, dialect: Dialect) -> pd.Series:
    """Numbers as Python writes them, words for a missing value as empty text; any other text as it is."""
    plain = text.str.strip()
    is_usual = plain.str.fullmatch(r"[-+]?\d*\.?\d*")
    if dialect.decimal != "comma" and is_usual.all() and not dialect.missing_numbers:
        return plain
    values, wrong = number_text.parse_numbers(plain, dialect)
    numbers = (
        values.map(lambda value: repr(float(value)).removesuffix(".0"), na_action="ignore").astype("str").fillna("")
    )
    numbers.iloc[wrong] = text.iloc[wrong]
    keep = is_usual & values.notna() & (dialect.decimal != "comma")
    return numbers.where(~keep.astype(bool), plain)


def _parse_json(raw: bytes) -> pd.DataFrame:
    try:
        content: Any = json.loads(raw)
        return pd.DataFrame(content["rows"] if isinstance(content, dict) else content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"not a list of rows in JSON: {type(error).__name__}: {error}") from None
