"""Settle how an unknown table is read and which steps it has: settings of the reader, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from gridcast.config import Experiment
from gridcast.data import clock_changes, infer_steps, learn_steps, sources
from gridcast.data.first_look.keys import FEW, MANY
from gridcast.data.panel import Panel
from gridcast.data.place_rows import place_rows
from gridcast.data.sentinels import find_sentinel
from gridcast.data.table import FILE, SERIES, TARGET, TIME, Table
from gridcast.runtime import gaps
from gridcast.runtime.errors import AmbiguousTable, DataError, InputError
from gridcast.runtime.frequencies import seconds_per_step

NICE_STEPS = ("s", "5s", "10s", "15s", "30s", "min", "5min", "10min", "15min", "30min", "h", "2h", "6h", "12h", "D")
"""Steps to which irregular readings are combined."""
EVEN, UNEVEN = 0.95, 0.7
"""Shares of the steps between the first and the last stamp that have one, where a reading of dates is the right one."""
MAX_CLOCK_CHANGES = 4000
"""Repeated or missing hours that are looked up one by one."""


@dataclass(frozen=True)
class Question:
    """Two readings of a table, of which only a person knows the right one: the key `setting` of data decides."""

    setting: str
    choices: tuple[str, ...]
    message: str


@dataclass(frozen=True)
class Settled:
    """The `content` of an experiment file so far, the `table` that it reads, and the reason of each key of data.

    `doubts` are choices that a person should look at; `question` is one that a person must answer.
    """

    content: dict[str, Any]
    table: Table
    reasons: dict[str, str]
    doubts: tuple[str, ...] = ()
    question: Question | None = None

    @property
    def experiment(self) -> Experiment:
        """The experiment of the content."""
        return experiment_of(self.content)

    @property
    def stamps(self) -> pd.DatetimeIndex:
        """The different stamps of the table, ascending."""
        return pd.DatetimeIndex(self.table.rows[TIME].unique()).sort_values()

    def with_data(self, changes: Mapping[str, Any], reasons: Mapping[str, str], *doubts: str) -> Settled:
        """Return the same with `changes` of the section data, its table read again. Raises InputError."""
        content = with_data(self.content, changes)
        table = sources.load_table(experiment_of(content).data)
        return replace(
            self, content=content, table=table, reasons=self.reasons | dict(reasons), doubts=(*self.doubts, *doubts)
        )


def experiment_of(content: Mapping[str, Any]) -> Experiment:
    """Return the experiment with this `content`, with a window of one step where it has none."""
    return Experiment.model_validate({"window": {"lookback": 1}, **content})


def with_data(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `content` with `changes` of its section data; None removes a key."""
    data = {**content["data"], **changes}
    return {**content, "data": {key: value for key, value in data.items() if value is not None}}


def settle(content: dict[str, Any], reasons: Mapping[str, str], repeated: float) -> Settled:
    """Return how the table of `content` is read; `repeated` is the share of rows that share their stamp.

    Raises DataError where the table cannot be read at all.
    """
    settled = _read(content, dict(reasons))
    settled = _without_sentinels(settled)
    settled = _with_clock_changes(settled)
    settled = _with_one_row_per_step(settled, repeated)
    return _with_steps(settled)


def _read(content: dict[str, Any], reasons: dict[str, str]) -> Settled:
    """The table in the only reading that there is, or the first of two with the question which one is right."""
    try:
        return Settled(content, sources.load_table(experiment_of(content).data), reasons)
    except AmbiguousTable as doubt:
        readings: dict[str, Settled] = {}
        for choice in doubt.choices:
            try:
                readings[choice] = _read(with_data(content, {doubt.setting: choice}), reasons)
            except InputError:
                continue
        if not readings:
            raise
        right = _right_reading(readings, doubt.setting)
        if right is not None:
            why = "the other reading leaves holes between the stamps" if len(readings) > 1 else "the only one that fits"
            settled = readings[right]
            return replace(settled, reasons=settled.reasons | {doubt.setting: why})
        first = next(iter(readings.values()))
        question = Question(doubt.setting, tuple(readings), str(doubt).partition("; write ")[0])
        return replace(first, question=question) if first.question is None else first


