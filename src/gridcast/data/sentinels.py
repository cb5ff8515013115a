"""Numbers such as -9999 that stand for no reading."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gridcast.runtime.dialect import SENTINELS


def sentinel_remark(values: pd.Series, series: pd.Series | None = None, *, settable: bool) -> str:
    """Return a remark on a value such as -9999, far from all others of its series, which may mean "no reading".

    It is empty without one. `series` (rows,) says which one each of `values` (rows,) belongs to. With `settable`, there
    is an experiment file, whose key is the remedy.
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
            remedy = f"write data.missing: [{sentinel:g}]" if settable else "leave these fields empty"
            return (
                f"{count:,} values are {sentinel:g}, far from the others ({far['min'].min():g} to "
                f"{far['max'].max():g}); if that means no reading, {remedy}"
            )
    return ""
