"""Local time: what a stamp with a UTC offset, or within a time zone, is on the time axis.

Stamps on the axis have no time zone. Steps of a day or longer name local days: the axis has the local date, whatever
the offset. Finer steps are counted in UTC: there the 23 and the 25 hours of a clock change are hours like any other and
no stamp occurs twice, as it would on an axis of local times. Where the zone is known, the calendar features of such an
axis are those of the local time, and forecasts are stamped with it.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
import zoneinfo

import numpy as np
import pandas as pd

from .frequencies import is_day_or_longer

UTC, OWN_OFFSETS = "UTC", ""
"""`time_zone` of a model that counts everything in UTC, as up to version 0.2.0, and of one without a zone: the local
days of its stamps are those of their own offsets."""
ZONE = r"(?:[Zz]|UTC|GMT|[+-]\d{2}:?\d{2})"
WITH_TIME = r"\S.*?[T\s]\s*\d{1,2}(?:[:.]?\d{2}){0,2}(?:[.,]\d+)?(?:\s*[AaPp]\.?\s?[Mm]\.?)?"
DATE_ALONE = (
    r"\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-]\d{4}"
    r"|\d{1,2}[\s./-]+[^\W\d_]+\.?[\s./-]+\d{4}|[^\W\d_]+\.?\s+\d{1,2},?\s+\d{4}"
)
WITH_OFFSET = re.compile(
    rf"^\s*(?:(?P<stamp>{WITH_TIME})\s*(?P<offset>{ZONE}|[+-]\d{{2}})(?:\[[\w/+-]+\])?"
    rf"|(?P<date>{DATE_ALONE})\s*(?P<date_offset>{ZONE}))\s*$"
)
"""A date with a time, or without one, and its offset from UTC."""
MAY_HAVE_OFFSET = rf"(?:{ZONE}|\])\s*$|[T\s]\s*\d.*[+-]\d{{2}}\s*$"
"""Texts that may have an offset: most columns have none, which this finds out faster."""


def is_time_zone(name: str) -> bool:
    """Whether `name` is a time zone of the IANA data base, such as Europe/Berlin."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def split_offsets(texts: pd.Series) -> tuple[pd.Series, np.ndarray]:
    """Return `texts` (n,) without the offsets that end them, and these (n,) in seconds, NaN where a text has none."""
    if not texts.str.contains(MAY_HAVE_OFFSET, na=False).any():
        return texts, np.full(len(texts), np.nan)
    parts = texts.str.extract(WITH_OFFSET)
    stamps = parts["stamp"].fillna(parts["date"])
    offsets = parts["offset"].fillna(parts["date_offset"])
    return texts.where(stamps.isna(), stamps), offsets.map(_offset_seconds, na_action="ignore").to_numpy(float)


@functools.lru_cache(maxsize=256)
def _offset_seconds(text: str) -> float:
    if text[0] not in "+-":
        return 0.0
    digits = text[1:].replace(":", "").ljust(4, "0")
    seconds = 3600 * int(digits[:2]) + 60 * int(digits[2:])
    return float(-seconds if text[0] == "-" else seconds)


def axis_times(
    local: np.ndarray, offsets: np.ndarray, *, time_zone: str, frequency: str | None, rows: pd.DataFrame | None = None
) -> np.ndarray:
    """Return the stamps (n,) on the axis, datetime64[us], of `local` times (n,) with `offsets` (n,) in seconds.

    `offsets` are NaN where a stamp has none. Without a `frequency` the steps are days if nearly all stamps have the
    same local time. `rows` names the series of each stamp: of two stamps of a series within the hour that is repeated
    when clocks are put back, the one that comes first in the table is the earlier, if the table begins with the oldest
    row.

    NaT for a local time that clocks skip in `time_zone`.
    """
    has_offset = np.isfinite(offsets)
    times = _in_utc(local, offsets)
    days = times.copy()
    if time_zone == OWN_OFFSETS:
        days = local
    elif has_offset.any():
        days[has_offset] = wall_clock(pd.DatetimeIndex(times[has_offset]), time_zone).to_numpy("datetime64[us]")
    counts_days = _same_time_of_day(days) if frequency is None else is_day_or_longer(frequency)
    if counts_days:
        return days
    if time_zone == OWN_OFFSETS:
        return times
    if time_zone != UTC and not has_offset.all():
        series = None if rows is None else rows[~has_offset]
        times[~has_offset] = _localized(local[~has_offset], time_zone, series)
    return times


