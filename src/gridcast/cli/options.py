"""What options say: checked, and the tables that go where they point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gridcast.data.atomic_write import atomic_write
from gridcast.runtime.errors import ConfigError, GridcastError, suggest

if TYPE_CHECKING:
    import pandas as pd


def check_choice(option: str, value: str, allowed: Sequence[str]) -> None:
    """Returns where the value of an option is allowed. Raises ConfigError."""
    if value not in allowed:
        known = f"{suggest(value, allowed)} (allowed: {', '.join(allowed)})"
        raise ConfigError(f"{option}: '{value}' is not allowed{known}")


def parse_levels(text: str | None) -> tuple[float, ...] | None:
    """Levels of quantiles, written with commas between them. Raises ConfigError."""
    try:
        return None if text is None else tuple(map(float, text.split(",")))
    except ValueError:
        raise ConfigError(f"--quantiles: '{text}' must be levels such as 0.05,0.5,0.95") from None


def check_output_path(output: Path | None) -> None:
    """Returns where a table can be written to `output`, or nobody asked for that. Raises ConfigError."""
    if output and (output.suffix not in (".csv", ".parquet") or not output.absolute().parent.is_dir()):
        raise ConfigError(f"--output: '{output}' must be a .csv or .parquet file in a folder that exists")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV or Parquet file whole or not at all."""
    try:
        with atomic_write(path) as temporary:
            if path.suffix == ".parquet":
                table.to_parquet(temporary, index=False)
            else:
                table.to_csv(temporary, index=False)
    except OSError as error:
        raise GridcastError(f"{path}: cannot be written: {error}") from None
