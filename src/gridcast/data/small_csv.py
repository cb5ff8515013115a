"""Small CSV files of a few named columns: events, and the categories of series."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from gridcast.data import readers
from gridcast.runtime.errors import DataError, suggest


def read_rows(path: str, field: str, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Each row of the CSV file at `path`, by column, with the line that it ends on; blank lines are passed over.

    `field` names the file in the experiment. Raises DataError: no such file, a column that is
    `needed` and not there, a row with more fields than the header, a quote that is not closed.
    """
    if not Path(path).is_file():
        near = suggest(path, map(str, Path().glob("**/*.csv")))
        raise DataError(f"{field}: no such file{near} (a CSV file with the columns {', '.join(needed)})")
    text = readers.read_text(path)[0]
    rows = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=text.split("\n", 1)[0].count), strict=True)
    rows.fieldnames = columns = [column.strip() for column in rows.fieldnames or ()]
    for column in needed:
        if column not in columns:
            raise DataError(
                f"{path}, line 1: no column '{column}'{suggest(column, columns)} "
                f"(the file has: {', '.join(columns) or 'nothing'})"
            )
    found = []
    try:
        for row in rows:
            if None in row:
                raise DataError(
                    f"{path}, line {rows.line_num}: more fields than the header has; quote fields that contain the "
                    "separator"
                )
            given = {column: (value or "").strip() for column, value in row.items()}
            if any(given.values()):
                found.append((rows.line_num, given))
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num + 1}: {error}; look for a quote that is not closed") from None
    return found
