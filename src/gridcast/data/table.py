"""The tidy table that an experiment's files become."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from gridcast.data.parse_fields import LINE, unit_of
from gridcast.runtime.dialect import UNKNOWN, Dialect

SERIES, TIME, TARGET, FILE = "__series__", "__time__", "__target__", "__file__"
"""Columns of a Table beside LINE: marked, since a covariate may well be called `time` or `target`."""
ONLY_SERIES = "all"
"""The id of the series in a table without a series column."""


@dataclass(frozen=True)
class Table:
    """Tidy rows, and the file and line that each comes from.

    `rows` has the columns SERIES (categories of text, in order), TIME (datetime64, no time zone), TARGET (float), one
    per covariate under its own name (float; static ones as they come), FILE (index into `files`) and LINE.
    `notes` says in plain sentences what was done to each file.
    `dialect` is how the files are written. `left_out` are the ids of series that the selection leaves out.
    `labels` is True where a stamp, its index, is labelled as anomalous; None without labels.
    """

    rows: pd.DataFrame
    files: tuple[str, ...]
    notes: tuple[str, ...]
    labels: pd.Series | None = None
    dialect: Dialect = UNKNOWN
    left_out: tuple[str, ...] = ()

    def location(self, position: int) -> str:
        """`file, line N` of the row at `position`."""
        row = self.rows.iloc[position]
        path = self.files[int(row[FILE])]
        return f"{path}, {unit_of(path)} {int(row[LINE])}"
