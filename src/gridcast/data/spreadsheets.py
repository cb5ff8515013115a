"""Tables that people open in a spreadsheet: text in them stays text, whatever it begins with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet

FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")
"""First characters of a text that a spreadsheet would compute."""
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?")
_UNKNOWN_TO_EXCEL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write `table` as CSV; an apostrophe stands before each text that a spreadsheet would take for a formula."""
    _with_texts(table, _quoted).to_csv(path, index=False)


def write_sheet(table: pd.DataFrame, book: pd.ExcelWriter, name: str = "Sheet1") -> Worksheet:
    """Write `table` as a sheet of an Excel workbook, with every text as it is, and return the sheet."""
    # Excel refuses a file that holds control characters.
    shown = _with_texts(table, lambda text: _UNKNOWN_TO_EXCEL.sub("\ufffd", text))
    shown.to_excel(book, sheet_name=name, index=False, freeze_panes=(1, 0))
    sheet: Worksheet = book.sheets[name]
    for row in sheet.iter_rows():
        for cell in row:
            if cell.data_type in ("f", "e") and isinstance(cell.value, str):  # openpyxl takes = for a formula
                cell.data_type = "s"
    return sheet


def _quoted(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA_STARTS) and not _NUMBER.fullmatch(text) else text


def _with_texts(table: pd.DataFrame, change: Any) -> pd.DataFrame:
    """The table with `change` applied to each of its texts, the names of its columns included."""
    changed = table.copy(deep=False)
    for position, dtype in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_datetime64_any_dtype(dtype):
            texts = [change(value) if isinstance(value, str) else value for value in table.iloc[:, position]]
            changed.isetitem(position, np.array(texts, object))
    changed.columns = pd.Index([change(name) if isinstance(name, str) else name for name in table.columns])
    return changed
