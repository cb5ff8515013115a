"""Sheets of Excel workbooks (.xlsx)."""

from __future__ import annotations

import datetime as dt
import io
import warnings
import zipfile
from typing import Any

import numpy as np
import pandas as pd

from gridcast.data import file_bytes
from gridcast.runtime.errors import ConfigError, DataError, suggest

ROW = "__row__"
"""Column of the row of the sheet."""


def read_sheet(path: str, sheet: str | int | None, skip: int, *, settable: bool) -> tuple[pd.DataFrame, str]:
    """Return the cells of a sheet below its header, with ROW, and the name of the sheet.

    `sheet` is a name or a number, from 1 on; it may be left out where one sheet holds all. The header stands after
    `skip` rows. Raises DataError, and ConfigError for an unknown sheet.
    """
    import openpyxl

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about formats that do not matter here
            book = openpyxl.load_workbook(io.BytesIO(file_bytes.read_bytes(path)), read_only=True, data_only=True)
            title = _chosen_sheet(book, sheet, path, settable=settable)
            rows = [list(row) for row in book[title].iter_rows(values_only=True)]
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        reason = str(error).rstrip(".")
        raise DataError(
            f"{path}: not a whole Excel workbook ({reason}); open it in Excel and save it again as .xlsx, or as CSV"
        ) from None
    if len(rows) <= skip or not any(cell is not None for cell in rows[skip]):
        first = next((number for number, row in enumerate(rows) if any(cell is not None for cell in row)), None)
        if first is None or first <= skip:
            raise DataError(f"{path}, sheet '{title}': no header in row {skip + 1}; name the columns there")
        remedy = f"write data.skip: {first}" if settable else f"delete the {first} rows above it"
        raise DataError(
            f"{path}, sheet '{title}': row {skip + 1} is empty; row {first + 1} may be the header: {remedy}"
        )
    names = [_header_text(cell) for cell in rows[skip]]
    width = max((number for number, name in enumerate(names, start=1) if name), default=0)
    names = [name or f"__{number}__" for number, name in enumerate(names[:width])]
    cells = [row[:width] + [None] * (width - len(row)) for row in rows[skip + 1 :]]
    columns = {number: [row[number] for row in cells] for number in range(width)}
    frame = pd.DataFrame({number: pd.Series(values, dtype=object) for number, values in columns.items()})
    frame = frame.where(frame.notna() & (frame != ""), None)
    frame.columns = pd.Index(names)
    frame[ROW] = np.arange(skip + 2, skip + 2 + len(frame), dtype=np.int32)
    return frame, title


def filled_sheets(path: str) -> list[str]:
    """Return the names of the sheets that hold anything. Raises DataError."""
    import openpyxl

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(io.BytesIO(file_bytes.read_bytes(path)), read_only=True, data_only=True)
            return [str(title) for title in book.sheetnames if _has_cells(book[title])]
    except (KeyError, ValueError, OSError, zipfile.BadZipFile):
        return []  # `read_sheet` raises the error


def _chosen_sheet(book: Any, sheet: str | int | None, path: str, *, settable: bool) -> str:
    titles = [str(title) for title in book.sheetnames]
    if isinstance(sheet, int):
        if not 1 <= sheet <= len(titles):
            raise ConfigError(f"data.sheet: {path} has {len(titles)} sheets, numbered from 1 (got {sheet})")
        return titles[sheet - 1]
    if sheet is not None:
        if sheet not in titles and len(titles) > 1:
            raise ConfigError(f"data.sheet: no sheet '{sheet}' in {path}{suggest(sheet, titles)} ({', '.join(titles)})")
        return sheet if sheet in titles else titles[0]
    filled = [title for title in titles if _has_cells(book[title])]
    if len(filled) > 1:
        remedy = f"write data.sheet: {filled[0]}" if settable else "keep one of them"
        raise DataError(f"{path}: has several sheets ({', '.join(filled[:12])}); {remedy}")
    return filled[0] if filled else titles[0]


def _has_cells(sheet: Any) -> bool:
    rows = getattr(sheet, "iter_rows", None)  # a chart has none
    return rows is not None and any(cell is not None for row in rows(values_only=True, max_row=100) for cell in row)


def _header_text(cell: object) -> str:
    """The name of a column; a date in the header is written as 2021-01-31."""
    if cell is None:
        return ""
    if isinstance(cell, dt.datetime | dt.date):
        return cell.isoformat().removesuffix("T00:00:00")
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()
