"""Names and format of the artifacts in the MLflow record of a test, and the prefix of its metrics."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import pandas as pd

FORECASTS = "test_forecasts.parquet"
"""Forecasts of the test span beside the actual values, see `forecast_table.tabulate_forecasts`."""
RECENT_HISTORY = "recent.parquet"
"""Actual values right before the test span, see `forecast_table.recent_history`."""
IMPORTANCE = "importance.json"
"""Permutation importance and attention of the winner, see `explanation.explain_forecaster`."""
EXAMPLES = "examples.json"
"""Example requests for the HTTP service, see `service_examples.request_examples`."""
SCORES = "test_scores.parquet"
"""Anomaly scores of the test span, see `detection_table.tabulate_scores`."""
SENSOR_VALUES = "test_values.parquet"
"""Readings over the test span, see `detection_table.sensor_values`."""
OWN_MODEL = "own_settings.zip"
"""Model files of the experiment's own settings, of which a detector may get another threshold later."""
TEST_PREFIX = "test_"
"""Prefix of the metrics of the test span in MLflow."""


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """Return `table` as the content of a Parquet file."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def read_parquet_bytes(content: bytes) -> pd.DataFrame:
    """Return the table that `parquet_bytes` wrote."""
    return pd.read_parquet(io.BytesIO(content))


def zip_bytes(files: Mapping[str, bytes]) -> bytes:
    """Return `files`, contents by name, as the content of a zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def read_zip_bytes(content: bytes) -> dict[str, bytes]:
    """Return the files that `zip_bytes` wrote."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
