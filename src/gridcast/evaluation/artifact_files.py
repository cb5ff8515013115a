"""Names and format of the artifacts that the record of a test holds."""

from __future__ import annotations

import io

import pandas as pd

SCORES = "test_scores.parquet"


SENSOR_VALUES = "test_values.parquet"


FORECASTS = "test_forecasts.parquet"


RECENT_HISTORY = "recent.parquet"


IMPORTANCE = "importance.json"


EXAMPLES = "examples.json"


TEST_PREFIX = "test_"


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """The table as a Parquet file."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def read_parquet_bytes(content: bytes) -> pd.DataFrame:
    """The reverse of `to_bytes`."""
    return pd.read_parquet(io.BytesIO(content))
