"""The kind of each column of an unknown table: stamps, numbers, texts, flags or nothing."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from gridcast.data import parse_fields
from gridcast.data.first_look import names
from gridcast.data.first_look.open_table import OpenedTable
from gridcast.data.no_sensors import is_counter
from gridcast.runtime import date_text, number_text
from gridcast.runtime.dialect import Dialect

Kind = Literal["time", "clock", "number", "text", "empty"]
SAMPLE = 2000
"""Rows, spread over the table, that show what a column holds."""
MOSTLY = 0.9
"""Share of filled fields that are stamps in a column of stamps."""
USUALLY = 0.75
"""Share of filled fields that are numbers in a column of numbers: some may be words for a missing one."""
CLOCK = re.compile(r"\d{1,2}[:.]\d{2}(?:[:.]\d{2}(?:\.\d+)?)?(?:\s*[AaPp][Mm])?")
MISSING_WORDS = re.compile(
    r"[-–—:*?./_]+|x|n\.?/?[ade]\.?|nil|none|null|nan|<null>|missing|unknown|invalid|no ?data|not available|no value|"
    r"bad(?: input| value| data| quality)?|i/o timeout|time ?out|error|err|fault|comm(?:unication)? ?(?:fail|error)|"
    r"unavailable|out of service|off ?line|pt created|no result|no reading|calc failed|shutdown|#[a-z/0]+[!?]?",
    re.IGNORECASE,
)
"""Texts that instruments, databases and people write where they have no reading."""
EXCEL_DAYS = (20_000, 80_000)
"""Numbers that Excel writes for the days of 1954 to 2119."""
UNITS_BY_DIGITS = {10: "s", 13: "ms", 16: "us", 19: "ns"}


@dataclass(frozen=True)
class ColumnFacts:
    """A column: what it holds, and of numbers whether they are whole, only 0 and 1, or never fall.

    `stamps` is how its digits may be read as times: `years`, `texts` such as 20210131, or a `data.time_unit`; None
    where they are no times. `missing` are words in it for no reading, `strays` counts other texts that are no numbers.
    """

    name: str
    kind: Kind
    blanks: int = 0
    distinct: int = 0
    is_whole: bool = False
    is_flag: bool = False
    is_counter: bool = False
    stamps: str | None = None
    missing: tuple[str, ...] = ()
    strays: int = 0


def find_facts(table: OpenedTable, wide: Collection[str] = ()) -> dict[str, ColumnFacts]:
    """Return the facts of each column of `table`, by name, in its order; without those of the `wide` ones."""
    rows = table.raw.rows
    return {name: _facts(name, rows[name]) for name in table.names if name not in wide}


def missing_words(table: OpenedTable, columns: Collection[str]) -> tuple[str, ...]:
    """Return the words in any of these `columns` of numbers that usually mean "no reading"."""
    texts = [table.raw.rows[name] for name in columns if parse_fields.is_text(table.raw.rows[name])]
    return _words(pd.concat(texts).dropna())[1] if texts else ()


def _facts(name: str, values: pd.Series) -> ColumnFacts:
    filled = values[values.notna()]
    blanks, distinct = len(values) - len(filled), int(filled.nunique())
    if not len(filled):
        return ColumnFacts(name, "empty", blanks)
    if pd.api.types.is_datetime64_any_dtype(values):
        return ColumnFacts(name, "time", blanks, distinct)
    sample = filled.iloc[np.unique(np.linspace(0, len(filled) - 1, SAMPLE).astype(int))]
    if not parse_fields.is_text(values):
        return _number_facts(name, filled.astype(float), sample.astype(float), blanks, distinct)
    texts = sample.astype("str").str.strip()
    numbers, wrong = _as_numbers(texts)
    if len(wrong) <= (1 - USUALLY) * len(texts):
        if _is_clock(name, texts):
            return ColumnFacts(name, "clock", blanks, distinct)
        words, missing = _words(filled)
        facts = _number_facts(name, None, numbers.dropna(), blanks, distinct, texts=texts)
        return replace(facts, missing=missing, strays=len(words) - len(missing))
    if _is_clock(name, texts):
        return ColumnFacts(name, "clock", blanks, distinct)
    kind: Kind = "time" if _share_of_stamps(texts) >= MOSTLY else "text"
    return ColumnFacts(name, kind, blanks, distinct)


def _number_facts(
    name: str,
    whole_column: pd.Series | None,
    numbers: pd.Series,
    blanks: int,
    distinct: int,
    *,
    texts: pd.Series | None = None,
) -> ColumnFacts:
    values = numbers if whole_column is None else whole_column
    is_whole = bool((values == values.round()).all())
    is_flag = bool(values.isin((0, 1)).all())
    stamps = None if is_flag else _digits_as_stamps(values, texts) if is_whole else _fractions_as_stamps(values)
    is_counting = is_counter([values.dropna().to_numpy(float)])
    return ColumnFacts(name, "number", blanks, distinct, is_whole, is_flag, is_counting, stamps)


def _as_numbers(texts: pd.Series) -> tuple[pd.Series, np.ndarray]:
    """The numbers in `texts` (n,) with the decimal sign that leaves fewer texts that are none, and those texts."""
    readings = [number_text.parse_numbers(texts, Dialect(decimal=decimal)) for decimal in ("point", "comma")]
    return min(readings, key=lambda reading: len(reading[1]))


def _words(filled: pd.Series) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The texts in a column of numbers that are none, and those of them that usually mean "no reading"."""
    different = pd.Series(pd.unique(filled.str.strip()), dtype="str")
    _, wrong = _as_numbers(different)
    words = tuple(str(word) for word in different.iloc[wrong])
    return words, tuple(word for word in words if MISSING_WORDS.fullmatch(word))


def _is_clock(name: str, texts: pd.Series) -> bool:
    """Whether texts are times of a day without a date; 18.00 is one only in a column that is called so."""
    is_named = names.is_about(name, names.TIME)
    matches = texts.map(lambda text: bool(CLOCK.fullmatch(text)) and (":" in text or is_named))
    return bool(matches.mean() >= MOSTLY)


def _share_of_stamps(texts: pd.Series) -> float:
    """The share of texts that are dates in some order."""
    kind = date_text.find_order(texts).kind
    orders = (date_text.DAY_FIRST, date_text.MONTH_FIRST) if kind == "slashed" else (kind,)
    return max(float((~np.isnat(date_text.split_dates(texts, order)[0])).mean()) for order in orders)


def _digits_as_stamps(values: pd.Series, texts: pd.Series | None) -> str | None:
    """How whole numbers may be read as times: as `texts`, in a unit, or not at all."""
    shown = values.astype("int64").astype("str") if values.abs().max() < 2**62 else values.astype("str")
    lengths = set(shown.str.len())
    if len(lengths) != 1 or (values < 0).any():
        return None
    (length,) = lengths
    if unit := UNITS_BY_DIGITS.get(length):
        parsed = date_text.parse_dates(shown, date_text.ISO, unit)
        years = parsed.dt.year
        return unit if bool(years.between(1970, 2100).all()) else None
    if length in (4, 6, 8):
        is_time = _share_of_stamps(shown if texts is None else texts) == 1
        return ("years" if length == 4 else "texts") if is_time else None
    return "excel" if length == 5 and bool(values.between(*EXCEL_DAYS).all()) else None


def _fractions_as_stamps(values: pd.Series) -> str | None:
    """How numbers with decimals may be read as times: as seconds since 1970, or as days of Excel."""
    if bool(values.between(10**9, 10**10 - 1).all()):
        return "s"
    return "excel" if bool(values.between(*EXCEL_DAYS).all()) else None
