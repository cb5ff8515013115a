"""Dates and times written as text or numbers, in one known order; pure: which order it is, the whole table decides."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from . import local_time
from .errors import DataError
from .period_labels import EXCEL_EPOCH, MONTH_NUMBERS, may_be_days, parse_label, parse_labels

ISO, DAY_FIRST, MONTH_FIRST, PERIODS = "iso", "day-first", "month-first", "periods"
EXAMPLE_DATES = {ISO: "2011-12-31", DAY_FIRST: "31/12/2011", MONTH_FIRST: "12/31/2011", PERIODS: "2011-12"}
TIME = (
    r"(?:,?[T\s]\s*(?P<hour>\d{1,2})[:.](?P<minute>\d{2})(?:[:.](?P<second>\d{2})(?:[.,](?P<part>\d{1,9}))?)?"
    r"\s*(?P<half>[AaPp]\.?\s?[Mm]\.?)?)?\s*$"
)
YEAR_LAST_DATE = r"^\s*(?P<first>\d{1,2})[./-](?P<second_part>\d{1,2})[./-](?P<year>\d{4})\b"
"""A date with the year last; which of the first two numbers is the day, only the whole column can show."""
YEAR_LAST = re.compile(YEAR_LAST_DATE + TIME)
YEAR_FIRST = re.compile(r"^\s*(?P<year>\d{4})[./-](?P<month>\d{1,2})[./-](?P<day>\d{1,2})" + TIME)
DAY_NAME_YEAR = re.compile(r"^\s*(?P<day>\d{1,2})[\s./-]+(?P<name>[^\W\d_]+)\.?[\s./-]+(?P<year>\d{4})" + TIME)
NAME_DAY_YEAR = re.compile(r"^\s*(?P<name>[^\W\d_]+)\.?\s+(?P<day>\d{1,2}),?\s+(?P<year>\d{4})" + TIME)
NUMBER_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
"""Units of time stamps that count from 1970, in seconds; `excel` counts days from 1899-12-30."""
EARLIEST, LATEST = pd.Timestamp("1800-01-01"), pd.Timestamp("2200-01-01")
"""Stamps outside are another unit's."""


@dataclass(frozen=True)
class OrderEvidence:
    """Evidence in the different texts of a time column.

    `kind` is `iso`, `periods`, or `slashed` for dates with the year last; of these, `day_first` and `month_first` are
    the positions (n,) of those that can only be read that way, and `doubtful` of those that are two different dates.
    """

    kind: str
    day_first: np.ndarray
    month_first: np.ndarray
    doubtful: np.ndarray


def find_order(different: pd.Series) -> OrderEvidence:
    """Return what the `different` texts of a time column show about the order of their dates."""
    nothing = np.zeros(0, int)
    sample = different.dropna().iloc[:1000]
    slashed = sample.str.match(YEAR_LAST_DATE)
    if len(sample) and slashed.sum() * 2 >= len(sample):
        parts = different.str.extract(YEAR_LAST_DATE).astype(float)
        first, second = parts["first"].to_numpy(), parts["second_part"].to_numpy()
        day_first, month_first = (first > 12) & (second <= 12), (second > 12) & (first <= 12)
        doubtful = (first <= 12) & (second <= 12) & (first != second)
        return OrderEvidence("slashed", *map(np.flatnonzero, (day_first, month_first, doubtful)))
    texts = [str(text) for text in sample.iloc[:20]]
    is_period = [parse_label(text) is not None and not _is_iso(text) for text in texts]
    if texts and sum(is_period) * 2 > len(texts) and not may_be_days(texts):
        return OrderEvidence(PERIODS, nothing, nothing, nothing)
    return OrderEvidence(ISO, nothing, nothing, nothing)


def decide_order(texts: pd.Series, trained: str | None) -> str:
    """Return the order of the dates in `texts` (n,): their own if they show one, else that of the `trained` tables.

    Raises DataError for dates in both orders, and for those that do not tell day from month.
    """
    found = find_order(texts)
    if found.kind != "slashed":
        return found.kind
    if len(found.day_first) and len(found.month_first):
        one, other = (texts.iloc[positions[0]] for positions in (found.day_first, found.month_first))
        raise DataError(f"the dates '{one}' and '{other}' have day and month in different order; correct one of them")
    if len(found.day_first) or len(found.month_first):
        return DAY_FIRST if len(found.day_first) else MONTH_FIRST
    if trained in (DAY_FIRST, MONTH_FIRST):
        return str(trained)
    if not len(found.doubtful):  # such as 01/01/2024: the same in both orders
        return DAY_FIRST
    example = texts.iloc[found.doubtful[0]]
    raise DataError(f"dates such as '{example}' do not tell day from month; write them as 2011-12-31")


