"""Ids of series: one text made of the values of a series' key columns, and back.

The only key of a series is its id as it stands. Several keys are joined by a slash; a slash or backslash within a key
gets a backslash before it, so that ("a/b", "c") and ("a", "b/c") differ. Versions before 0.2.0 joined keys without
escapes: such plain ids stand in the models and run keys that they made.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Collection, Sequence

import pandas as pd

SEPARATOR, ESCAPE = "/", "\\"


def series_id(keys: Sequence[str]) -> str:
    """Return the id of the series with these values of its key columns; `series_keys` is the inverse."""
    return keys[0] if len(keys) == 1 else SEPARATOR.join(map(_escaped, keys))


def series_keys(name: str, count: int) -> tuple[str, ...]:
    """Return the values of the `count` key columns of the series with the id `name`.

    Raises ValueError for a text that is not the id of as many keys.
    """
    if count == 1:
        return (name,)
    keys, rest = [""], iter(name)
    for sign in rest:
        if sign == SEPARATOR:
            keys.append("")
        elif sign != ESCAPE:
            keys[-1] += sign
        elif (escaped := next(rest, "")) in (SEPARATOR, ESCAPE) and escaped:
            keys[-1] += escaped
        else:
            raise ValueError(f"'{name}' is no id of {count} keys: '{ESCAPE}{escaped}' is no escape")
    if len(keys) != count:
        raise ValueError(f"'{name}' is no id of {count} keys: it has {len(keys)}")
    return tuple(keys)


def series_id_column(columns: Sequence[pd.Series]) -> pd.Series:
    """Return the id of the series in each row (rows,); `columns` are the key columns, one or more, of any type."""
    if len(columns) == 1:
        return columns[0].astype(str)
    return functools.reduce(lambda ids, column: ids + SEPARATOR + column, map(_escaped_column, columns))


def plain_id(name: str, count: int) -> str:
    """Return the id `name` of a series with `count` keys as versions before 0.2.0 wrote it: without escapes."""
    if count == 1 or ESCAPE not in name:
        return name
    try:
        return SEPARATOR.join(series_keys(name, count))
    except ValueError:  # it is a plain id
        return name


def plain_ids(names: Sequence[str], count: int) -> tuple[str, ...]:
    """Return each of the ids `names` as in `plain_id`, but for those whose plain ids would coincide: they stay."""
    plain = [plain_id(name, count) for name in names]
    times = Counter(plain)
    return tuple(text if times[text] == 1 else name for text, name in zip(plain, names, strict=True))


def find_id(name: str, among: Collection[str], count: int) -> str | None:
    """Return the id in `among` of the series with the id `name` and `count` keys: itself, its plain id, or None.

    The ids in a model of a version before 0.2.0 are plain.
    """
    if name in among:
        return name
    plain = plain_id(name, count)
    return plain if plain in among else None


def _escaped(key: str) -> str:
    return re.sub(r"([/\\])", r"\\\1", key)


def _escaped_column(column: pd.Series) -> pd.Series:
    # A table may have ten million rows of a few hundred keys: these are looked through, not the rows.
    categories = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column.unique()
    escaped = {text: _escaped(text) for text in map(str, categories)}
    text = column.astype(str)
    return text if all(key == value for key, value in escaped.items()) else text.map(escaped)
