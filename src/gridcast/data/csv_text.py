"""The text of a CSV file, whatever its dialect: its header, the separator between its fields, and the columns in it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from gridcast.data import file_bytes, text_encoding
from gridcast.runtime.errors import DataError
from gridcast.runtime.number_text import ROWS_PER_CHUNK

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
SEPARATOR_SIGNS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
SEARCHED_LINES = 50
"""Lines in which the header is looked for where the first is none."""
HEADER_BYTES = 2**20


@dataclass(frozen=True)
class Header:
    """The names of the columns of a CSV file, and the separator between its fields.

    It begins on line `line` of the file, at the byte `start`.
    """

    names: list[str]
    separator: str
    line: int = 1
    start: int = 0


@dataclass(frozen=True)
class HeaderOptions:
    """Statements about the header of a file: the separator sign, and the lines to `skip` before it.

    `settable` says that there is an experiment file, so that a remedy may name its keys.
    """

    separator: str | None = None
    skip: int = 0
    settable: bool = True


def read_text(path: str, encoding: str | None = None, *, settable: bool = True) -> tuple[bytes, str]:
    """Return the text of the file at `path` in UTF-8, its line ends newlines only, and the name of its encoding.

    Raises DataError.
    """
    content = file_bytes.read_bytes(path)
    if file_bytes.kind_of_content(content, path) != "text":
        raise DataError(f"{path}: holds binary data; give a CSV file")
    return text_encoding.to_utf8(content, path, encoding, settable=settable)


def guess_separator(line: str) -> str:
    """Return the separator that occurs most often outside quotes in the first `line` of a file."""
    bare = re.sub(r'"[^"]*"', "", line)
    return max(SEPARATORS, key=bare.count)


def parse_header(
    raw: bytes, path: str, options: HeaderOptions, fits: Callable[[list[str]], bool] = lambda _: True
) -> Header:
    """Return the header of the file with the text `raw`.

    `fits` says whether names are those of the columns that are needed: it decides between separators, and whether a
    file has the stated lines before its header. Raises DataError where the header is blank, or stands further down.
    """
    head = raw[:HEADER_BYTES].decode("utf-8", "ignore")
    first = head.partition("\n")[0]
    offset, separator = 0, options.separator
    if match := re.fullmatch(r'"?sep=(.)"?[;,|\t]*', first, re.IGNORECASE):  # a line that Excel obeys, and hides
        offset, separator = 1, separator or match[1]
    tries = [offset + options.skip, *([offset] if options.skip else [])]
    headers = [header for line in tries if (header := _header_at(head, line, separator, fits)) is not None]
    for header in headers:
        if fits(header.names):
            return header
    further = next(
        (
            header
            for line in range(offset, SEARCHED_LINES)
            if (header := _header_at(head, line, separator, fits)) and len(header.names) > 1 and fits(header.names)
        ),
        None,
    )
    place = f"{path}, line {tries[0] + 1}"
    if further is not None:
        lines = further.line - 1 - offset
        remedy = f"write data.skip: {lines}" if options.settable else f"delete the {lines} lines above it"
        raise DataError(f"{place}: is no header; line {further.line} names the columns: {remedy}")
    if not headers:
        raise DataError(f"{place}: blank; the first line must name the columns")
    if holds_values(headers[0].names):
        raise DataError(
            f"{place}: holds values such as '{headers[0].names[0]}', not names; the first line must name the columns"
        )
    return headers[0]


def check_field_counts(raw: bytes, header: Header, path: str) -> None:
    """Raise DataError for a line with more fields than the header: pandas would silently ignore the last ones.

    `raw` begins with the header.
    """
    # The expression finds candidates much faster than a CSV reader, which is needed only to respect quotes.
    sign, count = re.escape(header.separator.encode()), len(header.names)
    if not re.search(rb"^(?:[^" + sign + rb"\n]*" + sign + rb"){%d}" % count, raw, re.MULTILINE):
        return
    reader, line = csv.reader(io.StringIO(raw.decode(), newline=""), delimiter=header.separator), 1
    for fields in reader:
        if any(fields[count:]):
            raise DataError(
                f"{path}, line {line + header.line - 1}: {len(fields)} fields where the header has {count}; "
                f"quote fields that contain '{header.separator}'"
            )
        line = reader.line_num + 1


def read_columns(
    raw: bytes, header: Header, needed: Sequence[str], path: str, *, categories: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the `needed` columns of the CSV file with the text `raw`, which begins with the header, as text.

    `categories` among them have few different values in many rows, and come as categories of text. Raises DataError.
    """
    # Columns that are not needed may share a name.
    names = [name if name in needed else f"__{position}__" for position, name in enumerate(header.names)]
    try:
        chunks = pd.read_csv(
            io.BytesIO(raw),  # in a StringIO every letter takes four bytes
            sep=header.separator,
            names=names,
            header=0,
            usecols=list(needed),
            index_col=False,
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            skip_blank_lines=False,
            chunksize=ROWS_PER_CHUNK,
        )
        return concat_rows([chunk.astype(dict.fromkeys(categories, "category")) for chunk in chunks], categories)
    except pd.errors.ParserError as error:
        raise DataError(f"{path}: not a table: {str(error).strip()}; look for a quote that is not closed") from None


