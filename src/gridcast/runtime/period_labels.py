"""Names of periods as people write them: 2021-01, 201801, Jan-21, ene-21, 2008-Q1, 2019-W02.

Month names are read in English, Spanish and Portuguese. A label stands for the first day of its period.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence

import pandas as pd

MONTHS = (
    ("jan", "january", "ene", "enero", "janeiro"),
    ("feb", "february", "febrero", "fev", "fevereiro"),
    ("mar", "march", "marzo", "março", "marco"),
    ("apr", "april", "abr", "abril"),
    ("may", "mayo", "mai", "maio"),
    ("jun", "june", "junio", "junho"),
    ("jul", "july", "julio", "julho"),
    ("aug", "august", "ago", "agosto"),
    ("sep", "sept", "september", "septiembre", "setiembre", "set", "setembro"),
    ("oct", "october", "octubre", "out", "outubro"),
    ("nov", "november", "noviembre", "novembro"),
    ("dec", "december", "dic", "diciembre", "dez", "dezembro"),
)
MONTH_NUMBERS = {name: number for number, names in enumerate(MONTHS, start=1) for name in names}
JOINT = r"[\s./_'-]*"
NAME = r"([^\W\d_]+)\.?"
EXCEL_DAYS = range(20000, 80000)
"""Numbers of days that Excel writes for the years 1954 to 2119."""
EXCEL_EPOCH = pd.Timestamp("1899-12-30")


def parse_label(label: str) -> pd.Timestamp | None:
    """Return the first day of the period that `label` names, None if it names none."""
    text = label.strip().lower()
    try:
        return _month(text) or _quarter_or_week(text) or _year_or_date(text)
    except ValueError:  # such as month 13
        return None


def parse_labels(labels: Sequence[str]) -> list[pd.Timestamp | None]:
    """Return the first day of each period, None for a label that names none; all Excel day numbers, or none of them."""
    if labels and all(re.fullmatch(r"\d{5}", label.strip()) and int(label) in EXCEL_DAYS for label in labels):
        return [EXCEL_EPOCH + pd.Timedelta(days=int(label)) for label in labels]
    return [parse_label(label) for label in labels]


def may_be_days(labels: Sequence[str]) -> bool:
    """Whether labels such as Jan-01, Jan-02 rather name days of one month than the same month of several years."""
    parts = [re.fullmatch(rf"{NAME}{JOINT}(\d\d)", label.strip().lower()) for label in labels[:2]]
    return len(parts) == 2 and all(parts) and parts[0][1] == parts[1][1] and parts[0][2] != parts[1][2]  # type: ignore[index]


def _month(text: str) -> pd.Timestamp | None:
    if match := re.fullmatch(rf"{NAME}{JOINT}(\d\d|\d{{4}})", text) or re.fullmatch(
        rf"{NAME} (?:de|of) (\d{{4}})", text
    ):
        name, year = match[1], match[2]
    elif match := re.fullmatch(rf"(\d{{4}}){JOINT}{NAME}", text):
        name, year = match[2], match[1]
    else:
        return None
    number = MONTH_NUMBERS.get(name)
    if number is None:
        return None
    return pd.Timestamp(int(year) if len(year) == 4 else _century(int(year)), number, 1)


def _quarter_or_week(text: str) -> pd.Timestamp | None:
    if match := re.fullmatch(rf"(\d{{4}}){JOINT}[qt]([1-4])", text):
        return pd.Timestamp(int(match[1]), 3 * int(match[2]) - 2, 1)
    if match := re.fullmatch(rf"[qt]([1-4]){JOINT}(\d{{4}}|\d\d)|([1-4])[qt]{JOINT}(\d{{4}}|\d\d)", text):
        quarter, year = match[1] or match[3], match[2] or match[4]
        return pd.Timestamp(int(year) if len(year) == 4 else _century(int(year)), 3 * int(quarter) - 2, 1)
    if match := re.fullmatch(rf"(\d{{4}}){JOINT}w(\d\d?)", text):
        return pd.Timestamp(dt.date.fromisocalendar(int(match[1]), int(match[2]), 1))
    if match := re.fullmatch(rf"w(\d\d?){JOINT}(\d{{4}})", text):
        return pd.Timestamp(dt.date.fromisocalendar(int(match[2]), int(match[1]), 1))
    return None


def _year_or_date(text: str) -> pd.Timestamp | None:
    if re.fullmatch(r"(?:18|19|20|21)\d\d", text):
        return pd.Timestamp(int(text), 1, 1)
    if match := re.fullmatch(r"((?:18|19|20|21)\d\d)[-/.]?(\d\d?)", text):
        return pd.Timestamp(int(match[1]), int(match[2]), 1)
    if match := re.fullmatch(r"((?:18|19|20|21)\d\d)([-/.]?)(\d\d?)\2(\d\d?)(?:[t ]00:00(?::00)?)?", text):
        return pd.Timestamp(int(match[1]), int(match[3]), int(match[4]))
    return None


def _century(year: int) -> int:
    """A year of two digits, as POSIX and Excel read it: 69 and more are of the last century."""
    return year + (1900 if year >= 69 else 2000)