def find_fault(
    local: np.ndarray, offsets: np.ndarray, stamps: np.ndarray, time_zone: str
) -> tuple[np.ndarray, str, str] | None:
    """Return the rows (n,) of stamps that are dates and yet no times, what is wrong with them, and the remedy; or None.

    `stamps` are the `axis_times` of `local` and `offsets`. Without a time zone, all stamps have an offset, or none; in
    one, there are times that clocks skip.
    """
    is_date, has_offset = ~np.isnat(local), np.isfinite(offsets)
    if time_zone == OWN_OFFSETS and has_offset.any() and (is_date & ~has_offset).any():
        problem = "has no offset from UTC, while other stamps have one"
        return np.flatnonzero(is_date & ~has_offset), problem, "give it to all, or to none"
    skipped = np.flatnonzero(is_date & np.isnat(stamps))
    if not len(skipped):
        return None
    problem = f"does not exist in {time_zone}, where clocks were put forward then"
    return skipped, problem, "correct it, or give stamps with their offset from UTC"


def wall_clock(times: pd.DatetimeIndex, time_zone: str) -> pd.DatetimeIndex:
    """Return the local times (n,) in `time_zone` of `times` (n,) in UTC."""
    if time_zone in (UTC, OWN_OFFSETS):
        return times
    return times.tz_localize("UTC").tz_convert(time_zone).tz_localize(None)


def from_wall_clock(local: pd.DatetimeIndex, time_zone: str) -> pd.DatetimeIndex:
    """Return the times (n,) in UTC of `local` times (n,) in `time_zone`: the first of a repeated hour.

    A time that clocks skip becomes the first after it.
    """
    if time_zone in (UTC, OWN_OFFSETS):
        return local
    zoned = local.tz_localize(time_zone, ambiguous=np.ones(len(local), bool), nonexistent="shift_forward")
    return zoned.tz_convert("UTC").tz_localize(None)


def has_zoned_axis(time_zone: str, frequency: str) -> bool:
    """Whether the axis is in UTC and its local times are those of `time_zone`."""
    return time_zone not in (UTC, OWN_OFFSETS) and not is_day_or_longer(frequency)


def axis_stamp(stamp: dt.datetime, time_zone: str, frequency: str) -> dt.datetime:
    """Return one `stamp` on the axis, without a time zone; see `axis_times`.

    Within a repeated hour, `stamp.fold` says which. Raises ValueError for a time that clocks skip.
    """
    counts_days, is_zoned = is_day_or_longer(frequency), time_zone not in (UTC, OWN_OFFSETS)
    if stamp.tzinfo is None:
        if counts_days or not is_zoned:
            return stamp
        local = stamp.replace(tzinfo=zoneinfo.ZoneInfo(time_zone))
        in_utc = local.astimezone(dt.UTC)
        if in_utc.astimezone(local.tzinfo).replace(tzinfo=None) != stamp:
            raise ValueError(f"{stamp} does not exist in {time_zone}")
        return in_utc.replace(tzinfo=None)
    if counts_days and not is_zoned and time_zone == OWN_OFFSETS:
        return stamp.replace(tzinfo=None)
    zone = zoneinfo.ZoneInfo(time_zone) if counts_days and is_zoned else dt.UTC
    return stamp.astimezone(zone).replace(tzinfo=None)


def _in_utc(local: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """A copy of `local` less its `offsets`, where there are any."""
    return local - (np.nan_to_num(offsets) * 1e6).round().astype("timedelta64[us]")


def _same_time_of_day(local: np.ndarray) -> bool:
    """Whether 95 % of the different stamps have the same time of day."""
    times = np.unique(local[~np.isnat(local)])
    _, counts = np.unique(times - times.astype("datetime64[D]"), return_counts=True)
    return bool(counts.max(initial=0) >= 0.95 * len(times))


def _localized(local: np.ndarray, time_zone: str, rows: pd.DataFrame | None) -> np.ndarray:
    """The stamps in UTC of `local` times in `time_zone`, NaT where clocks skip one."""
    codes, different = pd.factorize(pd.Series(local))
    times = pd.DatetimeIndex(different)
    first, second = (
        times.tz_localize(time_zone, ambiguous=np.full(len(times), is_summer), nonexistent="NaT")
        .tz_convert("UTC")
        .tz_localize(None)
        .to_numpy("datetime64[us]")
        for is_summer in (True, False)
    )
    stamps = np.append(first, np.datetime64("NaT", "us"))[codes]
    repeated = np.flatnonzero((first != second) & ~np.isnat(first))
    in_hour = np.flatnonzero(np.isin(codes, repeated))
    if len(in_hour):
        keys = pd.DataFrame({"stamp": codes[in_hour]})
        if rows is not None:
            keys = keys.join(rows.iloc[in_hour].reset_index(drop=True).add_prefix("key "))
        given = pd.Series(local).dropna()
        newest_first = bool(given.iloc[0] > given.iloc[-1])
        groups = keys.groupby(list(keys.columns), sort=False, observed=True, dropna=False)
        later = groups.cumcount(ascending=not newest_first).to_numpy() > 0
        stamps[in_hour[later]] = second[codes[in_hour[later]]]
    return stamps