def concat_rows(tables: list[pd.DataFrame], category_columns: Sequence[str]) -> pd.DataFrame:
    """Return the rows of all `tables`; `category_columns` get the categories of all, or pandas would make objects."""
    for column in category_columns:
        categories = union_categoricals([table[column] for table in tables], sort_categories=True).categories
        tables = [table.assign(**{column: table[column].cat.set_categories(categories)}) for table in tables]
    return pd.concat(tables, ignore_index=True)


def line_numbers(raw: bytes, rows: pd.DataFrame, first: int = 1) -> np.ndarray:
    """Return the line (rows,) of the file on which each row starts; a quoted field may span several lines.

    `raw` begins with the header, which stands on the line `first`.
    """
    lines = np.arange(first + 1, first + len(rows) + 1)
    if raw.count(b"\n") - (not raw.endswith(b"\n")) == len(rows) or b'"' not in raw:
        return lines
    quotes = np.array([line.count(b'"') for line in raw.rstrip(b"\n").split(b"\n")])
    # A line starts a row where all quotes before it are closed.
    starts = np.flatnonzero(np.concatenate([[True], np.cumsum(quotes)[:-1] % 2 == 0])) + first
    return starts[1 : len(rows) + 1] if len(starts) > len(rows) else lines


def _header_at(head: str, lines: int, separator: str | None, fits: Callable[[list[str]], bool]) -> Header | None:
    """The header in the line after the first `lines`; None if that line is blank or missing."""
    start = 0
    for _ in range(lines):
        end = head.find("\n", start)
        if end < 0:
            return None
        start = end + 1
    text = head[start:]
    line = text.partition("\n")[0]
    if not line.strip():
        return None
    if separator is not None:
        choices = [separator]
    else:
        guess = guess_separator(line)
        choices = [guess, *(sign for sign in SEPARATORS if sign != guess and sign in line)]
    headers = [Header(_names(text, sign), sign, lines + 1, len(head[:start].encode())) for sign in choices]
    return next((header for header in headers if fits(header.names)), headers[0])


def _names(text: str, separator: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader(io.StringIO(text, newline=""), delimiter=separator))]
    except csv.Error:
        return [name.strip() for name in text.partition("\n")[0].split(separator)]


def holds_values(names: list[str]) -> bool:
    """Whether most fields of a line are dates and numbers, so that it names no columns."""
    values = sum(bool(re.fullmatch(r"[-+]?[\d.,:/ T-]*\d[\d.,:/ TZ-]*", name)) for name in names)
    return len(names) > 1 and values * 2 > len(names) and not re.search(r"[^\W\d_]{2}", names[0])
