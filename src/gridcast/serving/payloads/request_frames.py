"""Series of a request as tables with the experiment's own column names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from gridcast.runtime.preprocessing import Preprocessing
from gridcast.serving.payloads import schemas
from gridcast.serving.payloads.row_pieces import pieces_of


def series_frame(preprocessing: Preprocessing, series: Mapping[str, Any]) -> pd.DataFrame:
    """Return the table of one series, which has its `id`, `history` and perhaps `future` as in a request."""
    rows = [*series["history"], *series.get("future", ())]
    table = pd.DataFrame(rows).rename(columns={"time": preprocessing.time, "value": preprocessing.target})
    return table.assign(**preprocessing.key_values(series["id"]))


def history_frame(request: schemas.PredictRequest, preprocessing: Preprocessing) -> pd.DataFrame:
    """Return the table of all series of a request."""
    frames = []
    for series in request.series:
        name = series.id or preprocessing.series[0]
        for piece in (*pieces_of(series.history), *pieces_of(series.future)):
            rows = [step.model_dump() for step in piece]
            frames.append(series_frame(preprocessing, {"id": name, "history": rows}))
    return pd.concat(frames, ignore_index=True)