def _right_reading(readings: Mapping[str, Settled], setting: str) -> str | None:
    """The choice that is right beyond doubt, None where more than one may be."""
    if len(readings) == 1:
        return next(iter(readings))
    if setting != "dates":
        return None
    shares = {choice: _share_of_steps(settled) for choice, settled in readings.items()}
    even = [choice for choice, share in shares.items() if share >= EVEN]
    return even[0] if len(even) == 1 and min(shares.values()) < UNEVEN else None


def _share_of_steps(settled: Settled) -> float:
    """The share of the steps from the first stamp to the last at which there is one."""
    try:
        panel = place_rows(settled.table, settled.experiment)
    except InputError:
        return 0.0
    return float(np.isfinite(panel.target).any(axis=0).mean())


def _without_sentinels(settled: Settled) -> Settled:
    rows = settled.table.rows
    found = find_sentinel(rows[TARGET], rows[SERIES])
    if found is None:
        return settled
    value = int(found.value)
    missing = [*settled.content["data"].get("missing", ()), value]
    why = f"{found.count:,} values are {value}, far from the others"
    return settled.with_data(
        {"missing": missing}, {"missing": why}, f"{why}: read as no reading (data.missing); remove it if they are true"
    )


def _with_clock_changes(settled: Settled) -> Settled:
    """The table in the time zone whose clock changes explain every repeated or missing hour."""
    stamps = settled.stamps
    if "time_zone" in settled.content["data"] or len(stamps) < infer_steps.MIN_STAMPS:
        return settled
    spacing = infer_steps.find_spacing(stamps)
    if spacing is None or spacing.days >= 1:
        return settled
    repeated = settled.table.rows[TIME][settled.table.rows.duplicated([SERIES, TIME])]
    again = pd.DatetimeIndex(repeated).floor("h").unique()
    regular = pd.date_range(stamps[0], stamps[-1], freq=pd.Timedelta(seconds=spacing.seconds))
    absent = regular.difference(stamps).floor("h").unique() if len(regular) < 2 * len(stamps) else regular[:0]
    if (not len(again) and not len(absent)) or len(again) + len(absent) > MAX_CLOCK_CHANGES:
        return settled
    zones = {clock_changes.zone_that_repeats(hour) for hour in again}
    skipped = {clock_changes.zone_that_skips(hour) for hour in absent}
    zones |= skipped - {None} if again.size else skipped
    if len(zones) != 1 or None in zones:
        return settled
    (zone,) = zones
    hours = [*map(str, again[:1]), *map(str, absent[:1])]
    why = f"clocks are changed there at {hours[0]}, an hour that is there {'twice' if len(again) else 'not at all'}"
    try:
        return settled.with_data(
            {"time_zone": zone}, {"time_zone": why}, f"data.time_zone: {zone}, as {why}; correct it if it is another"
        )
    except InputError:
        return settled


def _with_one_row_per_step(settled: Settled, share: float) -> Settled:
    """The table with one row for each stamp of a series: repeated ones left out, or combined."""
    rows = settled.table.rows
    is_repeated = rows.duplicated([SERIES, TIME])
    count = int(is_repeated.sum())
    if not count:
        return settled
    _check_files(settled, is_repeated)
    if max(share, count / len(rows)) > MANY and settled.content["task"] != "anomaly":
        spacing = infer_steps.find_spacing(settled.stamps)
        frequency = settled.content["data"].get("frequency") or (spacing.frequency if spacing else "D")
        return settled.with_data(
            {"aggregate": "sum", "frequency": frequency},
            {"aggregate": "several rows for a stamp; or mean, or last", "frequency": "the rows of a step are combined"},
            f"{count:,} rows share their stamp with another: they are summed up (data.aggregate; mean and last too)",
        )
    values = rows.groupby([SERIES, TIME], observed=True)[TARGET].nunique(dropna=False)
    if int(values.max()) == 1:
        why = f"{count:,} rows repeat others with the same values"
        return settled.with_data({"repeated": "first"}, {"repeated": why})
    if settled.content["task"] == "anomaly":
        count = rows[TIME][is_repeated].nunique()
    why = f"{count:,} rows have a stamp that another has; or first"
    return settled.with_data(
        {"repeated": "last"}, {"repeated": why}, f"{count:,} rows repeat a stamp: the last one counts (data.repeated)"
    )


