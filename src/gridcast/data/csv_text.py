"""The text of a CSV file, whatever its dialect: encoding, compression, separator, and the columns in it."""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from gridcast.data.parse_fields import ROWS_PER_CHUNK
from gridcast.runtime.errors import DataError

MISSING_VALUES = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
OPENERS = {".gz": gzip.open, ".xz": lzma.open}


@dataclass(frozen=True)
class Header:
    """The names of the columns of a CSV file, and the separator between its fields."""

    names: list[str]
    separator: str


def read_text(path: str) -> tuple[str, str]:
    """Return the text of the file at `path`, with newlines as the only line ends, and the name of its encoding.

    Raises DataError.
    """
    opener: Any = OPENERS.get(Path(path).suffix, open)
    try:
        with cast("IO[bytes]", opener(path, "rb")) as file:
            raw = file.read()
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if b"\0" in raw[:4096]:
        raise DataError(f"{path}: holds binary data; give a CSV or Parquet file")
    try:
        text, encoding = raw.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        text, encoding = raw.decode("latin-1"), "Latin-1"
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding


def guess_separator(line: str) -> str:
    """Return the separator that occurs most often in the first `line` of a file."""
    return max(SEPARATORS, key=line.count)


def parse_header(text: str, path: str) -> Header:
    """Return the header of the file with this `text`. Raises DataError where the first line is blank."""
    line = text.split("\n", 1)[0]
    if not line.strip():
        raise DataError(f"{path}, line 1: blank; the first line must name the columns")
    separator = guess_separator(line)
    return Header([name.strip() for name in next(csv.reader([line], delimiter=separator))], separator)


def check_field_counts(text: str, header: Header, path: str) -> None:
    """Raise DataError for a line with more fields than the header: pandas would silently ignore the last ones."""
    # The expression finds candidates much faster than a CSV reader, which is needed only to respect quotes.
    separator, count = header.separator, len(header.names)
    if not re.search(rf"^(?:[^{separator}\n]*{separator}){{{count}}}", text, re.MULTILINE):
        return
    reader, line = csv.reader(io.StringIO(text, newline=""), delimiter=separator), 1
    for fields in reader:
        if any(fields[count:]):
            raise DataError(
                f"{path}, line {line}: {len(fields)} fields where the header has {count}; "
                f"quote fields that contain '{separator}'"
            )
        line = reader.line_num + 1


def read_columns(
    raw: bytes, header: Header, needed: Sequence[str], path: str, *, categories: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the `needed` columns of the CSV file with the content `raw` (UTF-8) as text.

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
            na_values=list(MISSING_VALUES),
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


def line_numbers(raw: bytes, rows: pd.DataFrame) -> np.ndarray:
    """Return the line (rows,) of the file on which each row starts; a quoted field may span several lines."""
    lines = np.arange(2, len(rows) + 2)
    if raw.count(b"\n") - (not raw.endswith(b"\n")) == len(rows) or b'"' not in raw:
        return lines
    quotes = np.array([line.count(b'"') for line in raw.rstrip(b"\n").split(b"\n")])
    # A line starts a row where all quotes before it are closed.
    starts = np.flatnonzero(np.concatenate([[True], np.cumsum(quotes)[:-1] % 2 == 0])) + 1
    return starts[1 : len(rows) + 1] if len(starts) > len(rows) else lines
