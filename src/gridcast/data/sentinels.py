"""Numbers such as -9999 that stand for no reading."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from gridcast.runtime.dialect import SENTINELS


@dataclass(frozen=True)
class Sentinel:
    """A `value` that occurs `count` times, far from all others of its series, which are from `low` to `high`."""

    value: float
    count: int
    low: float
    high: float


def find_sentinel(values: pd.Series, series: pd.Series | None = None) -> Sentinel | None:
    """Return a value such as -9999 that may mean "no reading", None without one.

    `series` (rows,) says which one each of `values` (rows,) belongs to.
    """
    for sentinel in SENTINELS:
        is_sentinel = (values == sentinel).to_numpy(bool)
        if not is_sentinel.any():
            continue
        names = pd.Series("", index=values.index) if series is None else series.astype("object")
        is_named = names.isin(names[is_sentinel].unique()).to_numpy(bool)
        others = values[is_named & ~is_sentinel & np.isfinite(values.to_numpy(float))]
        ranges = others.groupby(names[others.index]).agg(["min", "max"])
        far = ranges[(ranges["min"] > sentinel / 2) & (ranges["max"] < abs(sentinel) * 2)]
        count = int(names[is_sentinel].isin(far.index).sum())
        if count:
            return Sentinel(sentinel, count, float(far["min"].min()), float(far["max"].max()))
    return None


def sentinel_remark(values: pd.Series, series: pd.Series | None = None, *, settable: bool) -> str:
    """Return a remark on the value of `find_sentinel`, empty without one.

    With `settable`, there is an experiment file, whose key is the remedy.
    """
    found = find_sentinel(values, series)
    if found is None:
        return ""
    remedy = f"write data.missing: [{found.value:g}]" if settable else "leave these fields empty"
    return (
        f"{found.count:,} values are {found.value:g}, far from the others ({found.low:g} to {found.high:g}); if that "
        f"means no reading, {remedy}"
    )
