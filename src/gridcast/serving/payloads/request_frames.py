"""A series as it stands in a request, as a table with the experiment's own column names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from gridcast.runtime.preprocessing import Preprocessing


def series_frame(own: Preprocessing, series: Mapping[str, Any]) -> pd.DataFrame:
    """A series as it stands in a request, as a table with the experiment's own column names."""
    rows = [*series["history"], *series.get("future", ())]
    table = pd.DataFrame(rows).rename(columns={"time": own.time, "value": own.target})
    return table.assign(**key_columns(own, series["id"]))


def key_columns(own: Preprocessing, name: str) -> dict[str, str]:
    """The key columns of the series `name` with their values, as the experiment has them."""
    # Where parts have slashes of their own, any cut will do: they are joined again.
    return dict(zip(own.keys, name.split("/", len(own.keys) - 1), strict=True)) if own.keys else {}
