"""The rows of a table that a model is asked with, checked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from . import resampling, table_columns
from .errors import DataError, suggest
from .preprocessing import Preprocessing
from .series_problems import SeriesProblems

SERIES_COLUMN, TIME_COLUMN = "__series__", "__time__"
"""Columns of checked rows; the underscores keep them apart from a covariate called `time`."""
LOG = logging.getLogger("gridcast")
"""Named explicitly: inside a logged model, __name__ is that of the package that carries this file."""


@dataclass(frozen=True)
class InputRows:
    """Checked rows: row i belongs to the series `ids[series[i]]` and the stamp `stamps[i]`, no pair occurs twice.

    `values` (columns, rows) are the target, the past and the future columns, NaN where there is none.
    """

    ids: Sequence[str]
    series: np.ndarray
    stamps: np.ndarray
    values: np.ndarray


def as_arrays(rows: pd.DataFrame, ids: Sequence[str], preprocessing: Preprocessing) -> InputRows:
    """Return the rows of `checked_rows` as arrays."""
    columns = [preprocessing.target, *preprocessing.past, *preprocessing.future_columns]
    series = pd.Index(ids).get_indexer(pd.Index(rows[SERIES_COLUMN]))
    return InputRows(ids, series, rows[TIME_COLUMN].to_numpy(), rows[columns].to_numpy(float).T)


def checked_rows(
    table: pd.DataFrame, preprocessing: Preprocessing, problems: SeriesProblems | None = None
) -> tuple[pd.DataFrame, list[str], dict[str, list[str]]]:
    """Return the rows of `table`, the ids of their series, and the key columns (series,) by name.

    The rows have the columns SERIES_COLUMN, TIME_COLUMN, target and covariates. Raises DataError for a missing column,
    a value that is not a number or a date, a series that the model does not know, or a (series, time) that occurs
    twice. With `problems`, what is wrong with single series is put there, and the rows of the others are returned; ids
    and keys are those of all.
    """
    problems = SeriesProblems(strict=True) if problems is None else problems
    numbers = (preprocessing.target, *preprocessing.past, *preprocessing.future_columns)
    needed = [*preprocessing.keys, preprocessing.time, *numbers]
    for column in needed:
        if column not in table.columns:
            near = suggest(column, map(str, table.columns))
            raise DataError(f"no column '{column}'{near} (needed: {', '.join(needed)})")
    names = preprocessing.series_column(table)
    table, names = _without_left_out(table, names, preprocessing)
    times = table_columns.parse_stamps(table, preprocessing)
    values = table_columns.parse_numbers(table, numbers, preprocessing.dialect)
    rows = pd.DataFrame({SERIES_COLUMN: names, TIME_COLUMN: times} | dict(values.items()))
    for column in numbers:
        for row in np.flatnonzero(np.isinf(rows[column])):
            problems.add(rows[SERIES_COLUMN].iloc[row], f"column '{column}', row {int(row)}: infinite value")
    if not len(rows):
        raise DataError("the table has no rows")
    table_columns.fill_blanks(
        rows,
        target=preprocessing.target,
        past=preprocessing.past,
        future=preprocessing.future_columns,
        blanks=preprocessing.dialect.blanks,
    )
    if preprocessing.repeated != "error":
        keep: Literal["first", "last"] = "last" if preprocessing.repeated == "last" else "first"
        rows = rows.drop_duplicates([SERIES_COLUMN, TIME_COLUMN], keep=keep)
        table, rows = table.loc[rows.index].reset_index(drop=True), rows.reset_index(drop=True)
    first_rows = rows.drop_duplicates(SERIES_COLUMN).index
    ids = [str(name) for name in rows[SERIES_COLUMN][first_rows]]
    for name in ids:
        if name not in preprocessing.codes:
            problems.add(name, _unknown_sentence(name, preprocessing))
    keys = {column: table[column].astype(str)[first_rows].tolist() for column in preprocessing.keys}
    if problems:
        is_sound = ~rows[SERIES_COLUMN].isin(list(problems))
        table, rows = table[is_sound].reset_index(drop=True), rows[is_sound].reset_index(drop=True)
    _warn_of_categories(table, rows[SERIES_COLUMN], preprocessing)
    if preprocessing.aggregate != "none":
        columns = resampling.RowColumns(SERIES_COLUMN, TIME_COLUMN, preprocessing.target)
        rows = resampling.aggregate_history(rows, preprocessing.frequency, preprocessing.aggregate, columns)
    repeated = np.flatnonzero(rows.duplicated([SERIES_COLUMN, TIME_COLUMN]).to_numpy())
    for row in repeated:
        name, stamp = rows[SERIES_COLUMN].iloc[row], rows[TIME_COLUMN].iloc[row]
        problems.add(name, f"row {row}: series '{name}' at {stamp} occurs twice; keep one row of it")
    if len(repeated):
        rows = rows[~rows[SERIES_COLUMN].isin(list(problems))].reset_index(drop=True)
    return rows, ids, keys


def _without_left_out(
    table: pd.DataFrame, names: pd.Series, preprocessing: Preprocessing
) -> tuple[pd.DataFrame, pd.Series]:
    """The rows but for those of series that training left out, with a warning about these; and the ids of the rows."""
    table = table.reset_index(drop=True)
    names = names.reset_index(drop=True)
    if not preprocessing.left_out or preprocessing.keys == ():
        return table, names
    is_out = names.isin(preprocessing.left_out)
    if not is_out.any():
        return table, names
    out = names[is_out].unique()
    shown = ", ".join(map(str, out[:5])) + (" ..." if len(out) > 5 else "")
    LOG.warning(f"rows of {len(out):,} series that training left out are passed over: {shown}")
    if is_out.all():
        raise DataError(
            f"series '{out[0]}' was left out of training (select, constant, or no value), and so were all others"
        )
    return table[~is_out].reset_index(drop=True), names[~is_out].reset_index(drop=True)


def _unknown_sentence(name: str, preprocessing: Preprocessing) -> str:
    if name in preprocessing.too_short:
        return f"series '{name}' was left out of training, as it was too short or had ended (data.short: drop)"
    return f"series '{name}' was not in the training data{_similar_series(name, preprocessing)}"


def _similar_series(name: str, preprocessing: Preprocessing) -> str:
    """A remark on the series of the model that `name` may mean: one that differs in zeros was read as a number."""
    zeros = [known for known in preprocessing.series if known.lstrip("0") == name.lstrip("0")]
    if zeros and len(preprocessing.keys) == 1:
        remedy = f"pd.read_csv(..., dtype={{'{preprocessing.keys[0]}': str}})"
        return f"; '{zeros[0]}' was: read the column as text, such as {remedy}"
    return suggest(name, preprocessing.series)


def _warn_of_categories(table: pd.DataFrame, names: pd.Series, preprocessing: Preprocessing) -> None:
    """Log where a static column of the table differs from the category that a series was trained with."""
    for k, (column, vocabulary) in enumerate(preprocessing.categories):
        if column not in table.columns or column in preprocessing.keys:
            continue
        codes = zip(preprocessing.series, preprocessing.static, strict=True)
        trained = {name: vocabulary[static[k] - 1] for name, static in codes}
        # A column of whole numbers with empty fields is read as 1.0, 2.0.
        in_table, in_model = (words.astype(str).str.removesuffix(".0") for words in (table[column], names.map(trained)))
        differing = np.flatnonzero((in_table != in_model) & table[column].notna())
        if len(differing):
            word, name = in_table.iloc[differing[0]], names.iloc[differing[0]]
            unseen = "" if word in vocabulary else ", unseen in training"
            LOG.warning(
                f"column '{column}': series '{name}' is '{word}'{unseen}, and was trained as '{trained[name]}', which "
                f"is used ({names.iloc[differing].nunique()} such series); train again to learn of the change"
            )
