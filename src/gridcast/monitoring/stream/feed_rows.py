"""Rows of a feed: read in the dialect of training, row by row, since one bad row must not stop the others."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gridcast.data import csv_text, file_bytes, parse_fields, prediction_files, text_encoding
from gridcast.data.csv_text import SEPARATOR_SIGNS, Header, HeaderOptions
from gridcast.runtime import date_text, local_time, number_text
from gridcast.runtime.dialect import FORMER, UNKNOWN, Dialect
from gridcast.runtime.errors import DataError, suggest
from gridcast.runtime.preprocessing import Preprocessing

BYTES_BEFORE = 2**16
WEB_PAGE_NOTE = "is a web page (HTML), not a table"


@dataclass(frozen=True)
class RowFormat:
    """How the rows of a feed are written: the `time` column, and what a model knows of the tables of its training.

    `dialect` is how those were written, `reading` the settings of their experiment about that. Stamps are counted in
    `time_zone` by steps of `frequency`, see `runtime.local_time`. Files that are no text are read for a model with
    `preprocessing`.
    """

    time: str
    dialect: Dialect = UNKNOWN
    reading: Mapping[str, Any] = field(default_factory=dict)
    time_zone: str = local_time.UTC
    frequency: str = "min"
    preprocessing: Preprocessing | None = None

    @classmethod
    def of_model(cls, preprocessing: Any) -> RowFormat:
        """Return the format of the tables that a detector was trained on."""
        carried = Preprocessing.adopt(preprocessing)
        return cls(carried.time, carried.dialect, carried.reading, carried.time_zone, carried.frequency, carried)

    def find_header(self, raw: bytes, name: str) -> Header:
        """Return the header of the file `name` with the text `raw`. Raises DataError."""
        separator = SEPARATOR_SIGNS.get(str(self.reading.get("separator")))
        options = HeaderOptions(separator, int(self.reading.get("skip", 0)), settable=False)
        return csv_text.parse_header(raw, name, options, lambda names: self.time in names)

    def is_header(self, fields: list[str]) -> bool:
        """Whether a line with these `fields` names columns: loggers write a header again when they restart."""
        return len(fields) > 1 and self.time in (text.strip() for text in fields)


@dataclass(frozen=True)
class ParsedRows:
    """The rows of a feed: `rows` with a readable time, their other columns as text; `unreadable` counts the rest.

    `notes` say what is wrong with those.
    """

    rows: pd.DataFrame
    unreadable: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _CsvRows:
    """The lines of CSV text that have as many fields as their header, the number of others, and notes."""

    rows: pd.DataFrame
    torn: int = 0
    notes: tuple[str, ...] = ()


def parse_rows(body: bytes, name: str, form: RowFormat, path: Path | None = None, before: bytes = b"") -> ParsedRows:
    """Return the rows of CSV or JSON text. Numbers in them are written with a decimal point, whatever their dialect.

    With the `path` of the file, it may be an Excel workbook or a Parquet file too. Where a few rows do not show how
    they are written, or which of two hours their stamps mean, the part of the file `before` them decides.
    """
    nothing = pd.DataFrame({form.time: []})
    lines = 1
    try:
        content = _unpacked(body, name)
        if file_bytes.kind_of_content(content, name) != "text":
            return _parse_typed(path, form)
        raw, _ = text_encoding.to_utf8(content, name, form.reading.get("encoding"), settable=False)
        if not raw.strip():
            return ParsedRows(nothing)
        if raw.lstrip()[:200].lower().startswith((b"<!doctype html", b"<html", b"<head", b"<?xml", b"<!--")):
            return ParsedRows(nothing, 1, (WEB_PAGE_NOTE,))
        is_csv = raw.lstrip()[:1] not in (b"[", b"{")
        lines = max(1, sum(bool(line.strip()) for line in raw.splitlines()[1:])) if is_csv else 1
        parsed = _parse_csv(raw, name, form) if is_csv else _CsvRows(_parse_json(raw))
        if len(parsed.rows) and form.time not in parsed.rows:
            names = [str(column) for column in parsed.rows.columns]
            raise DataError(f"no column '{form.time}'{suggest(form.time, names)} (there are: {', '.join(names[:20])})")
        if not len(parsed.rows):
            return ParsedRows(nothing, parsed.torn, parsed.notes if parsed.torn else ())
        earlier = _earlier_stamps(before, name, form) if is_csv else []
        return _pivoted(_with_times(parsed, form, earlier), form)
    except DataError as error:
        shown = _shown_format(before, name, form)
        if shown != form:
            return parse_rows(body, name, shown, path, before)
        problem = str(error).removeprefix(str(path)).removeprefix(name).lstrip(", :")
        return ParsedRows(nothing, lines, (problem,))


def _shown_format(text: bytes, name: str, form: RowFormat) -> RowFormat:
    """The `form` with the dialect that the `text` of a CSV file shows; as it is where that shows none."""
    try:
        raw, _ = text_encoding.to_utf8(text, name, form.reading.get("encoding"), settable=False)
        header = form.find_header(raw, name)
        rows = _parse_csv(raw, name, form, decided=False).rows
        order = date_text.decide_order(rows[form.time].astype("str").str.strip(), form.dialect.dates)
        decimal = _decide_decimal({str(column): rows[column] for column in rows if column != form.time}, header, form)
    except (DataError, KeyError):
        return form
    separator = _separator_name(header.separator)
    return replace(form, dialect=replace(form.dialect, dates=order, decimal=decimal, separator=separator))


def _unpacked(body: bytes, name: str) -> bytes:
    try:
        return file_bytes.decompressed(body, name)
    except file_bytes.UNPACKING_ERRORS as error:
        raise DataError(f"cannot be unpacked: {error}") from None


def _parse_typed(path: Path | None, form: RowFormat) -> ParsedRows:
    """The rows of a workbook or a Parquet file, read as those of training: as a whole, or not at all."""
    if path is None or form.preprocessing is None:
        raise DataError("holds binary data; a feed has CSV text")
    rows = prediction_files.read_sensor_table(path, form.preprocessing, partial=True)
    stamps = pd.DatetimeIndex(rows[form.time])
    naive = stamps if stamps.tz is None else stamps.tz_convert("UTC").tz_localize(None)
    return ParsedRows(rows.assign(**{form.time: naive}))


def _earlier_stamps(before: bytes, name: str, form: RowFormat) -> list[str]:
    """The last stamps of the part of a file `before` its new rows, for clocks that are put back."""
    if not before or form.time_zone in ("", local_time.UTC):
        return []
    try:
        raw, _ = text_encoding.to_utf8(before, name, form.reading.get("encoding"), settable=False)
        header = form.find_header(raw, name)
        begin = raw.find(b"\n", header.start) + 1
        tail = raw[begin:] if len(raw) - begin < BYTES_BEFORE else raw[-BYTES_BEFORE:].partition(b"\n")[2]
        rows = _parse_csv(raw[:begin] + tail, name, form, decided=False).rows
        return rows[form.time].astype("str").str.strip().tolist()
    except (DataError, KeyError):
        return []


def _with_times(parsed: _CsvRows, form: RowFormat, earlier: Sequence[str] = ()) -> ParsedRows:
    """The rows whose time can be read; the stamps of `earlier` rows say in which hour they are."""
    rows, notes, count = parsed.rows, [*parsed.notes], len(earlier)
    texts = pd.Series([*earlier, *rows[form.time].astype("str").str.strip()], dtype="str")
    order, unit = date_text.decide_order(texts, form.dialect.dates), form.dialect.time_unit
    local, offsets = date_text.split_dates(texts, order, unit)
    stamps = local_time.axis_times(local, offsets, time_zone=form.time_zone, frequency=form.frequency)
    is_bad = np.isnat(local)
    is_bad[:count] = False
    if is_bad.any():
        first = str(texts[is_bad].iloc[0])
        fault = date_text.fault_of(first, order, settable=False, unit=unit)
        notes.append(f"{is_bad.sum()} rows have no time that can be read, the first '{first}' {fault}")
    if found := local_time.find_fault(local, offsets, stamps, form.time_zone):
        faulty, problem, remedy = found
        faulty = faulty[faulty >= count]
        is_bad[faulty] = True
        if len(faulty):
            notes.append(f"the time of {len(faulty)} rows, the first '{texts.iloc[faulty[0]]}', {problem}; {remedy}")
    kept = rows.assign(**{form.time: stamps[count:]})[~is_bad[count:]].reset_index(drop=True)
    return ParsedRows(kept, parsed.torn + int(is_bad.sum()), tuple(notes))


def _pivoted(parsed: ParsedRows, form: RowFormat) -> ParsedRows:
    """A column for each sensor where training had a row for each reading, if these rows are written so."""
    pivot = form.reading.get("pivot")
    if not pivot or not {pivot["names"], pivot["values"]} <= set(parsed.rows.columns):
        return parsed
    is_last = form.preprocessing is not None and form.preprocessing.repeated == "last"
    keys = [form.time, pivot["names"]]
    kept = parsed.rows.drop_duplicates(keys, keep="last" if is_last else "first")
    wide = kept.pivot_table(
        index=form.time, columns=pivot["names"], values=pivot["values"], aggfunc="first", sort=False
    )
    wide.columns = [str(name).strip() for name in wide.columns]
    return replace(parsed, rows=wide.reset_index())


def _parse_csv(raw: bytes, name: str, form: RowFormat, *, decided: bool = True) -> _CsvRows:
    """The rows of CSV text; without `decided`, their numbers are as they are written."""
    header = form.find_header(raw, name)
    text = raw[header.start :].decode()
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=header.separator))[1:]
    except csv.Error as error:
        raise DataError(f"not a CSV table: {error}") from None
    names, again, further = _column_names(header.names), 0, []
    sections: list[pd.DataFrame] = []
    whole: list[list[str]] = []
    torn, first_torn = 0, ""
    for fields in [*lines, None]:
        is_header = fields is not None and form.is_header(fields)
        if fields is None or (is_header and _column_names(fields) != names):
            sections.append(pd.DataFrame(whole, columns=names, dtype="str"))
            if fields is not None:
                names, whole = _column_names(fields), []
                further.append(", ".join(names[:20]))
        elif is_header:
            again += 1
        elif len(fields) >= len(names) and not any(fields[len(names) :]):
            if any(text.strip() for text in fields):
                whole.append(fields[: len(names)])
        else:
            torn += any(text.strip() for text in fields)
            first_torn = first_torn or f"the first {len(fields)} where it has {len(names)}"
    notes = [f"{torn} lines have more or fewer fields than the header, {first_torn}"] if torn else []
    notes += [f"{again} lines that repeat the header are passed over"] if again else []
    notes += [f"the rows after a further header are read by it ({columns})" for columns in further]
    rows = sections[0] if len(sections) == 1 else pd.concat(sections, ignore_index=True).fillna("")
    return _CsvRows(_with_decimal_points(rows, header, form) if decided else rows, torn, tuple(notes))


def _column_names(fields: list[str]) -> list[str]:
    """The names in a header without the empty ones at its end, which separators at the end of lines make."""
    names = [text.strip() for text in fields]
    while names and not names[-1]:
        names.pop()
    if repeated := {column for column in names if names.count(column) > 1}:
        raise DataError(f"the column '{min(repeated)}' occurs twice")
    return names


def _with_decimal_points(rows: pd.DataFrame, header: Header, form: RowFormat) -> pd.DataFrame:
    """The rows with their numbers written with a decimal point. Raises DataError where two readings remain."""
    texts = {column: rows[column] for column in rows.columns if column != form.time}
    decimal = _decide_decimal(texts, header, form)
    dialect = replace(form.dialect, decimal=decimal, thousands=form.reading.get("thousands"))
    return rows.assign(**{column: _canonical(text, dialect) for column, text in texts.items()})


def _decide_decimal(texts: Mapping[str, pd.Series], header: Header, form: RowFormat) -> str | None:
    """The decimal sign of the columns of text. Raises DataError where two readings remain."""
    trained = form.dialect
    if trained.separator not in (None, _separator_name(header.separator)) and trained.decimal != FORMER:
        trained = replace(trained, decimal=None)
    stated, thousands = form.reading.get("decimal"), form.reading.get("thousands")
    try:
        evidence = number_text.find_evidence(texts)
        return number_text.decide_decimal(evidence, decimal=stated, thousands=thousands, trained=trained)
    except number_text.Undecided as undecided:
        raise parse_fields.undecided_error(undecided, settable=False) from None


def _separator_name(sign: str) -> str:
    return {sign: label for label, sign in SEPARATOR_SIGNS.items()}.get(sign, sign)


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
        try:
            content: Any = json.loads(raw)
        except json.JSONDecodeError:  # an object in each line
            content = [json.loads(line) for line in raw.splitlines() if line.strip()]
        return pd.DataFrame(content["rows"] if isinstance(content, dict) else content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"not a list of rows in JSON: {type(error).__name__}: {error}") from None
