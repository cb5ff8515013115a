"""Find the columns that distinguish the series of a table: with them, no stamp occurs twice."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gridcast.data.first_look import names
from gridcast.data.first_look.columns import ColumnFacts

FEW = 0.02
"""Share of rows that may repeat a stamp by mistake, where no column distinguishes them."""
MANY = 0.2
"""Share of repeated rows from which they are transactions, of which a stamp has several."""
MIN_STAMPS = 3
"""Stamps that a series has on average: an invoice with all its rows at one time is no series."""
MAX_KEYS = 3


@dataclass(frozen=True)
class SeriesKeys:
    """The `columns` that distinguish series, and the share of rows whose (series, time) is that of another row."""

    columns: tuple[str, ...]
    repeated: float


def find_keys(rows: pd.DataFrame, time: str | None, facts: Mapping[str, ColumnFacts]) -> SeriesKeys:
    """Return the fewest columns with which each stamp of a series, or each row if there is no `time`, occurs once."""
    base = np.zeros(len(rows), np.int64) if time is None else _codes(rows[time])
    without = _repeated(base)
    candidates = _candidates(facts, time)
    if time is not None and (without <= FEW or not candidates):
        return SeriesKeys((), without)
    codes = {name: _codes(rows[name]) for name in candidates}
    if time is not None:
        codes = {name: code for name, code in codes.items() if _has_stamps(code, base)}
    best = SeriesKeys((), without)
    for count in range(1, MAX_KEYS + 1):
        for columns in itertools.combinations(codes, count):
            repeated = _repeated(_joined([base, *(codes[name] for name in columns)]))
            if repeated == 0:
                return SeriesKeys(columns, 0.0)
            if repeated < best.repeated - FEW:
                best = SeriesKeys(columns, repeated)
    if best.repeated > MANY and codes:  # transactions: one name of what was sold is enough
        first = next(iter(codes))
        return SeriesKeys((first,), _repeated(_joined([base, codes[first]])))
    return best


def _candidates(facts: Mapping[str, ColumnFacts], time: str | None) -> list[str]:
    """Columns of names, those first that are called like one; whole numbers only if they are."""
    usable = [fact for fact in facts.values() if fact.name != time and fact.distinct > 1 and not fact.blanks]
    texts = [fact.name for fact in usable if fact.kind == "text"]
    numbers = [
        fact.name
        for fact in usable
        if fact.kind == "number" and fact.is_whole and names.is_about(fact.name, names.SERIES)
    ]
    called = sorted(
        (name for name in texts if names.is_about(name, names.SERIES)), key=lambda name: names.rank(name, names.SERIES)
    )
    return list(dict.fromkeys([*called, *texts, *numbers]))


def _has_stamps(code: np.ndarray, base: np.ndarray) -> bool:
    series, stamps = len(np.unique(code)), len(np.unique(base))
    pairs = len(np.unique(_joined([base, code])))
    return pairs >= min(MIN_STAMPS, stamps / 3) * series


def _codes(values: pd.Series) -> np.ndarray:
    return np.asarray(pd.factorize(values)[0], np.int64) + 1


def _joined(codes: Sequence[np.ndarray]) -> np.ndarray:
    """One code (rows,) for each combination of `codes` (rows,)."""
    joined = codes[0]
    for code in codes[1:]:
        joined = np.unique(joined * (int(code.max()) + 1) + code, return_inverse=True)[1]
    return joined


def _repeated(codes: np.ndarray) -> float:
    return 1 - len(np.unique(codes)) / max(1, len(codes))
