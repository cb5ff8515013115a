"""Numbers written as text: which sign stands before decimals and between thousands, and the values.

A comma or a point before exactly three digits may be either: `1,017` is 1017 or 1.017. One number that can be read in
one way only decides for its whole table; where none does, the reading is doubtful, and is never guessed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from .dialect import COMMA, FORMER, POINT, SIGNS, Dialect

ROWS_PER_CHUNK = 2**18
"""Rows that are parsed at once: as text, fields take many times the memory of numbers."""
SAMPLED_ROWS = 2000
"""Rows that usually show already that points are decimal points."""
UNIT = r"[^\w\s.,()%+-]{1,3}|[^\W\d_]{2,4}\.?|[^\W\d_]{1,3}[^\w\s.,()%+-]"
"""A currency sign or code, or a unit."""
MINUS = "\u2212"
SIGN = rf"[-+{MINUS}]?"
EXPONENT = r"(?:[eE][-+]?\d+)?"
OTHER_GROUPS = " \u00a0\u202f'\u2019"
"""Signs that can only stand between thousands."""
OTHER = {COMMA: POINT, POINT: COMMA}
TRUTH = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class Example:
    """A number in a table: its `column`, the `position` of its row, and its `text`; `place` names file and line."""

    column: str
    position: int
    text: str
    place: str = ""


@dataclass(frozen=True)
class Evidence:
    """Examples of numbers that can be read in one way only (`proofs`), and of doubtful ones, by their decimal sign.

    A doubtful example is named after the sign in it: `{"comma": 1,017}`.
    """

    proofs: Mapping[str, Example] = field(default_factory=dict)
    doubtful: Mapping[str, Example] = field(default_factory=dict)

    def joined(self, other: Evidence) -> Evidence:
        """Return the evidence of two parts of a table."""
        return Evidence({**other.proofs, **self.proofs}, {**other.doubtful, **self.doubtful})


class Undecided(ValueError):
    """The numbers of a table contradict each other, or leave two readings; `examples` show it."""

    def __init__(self, examples: tuple[Example, ...]) -> None:
        super().__init__(", ".join(example.text for example in examples))
        self.examples = examples


def readings(text: str) -> dict[str, str]:
    """Return the values of a doubtful `text`, as they would be written with a decimal point, by decimal sign."""
    digits = re.sub(r"[.,]", "", text)
    decimal = COMMA if "," in text else POINT
    return {decimal: text.replace(",", "."), OTHER[decimal]: digits}


def find_evidence(columns: Mapping[str, pd.Series]) -> Evidence:
    """Return what the texts in `columns` (rows,) of numbers show about their signs."""
    proofs: dict[str, Example] = {}
    doubtful: dict[str, Example] = {}
    pointed = {}
    for column, text in columns.items():
        commas = np.flatnonzero(text.str.contains(",", regex=False, na=False).to_numpy(bool))
        _classify(column, text, commas[:SAMPLED_ROWS], proofs, doubtful)
        if COMMA not in proofs:
            _classify(column, text, commas[SAMPLED_ROWS:], proofs, doubtful)
        sample = text.iloc[:SAMPLED_ROWS]
        points = sample.str.contains(".", regex=False, na=False).to_numpy(bool)
        _classify(column, sample, np.flatnonzero(points), proofs, doubtful)
        if len(text) > SAMPLED_ROWS:
            pointed[column] = text
    # Most tables show their sign in their first rows; a number that contradicts them later on fails when it is parsed.
    for column, text in pointed.items():
        if POINT in proofs:
            break
        points = text.str.contains(".", regex=False, na=False).to_numpy(bool)
        _classify(column, text, np.flatnonzero(points), proofs, doubtful)
    return Evidence(proofs, doubtful)


def decide_decimal(evidence: Evidence, *, decimal: str | None, thousands: str | None, trained: Dialect) -> str | None:
    """Return the decimal sign of a table: the stated one, else the one proved, else that of training, else None.

    Raises Undecided where numbers contradict each other, and where two readings remain.
    """
    if decimal is not None:
        return decimal
    if thousands in OTHER:
        return OTHER[thousands]
    if len(evidence.proofs) > 1:
        raise Undecided(tuple(evidence.proofs.values()))
    if evidence.proofs:
        return next(iter(evidence.proofs))
    if trained.decimal in OTHER:
        return trained.decimal
    if not evidence.doubtful:
        return None
    if trained.decimal == FORMER and set(evidence.doubtful) == {POINT}:
        return POINT
    raise Undecided(tuple(evidence.doubtful.values()))


def parse_numbers(text: pd.Series, dialect: Dialect) -> tuple[pd.Series, np.ndarray]:
    """Return the numbers in `text` (rows,), NaN where there is none, and the positions of texts that are no number."""
    text = text.str.strip()
    plain = _with_decimal_points(text, dialect) if dialect.decimal == COMMA else text
    chunks = (plain.iloc[start : start + ROWS_PER_CHUNK] for start in range(0, len(plain), ROWS_PER_CHUNK))
    parts = [pd.to_numeric(chunk, errors="coerce") for chunk in chunks]
    values = (pd.concat(parts) if parts else pd.Series(dtype=float, index=text.index)).astype(float)
    is_open = (values.isna() & text.notna()).to_numpy(bool)
    if is_open.any():
        values, is_open = _second_reading(values, text, is_open, dialect)
    if dialect.missing_numbers:
        values = values.mask(values.isin(dialect.missing_numbers))
    return values, np.flatnonzero(is_open)


def fault_of(text: str, dialect: Dialect, *, settable: bool) -> str:
    """Return the fault of a `text` that is no number, and the remedy, as the end of a sentence.

    With `settable`, there is an experiment file, whose keys the remedy may name.
    """
    bare = text.strip()
    number = rf"{SIGN}[\d.,{OTHER_GROUPS}]*\d[\d.,]*"
    if match := re.fullmatch(rf"({number})\s*%", bare):
        return f"has a percent sign; write {match[1]}, and so in every row"
    if match := re.fullmatch(rf"({SIGN})\s*(?:{UNIT})\s*({number})|({number})\s*(?:{UNIT})", bare):
        value = match[3] or f"{match[1]}{match[2]}"
        return f"has a currency sign or a unit; write {value}, and so in every row"
    if match := re.fullmatch(rf"\(({number})\)", bare):
        return f"is in parentheses; write -{match[1]} for a negative number"
    if re.fullmatch(number, bare):
        signs = " and ".join(
            f"{label}: {value}"
            for label, value in (("decimal", dialect.decimal), ("thousands", dialect.thousands))
            if value
        )
        reason = f" as this table writes them ({signs})" if signs else ""
        return f"is not a number{reason}; correct it, or leave the field empty for a missing value"
    if settable and re.fullmatch(r"[^\W\d_]+", bare):
        return (
            "is not a number; write one in place of the word, such as 0 or 1, leave the field empty for a missing "
            f"value, or write data.missing: ['{bare}'] if it always means that"
        )
    named = f", or write data.missing: ['{bare}'] if it always means that" if settable and "'" not in bare else ""
    return f"is not a number; correct it, or leave the field empty for a missing value{named}"


def _classify(
    column: str, text: pd.Series, positions: np.ndarray, proofs: dict[str, Example], doubtful: dict[str, Example]
) -> None:
    """Add the first examples among the texts at `positions` that prove a decimal sign or leave it in doubt."""
    if not len(positions):
        return
    codes, different = pd.factorize(text.iloc[positions].str.strip())
    words = pd.Series(different)
    for decimal, patterns in _evidence_patterns().items():
        doubt, proof = (_fullmatch(words, pattern) for pattern in patterns)
        for found, matches in ((proofs, proof & ~doubt), (doubtful, doubt)):
            if decimal not in found and matches.any():
                code = int(np.argmax(matches))
                position = int(positions[np.flatnonzero(codes == code)[0]])
                found[decimal] = Example(column, position, str(different[code]))


def _fullmatch(words: pd.Series, pattern: re.Pattern[str]) -> np.ndarray:
    """For each of the `words` (n,) whether it matches: of many by pandas, which takes a millisecond to begin."""
    if len(words) > SAMPLED_ROWS:
        return words.str.fullmatch(pattern.pattern).to_numpy(bool)
    return np.fromiter((pattern.fullmatch(word) is not None for word in words), bool, len(words))


@functools.cache
def _evidence_patterns() -> dict[str, tuple[re.Pattern[str], re.Pattern[str]]]:
    """Patterns of doubtful numbers and of proofs, by decimal sign."""
    return {
        decimal: (
            re.compile(rf"{SIGN}[1-9]\d{{0,2}}{re.escape(SIGNS[decimal])}\d{{3}}", re.ASCII),
            re.compile(_number(decimal, proof=True), re.ASCII),
        )
        for decimal in (COMMA, POINT)
    }


def _number(decimal: str, groups: str | None = None, *, proof: bool = False) -> str:
    """Pattern of a number with this decimal sign, and one of `groups` between thousands (by default any but it).

    With `proof`, only of numbers that show the sign: by decimals, or by two of the other sign between thousands.
    """
    point, other = re.escape(SIGNS[decimal]), SIGNS[OTHER[decimal]]
    # Without backreferences, which the engine of text columns does not have.
    grouped = [
        rf"\d{{1,3}}(?:{re.escape(sign)}\d{{3}})+" for sign in (other + OTHER_GROUPS if groups is None else groups)
    ]
    whole = "|".join([r"\d+", *grouped])
    if not proof:
        return rf"{SIGN}(?:{whole})?(?:{point}\d*)?{EXPONENT}"
    twice = rf"\d{{1,3}}(?:{re.escape(other)}\d{{3}}){{2,}}"
    return rf"{SIGN}(?:(?:{whole})?{point}\d+{EXPONENT}|(?:{whole}){point}|{twice})"


def _with_decimal_points(text: pd.Series, dialect: Dialect) -> pd.Series:
    """Usual numbers with decimal commas as they are written with points; other texts as none."""
    groups = "" if dialect.thousands not in (None, POINT) else "."
    valid = text.where(text.str.fullmatch(_number(COMMA, groups), na=True), "not a number")
    return valid.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)


def _plain(text: pd.Series, decimal: str) -> pd.Series:
    """Numbers of valid form without signs between thousands, with a decimal point."""
    text = text.str.replace(SIGNS[OTHER[decimal]], "", regex=False).str.replace(f"[{OTHER_GROUPS}]", "", regex=True)
    text = text.str.replace(MINUS, "-", regex=False)
    return text if decimal == POINT else text.str.replace(",", ".", regex=False)


def _groups(dialect: Dialect) -> str | None:
    """The signs that may stand between thousands; None where it is not stated."""
    return None if dialect.thousands is None else SIGNS[dialect.thousands]


def _second_reading(
    values: pd.Series, text: pd.Series, is_open: np.ndarray, dialect: Dialect
) -> tuple[pd.Series, np.ndarray]:
    """Parse texts that are not plain numbers: words for a missing value, separators of thousands, true and false."""
    positions = np.flatnonzero(is_open)
    codes, different = pd.factorize(text.iloc[positions])
    words = pd.Series(different, dtype="str")
    results, is_wrong = np.full(len(words), np.nan), ~words.isin(dialect.missing_words).to_numpy(bool)
    decimal = COMMA if dialect.decimal == COMMA else POINT
    grouped = words.str.fullmatch(_number(decimal, _groups(dialect))).to_numpy(bool) & is_wrong
    results[grouped] = pd.to_numeric(_plain(words[grouped], decimal), errors="coerce")
    is_wrong &= ~(grouped & np.isfinite(results))
    others = text.notna().to_numpy(bool, copy=True)
    others[positions] = False
    if is_wrong.any() and not others.any():
        truth = words.str.lower().map(TRUTH).to_numpy(float)
        if np.isfinite(truth[is_wrong]).all():
            results[is_wrong], is_wrong = truth[is_wrong], np.zeros(len(words), bool)
    values = values.copy()
    values.iloc[positions] = results[codes]
    still_open = np.zeros(len(values), bool)
    still_open[positions] = is_wrong[codes]
    return values, still_open
