"""Static columns: the categories of each series, from the table or from a file of their own."""

from __future__ import annotations

import pandas as pd

from gridcast.config import Data
from gridcast.data import small_csv
from gridcast.data.table import SERIES
from gridcast.runtime.errors import DataError, suggest
from gridcast.runtime.series_ids import series_id


def with_static_columns(rows: pd.DataFrame, data: Data, path: str) -> pd.DataFrame:
    """Return `rows` with the static columns that the file at `path` has for each series.

    Raises DataError for a series that occurs twice or not at all, and for an empty category.
    """
    by_series = _read_categories(data, path)
    names, codes = rows[SERIES].cat.categories, rows[SERIES].cat.codes.to_numpy()
    missing = [name for name in rows[SERIES].cat.remove_unused_categories().cat.categories if name not in by_series]
    if missing:
        raise DataError(
            f"{path}: no line for {len(missing):,} of {len(names):,} series, such as "
            f"'{missing[0]}'{suggest(missing[0], by_series)} (add them, or leave them out with data.select.only)"
        )
    columns = {column: [by_series.get(name, {}).get(column, "") for name in names] for column in data.static}
    return rows.assign(**{column: pd.Categorical(words).take(codes) for column, words in columns.items()})


def _read_categories(data: Data, path: str) -> dict[str, dict[str, str]]:
    """The fields of each series by column."""
    by_series: dict[str, dict[str, str]] = {}
    lines: dict[str, int] = {}
    needed = [*data.series, *data.static]
    for line, fields in small_csv.read_rows(path, f"data.static_source: '{path}'", needed, keep_spaces=True):
        name = series_id([fields[column] for column in data.series])
        for column in data.static:
            if not fields[column].strip():
                raise DataError(f"{path}, line {line}, column '{column}': empty is not a name; fill it in")
        if name in lines:
            raise DataError(f"{path}, line {line}: series '{name}' is already in line {lines[name]}; keep one")
        lines[name], by_series[name] = line, fields
    return by_series


def check_static_columns(rows: pd.DataFrame, columns: tuple[str, ...]) -> None:
    """Raise DataError where a series has more than one category in one of `columns`."""
    for column in columns:
        counts = rows.groupby(SERIES, observed=True)[column].nunique()
        if (counts > 1).any():
            name = counts[counts > 1].index[0]
            categories = ", ".join(map(str, rows.loc[rows[SERIES] == name, column].unique()[:3]))
            raise DataError(
                f"data.static: column '{column}' changes within series '{name}' ({categories}); "
                "a static category has one value per series"
            )