def _check_files(settled: Settled, is_repeated: pd.Series) -> None:
    """Raise DataError where files without a column of series hold different values for the same stamps."""
    rows, table = settled.table.rows, settled.table
    if settled.content["data"].get("series") or len(table.files) == 1 or is_repeated.mean() <= FEW:
        return
    same_step = rows.groupby([SERIES, TIME], observed=True)
    if int(same_step[FILE].nunique().max()) == 1 or int(same_step[TARGET].nunique(dropna=False).max()) == 1:
        return
    second = int(np.flatnonzero(is_repeated & (rows[FILE] != rows[FILE].iloc[0]))[0])
    raise DataError(
        f"{table.location(second)}: {rows[TIME].iloc[second]} has another value in another of the {len(table.files)} "
        "files, so each file may be a series: add a column that names it to each file, and name that with --series, or "
        "give one of the files"
    )


def _with_steps(settled: Settled) -> Settled:
    """The table with its frequency stated, or its rows combined to one that can be."""
    data, stamps = settled.content["data"], settled.stamps
    if len(stamps) < infer_steps.MIN_STAMPS or "frequency" in data:
        return settled
    try:
        place_rows(settled.table, settled.experiment)
        rule = learn_steps.learn_steps(stamps, settled.experiment.data).rule
    except InputError:
        return _with_uneven_steps(settled)
    asks_for_dates = settled.question is not None and settled.question.setting == "dates"
    frequency = None if asks_for_dates else rule.frequency
    reasons = settled.reasons | {"frequency": learn_steps.describe(rule)}
    return replace(settled, content=with_data(settled.content, {"frequency": frequency}), reasons=reasons)


def _with_uneven_steps(settled: Settled) -> Settled:
    """The table with steps of its usual distance: forecasts on combined rows, detectors on stamps as they are."""
    stamps = settled.stamps
    spacing = infer_steps.find_spacing(stamps)
    frequency = spacing.frequency if spacing else _nice_step(stamps)
    if settled.content["task"] == "anomaly":
        return settled.with_data(
            {"frequency": frequency, "calendar": "observed"},
            {"frequency": "the usual distance of stamps", "calendar": "stamps are uneven: each one counts as a step"},
        )
    why = "the usual distance of stamps, which are uneven"
    return settled.with_data(
        {"frequency": frequency, "aggregate": "mean"},
        {"frequency": why, "aggregate": "combines the rows of a step; or sum, or last"},
        f"stamps are uneven: their rows are combined to steps of {frequency} by their mean (data.aggregate)",
    )


def _nice_step(stamps: pd.DatetimeIndex) -> str:
    median = float(np.median(np.diff(stamps.to_numpy("datetime64[us]")).astype(float))) / 1e6
    return next((step for step in NICE_STEPS if seconds_per_step(step) >= 0.95 * median), "D")


def gap_policy(panel: Panel, *, has_missing: bool) -> tuple[str, str]:
    """Return how the missing steps of a panel may be filled, and why: `error` without any.

    `has_missing` says that fields mean "no reading", which is not that nothing happened.
    """
    if not gaps.inner_gaps(panel.target).any():
        return "error", "no step is missing; or zero, ffill, interpolate"
    values = panel.target[np.isfinite(panel.target)]
    is_count = bool((values >= 0).all()) and bool((values == np.round(values)).all())
    missing = int(gaps.inner_gaps(panel.target).sum())
    if is_count and not has_missing and (len(panel.series) > 1 or bool((values == 0).any())):
        return "zero", f"{missing:,} steps are missing: nothing happened then; or ffill, interpolate"
    return "ffill", f"{missing:,} steps are missing: read as the value before, never scored; or zero, interpolate"
