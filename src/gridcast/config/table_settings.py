"""Settings of `data` that say how tables are written and shaped."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from gridcast.config.section import Section

Columns = tuple[str, ...]
NAMES_OF_SIGNS = {".": "point", ",": "comma", " ": "space", "'": "apostrophe", "": "none", ";": "semicolon"}
NAMES_OF_SIGNS |= {"\t": "tab", "|": "pipe"}
"""The words for signs in numbers and between fields, which may be given themselves."""
READING_KEYS: tuple[str, ...] = (
    *("dates", "time_unit", "decimal", "thousands", "missing", "blanks", "encoding", "separator", "skip", "sheet"),
    *("wide", "pivot"),
)
"""Keys of `data` that say how tables are written: a model carries them to read tables in use."""


class Wide(Section):
    """A table with a column for each period, or for each series, whose values become rows.

    `columns` are their names, or patterns such as `d_*`; left out, all that are not named elsewhere. `time` is
    `columns` where their names are the periods, else the column of the time stamps; left out, it follows from
    `data.time`. `start` is the first period where they are only numbered, such as d_1.
    """

    columns: Annotated[Columns, Field(strict=False)] = ()
    time: str | None = None
    start: str | None = None

    @field_validator("columns", mode="before")
    @classmethod
    def _accept_one_column(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class Pivot(Section):
    """A table with a row for each reading: its `names` become columns that hold its `values`."""

    names: str
    values: str
