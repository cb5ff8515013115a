"""Option values: their checks, and writing tables to the files that they name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gridcast.data.atomic_write import atomic_write
from gridcast.runtime.errors import ConfigError, GridcastError

if TYPE_CHECKING:
    import pandas as pd


def parse_levels(text: str | None) -> tuple[float, ...] | None:
    """Return quantile levels from a comma-separated list. Raises ConfigError."""
    try:
        return None if text is None else tuple(map(float, text.split(",")))
    except ValueError:
        raise ConfigError(f"--quantiles: '{text}' must be levels such as 0.05,0.5,0.95") from None


def check_output_path(output: Path | None) -> None:
    """Raise ConfigError if no table can be written to `output`; None is allowed."""
    if output and (output.suffix not in (".csv", ".parquet", ".xlsx") or not output.absolute().parent.is_dir()):
        raise ConfigError(f"--output: '{output}' must be a .csv, .xlsx or .parquet file in a folder that exists")


def print_csv(table: pd.DataFrame) -> None:
    """Write `table` as CSV to standard output, as UTF-8 where its encoding lacks a character: no name is changed."""
    text, out = table.to_csv(index=False), sys.stdout
    try:
        text.encode(out.encoding or "utf-8")
    except UnicodeEncodeError:
        out.flush()
        out.buffer.write(text.encode())
        out.buffer.flush()
    else:
        typer.echo(text, nl=False)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV, Excel or Parquet file whole or not at all. Raises GridcastError.

    Names that a spreadsheet would compute are written as text, see `data.spreadsheets`.
    """
    import pandas as pd

    from gridcast.data.spreadsheets import write_csv, write_sheet

    try:
        with atomic_write(path) as temporary:
            if path.suffix == ".parquet":
                table.to_parquet(temporary, index=False)
            elif path.suffix == ".xlsx":
                with pd.ExcelWriter(temporary, engine="openpyxl") as book:
                    write_sheet(table, book)
            else:
                write_csv(table, temporary)
    except (OSError, ValueError) as error:  # of Excel: too many rows for a sheet
        raise GridcastError(f"{path}: cannot be written: {error}") from None
