"""Readings of sensors that nobody took: values far outside all others, and stretches of one value."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from gridcast.data.panel import Panel
from gridcast.data.sentinels import Sentinel, find_sentinel

MAX_VALUES = 3
"""Different impossible values of a sensor at either end: more are a tail."""
MAX_SHARE = 0.1
"""Share of a sensor's readings that impossible values have at most: more are a state of it."""
MIN_DISTINCT = 20
"""Different other values that a sensor has at least; with fewer, a level may just be rare."""
MIN_REPEATS = 3
"""Readings of one whole number from which it counts as written by a program."""
REPEATED_RANGES, SINGLE_RANGES = 3.0, 10.0
"""How many ranges of all other values a repeated value, and any other, is away from them at least."""
MIN_STUCK, STUCK_RATIO = 30, 10.0
"""Steps of a stretch of one value that is reported, at least, and how many times as long as usual ones it is."""
MAX_NAMED = 5


@dataclass(frozen=True)
class Stretch:
    """A stretch of one `value`, `steps` long from the step `start` on; usual ones of the sensor have `usual` steps."""

    start: int
    steps: int
    value: float
    usual: int


def impossible_values(values: np.ndarray) -> list[Sentinel]:
    """Return the values among `values` (n,) that lie far outside all others, which have no gap of such a size.

    They are those of `find_sentinel`, a whole number that occurs at least `MIN_REPEATS` times, or any other that is
    further away still. NaN is no value. 0 is none of them: it may be that something is off.
    """
    finite = values[np.isfinite(values)]
    distinct, counts = np.unique(finite, return_counts=True)
    for below in range(MAX_VALUES + 1):
        for above in range(MAX_VALUES + 1):
            ends = [*range(below), *range(len(distinct) - above, len(distinct))]
            if not ends or len(distinct) - len(ends) < MIN_DISTINCT or counts[ends].sum() > MAX_SHARE * len(finite):
                continue
            low, high = float(distinct[below]), float(distinct[len(distinct) - above - 1])
            if all(_is_far(float(distinct[k]), int(counts[k]), low, high) for k in ends):
                return [Sentinel(float(distinct[k]), int(counts[k]), low, high) for k in ends]
    sentinel = find_sentinel(pd.Series(finite))
    return [] if sentinel is None else [sentinel]


def _is_far(value: float, count: int, low: float, high: float) -> bool:
    ranges = REPEATED_RANGES if count >= MIN_REPEATS and value == round(value) else SINGLE_RANGES
    return value != 0 and max(low - value, value - high) > ranges * (high - low)


def without_impossible_values(panel: Panel) -> Panel:
    """Return `panel` with gaps at the impossible values before the test span, and a warning that names them.

    So nothing is fitted to them. In the test span they stay, as they would reach a model in use.
    """
    before = np.arange(len(panel.times)) < panel.spans.validation
    observed, texts, values = panel.observed.copy(), [], []
    for row, name in enumerate(panel.series):
        readings = np.where(panel.observed[row], panel.target[row], np.nan)
        found = impossible_values(readings[before]) or impossible_values(readings)
        for one in found:
            is_one = readings == one.value
            observed[row] &= ~(is_one & before)
            verb = "value of '{}' is" if is_one.sum() == 1 else "values of '{}' are"
            texts.append(
                f"{int(is_one.sum()):,} {verb.format(name)} {one.value:.15g}, far from the others ({one.low:g} to "
                f"{one.high:g})"
            )
            values.append(f"{one.value:.15g}")
    if not texts:
        return panel
    more = f"; and {len(texts) - MAX_NAMED} more such values" if len(texts) > MAX_NAMED else ""
    note = (
        f"warning: {'; '.join(texts[:MAX_NAMED])}{more}: gaps before the test span, so that nothing is fitted to them; "
        f"if that means no reading, write data.missing: [{', '.join(dict.fromkeys(values))}], and they are gaps "
        "everywhere"
    )
    target = np.where(observed | ~panel.observed, panel.target, np.nan)
    return replace(panel, target=target, observed=observed, notes=(*panel.notes, note))


def with_stuck_note(panel: Panel) -> Panel:
    """Return `panel` with a warning about sensors that show one value for far longer than they usually do.

    Stretches that begin at a labelled step need none.
    """
    found = {}
    for name, row, is_observed in zip(panel.series, panel.target, panel.observed, strict=True):
        stretch = longest_stretch(np.where(is_observed, row, np.nan))
        if stretch is not None and (panel.labels is None or not panel.labels[stretch.start]):
            found[name] = stretch
    if not found:
        return panel
    texts = [
        f"'{name}' is {one.value:g} for {one.steps:,} steps from {panel.times[one.start]} on (usually {one.usual})"
        for name, one in list(found.items())[:MAX_NAMED]
    ]
    more = f", and {len(found) - MAX_NAMED} more sensors" if len(found) > MAX_NAMED else ""
    note = (
        f"warning: {'; '.join(texts)}{more}: if a sensor was stuck, label these steps (data.labels); before the test "
        "span they are learnt as normal, unless data.labelled is omit"
    )
    return replace(panel, notes=(*panel.notes, note))


def longest_stretch(values: np.ndarray) -> Stretch | None:
    """Return the longest stretch of one value in `values` (steps,) if it is far longer than 99 % of them, else None.

    A sensor without any change is constant, and not stuck.
    """
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))  # NaN differs from all
    lengths = np.diff(starts, append=len(values))
    present = np.isfinite(values[starts])
    if present.sum() < MIN_DISTINCT:
        return None
    usual = int(np.quantile(lengths[present], 0.99, method="inverted_cdf"))
    longest = int(np.argmax(np.where(present, lengths, 0)))
    steps = int(lengths[longest])
    if steps < max(MIN_STUCK, STUCK_RATIO * usual):
        return None
    return Stretch(int(starts[longest]), steps, float(values[starts[longest]]), usual)