def parse_dates(different: pd.Series, order: str, unit: str | None = None) -> pd.Series:
    """Return the stamps of `different` texts (n,) without offsets, marked as UTC; NaT where one is no date in `order`.

    With a `unit`, the texts are numbers of it.
    """
    if unit is not None:
        return _from_numbers(pd.to_numeric(different, errors="coerce"), unit)
    if order == PERIODS:
        labels = [str(text) if pd.notna(text) else "" for text in different]
        return pd.to_datetime(pd.Series(parse_labels(labels), different.index, dtype="object"), utc=True)
    text = different.str.strip()
    if order == ISO:
        parsed = pd.to_datetime(text.mask(_odd_digits(text)), format="ISO8601", errors="coerce", utc=True)
        parsed = parsed.dt.as_unit("us")
    else:
        parsed = _with_first_format(text, order)
    is_open = np.flatnonzero((parsed.isna() & text.notna()).to_numpy(bool))
    if len(is_open):
        parsed = parsed.copy()
        parsed.iloc[is_open] = _rewritten(text.iloc[is_open], order)
    return parsed


def split_dates(different: pd.Series, order: str, unit: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the local times (n,) of `different` texts, datetime64[us], and their offsets from UTC (n,) in seconds.

    A text that is no date in this order gives NaT; without an offset, that is NaN. Unix times are in UTC.
    """
    if unit is None and order != PERIODS:
        texts, offsets = local_time.split_offsets(different.str.strip())
    else:
        texts, offsets = different, np.full(len(different), np.nan if unit in (None, "excel") else 0.0)
    parsed = parse_dates(texts, order, unit)
    return parsed.dt.tz_localize(None).to_numpy("datetime64[us]"), offsets


def split_stamps(stamps: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the local times (n,) of time `stamps`, datetime64[us], and their offsets (n,) as in `split_dates`."""
    if stamps.dt.tz is None:
        return stamps.to_numpy("datetime64[us]"), np.full(len(stamps), np.nan)
    local = stamps.dt.tz_localize(None)
    offsets = (local - stamps.dt.tz_convert("UTC").dt.tz_localize(None)).dt.total_seconds()
    return local.to_numpy("datetime64[us]"), offsets.to_numpy(float)


def fault_of(text: str, order: str, *, settable: bool, unit: str | None = None) -> str:
    """Return the fault of a `text` that is no date in this `order`, and the remedy, as the end of a sentence."""
    bare = text.strip()
    if unit is not None:
        return f"is no time in the unit {unit} (data.time_unit); correct it"
    if re.fullmatch(r"\d{10}|\d{13}|\d{16}|\d{19}", bare) or re.fullmatch(r"\d{10}\.\d+", bare):
        name = {10: "s", 13: "ms", 16: "us", 19: "ns"}[len(bare.partition(".")[0])]
        return _unit_remedy(f"is a Unix time in {name}", name, settable=settable)
    if re.fullmatch(r"[2-7]\d{4}(?:\.\d+)?", bare):
        return _unit_remedy("is a date as Excel counts days", "excel", settable=settable)
    if re.fullmatch(r"\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:\s*[AaPp][Mm])?", bare):
        return "is a time without a date; join the columns of date and time into one, such as 2011-12-31 18:00"
    if re.search(r"\b24:00", bare):
        return "is not a date; write midnight at the end of a day as 00:00 of the next day"
    if re.fullmatch(r"\d{1,2}[./-]\d{1,2}[./-]\d{2}(?:\s.*)?", bare):
        return "has a year of two digits, so day, month and year cannot be distinguished; write it as 2011-12-31"
    remedy = "correct it, or see data.dates" if settable else "correct it"
    return f"is not a date; this file's are read as {order}, such as {EXAMPLE_DATES[order]}: {remedy}"


def _unit_remedy(statement: str, unit: str, *, settable: bool) -> str:
    remedy = f"write data.time_unit: {unit}" if settable else "write it as 2011-12-31 18:00"
    return f"is not a date; it {statement}: {remedy}"


def _from_numbers(numbers: pd.Series, unit: str) -> pd.Series:
    if unit == "excel":
        stamps = EXCEL_EPOCH + pd.to_timedelta((numbers * 86_400_000).round(), unit="ms")
    else:
        microseconds = (numbers * (NUMBER_UNITS[unit] * 1e6)).round()
        stamps = pd.to_datetime(microseconds.where(microseconds.abs() < 1e17), unit="us", errors="coerce")
    stamps = pd.Series(stamps, index=numbers.index).astype("datetime64[us]")
    return stamps.where((stamps >= EARLIEST) & (stamps < LATEST)).dt.tz_localize("UTC")


def _is_iso(text: str) -> bool:
    return bool(re.match(r"^\s*\d{4}(?:-\d{2}(?:-\d{2})?|/\d{1,2}/\d{1,2}|\d{4})?(?:[T\s]|$)", text))


def _odd_digits(text: pd.Series) -> pd.Series:
    """Mask of texts that are digits but neither a year nor a date such as 20111231."""
    length = text.str.len()
    return (
        (length != 8) & (length != 4) & (length < 20) & text.str.fullmatch(r"\d+(?:\.\d+)?").fillna(False).astype(bool)
    )


def _with_first_format(text: pd.Series, order: str) -> pd.Series:
    """Parse texts in the format of the first one, NaT for others: fast, and most columns have a single format."""
    first = next((str(value) for value in text if pd.notna(value)), "")
    match = re.fullmatch(r"\d{1,2}([./-])\d{1,2}([./-])\d{4}(?:( )\d{1,2}:\d{2}(:\d{2})?)?", first)
    nothing = pd.Series(pd.NaT, index=text.index, dtype="datetime64[us, UTC]")
    if match is None:
        return nothing
    day, month = ("%d", "%m") if order == DAY_FIRST else ("%m", "%d")
    clock = f" %H:%M{':%S' if match[4] else ''}" if match[3] else ""
    form = f"{day}{match[1]}{month}{match[2]}%Y{clock}"
    return pd.to_datetime(text, format=form, errors="coerce", utc=True).dt.as_unit("us")


def _rewritten(text: pd.Series, order: str) -> pd.Series:
    """Parse dates that pandas does not know as ISO 8601, by writing them in that way."""
    iso = pd.Series(pd.NA, index=text.index, dtype="string")
    patterns = [DAY_NAME_YEAR, NAME_DAY_YEAR, YEAR_FIRST if order == ISO else YEAR_LAST]
    for pattern in patterns:
        parts = text.str.extract(pattern)
        matches = parts["year"].notna()
        if not matches.any():
            continue
        parts = parts[matches]
        if "name" in parts:
            number = parts["name"].str.lower().map(MONTH_NUMBERS)
            month = number.where(number.notna(), 99).astype(int).astype(str)
            day = parts["day"]
        elif pattern is YEAR_FIRST:
            month, day = parts["month"], parts["day"]
        else:
            day, month = parts["first"], parts["second_part"]
            if order == MONTH_FIRST:
                day, month = month, day
        date = parts["year"] + "-" + month.str.zfill(2) + "-" + day.str.zfill(2)
        iso[matches] = (date + _clock(parts)).astype("string")
    return pd.to_datetime(iso, format="ISO8601", errors="coerce", utc=True)


def _clock(parts: pd.DataFrame) -> pd.Series:
    """The time of day in 24 hours, as ISO 8601 has it."""
    hour = parts["hour"].astype(float)
    half = parts["half"].str.lower().str[0]
    is_valid = half.isna() | hour.between(1, 12)
    hour = hour.where(half.isna(), hour % 12 + 12 * (half == "p"))
    clock = hour.where(is_valid, 99).fillna(0).astype(int).astype(str).str.zfill(2)
    fraction = "." + parts["part"].fillna("0")
    return "T" + clock + ":" + parts["minute"].fillna("00") + ":" + parts["second"].fillna("00") + fraction
