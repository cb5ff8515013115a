"""Small CSV files of a few named columns: events, and the categories of series."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from gridcast.data import csv_text
from gridcast.runtime.errors import DataError, suggest


def read_rows(
    path: str, field: str, needed: Sequence[str], *, keep_spaces: bool = False
) -> list[tuple[int, dict[str, str]]]:
    """Return each row of the CSV file at `path`, by column, with the line that it ends on; blank lines are skipped.

    Spaces around fields do not count, unless they are to be kept because those of a table count too.
    `field` is the key of the experiment file that names the file. Raises DataError: no such file, a `needed` column
    missing, a row with more fields than the header, a quote that is not closed.
    """
    if not Path(path).is_file():
        similar = suggest(path, map(str, Path().glob("**/*.csv")))
        raise DataError(f"{field}: no such file{similar} (a CSV file with the columns {', '.join(needed)})")
    content = csv_text.read_text(path)[0].decode()
    separator = csv_text.guess_separator(content.split("\n", 1)[0])
    reader = csv.DictReader(io.StringIO(content), delimiter=separator, strict=True)
    reader.fieldnames = columns = [column.strip() for column in reader.fieldnames or ()]
    for column in needed:
        if column not in columns:
            raise DataError(
                f"{path}, line 1: no column '{column}'{suggest(column, columns)} "
                f"(the file has: {', '.join(columns) or 'nothing'})"
            )
    rows = []
    try:
        for row in reader:
            if None in row:
                raise DataError(
                    f"{path}, line {reader.line_num}: more fields than the header has; quote fields that contain the "
                    "separator"
                )
            fields = {column: (value or "") if keep_spaces else (value or "").strip() for column, value in row.items()}
            if any(text.strip() for text in fields.values()):
                rows.append((reader.line_num, fields))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num + 1}: {error}; look for a quote that is not closed") from None
    return rows
