"""The columns of a model's answer, whose names no column of its table may have."""

from __future__ import annotations

import re

from gridcast.config import Experiment
from gridcast.runtime.answer_columns import ANSWERING_MODEL, FORECAST, PROBLEM, ROLLED_FORWARD
from gridcast.runtime.calendar_features import is_column
from gridcast.runtime.detector import ANOMALY, SCORE, THRESHOLD
from gridcast.runtime.errors import ConfigError

QUANTILE_NAME = re.compile(r"q0?\.\d+(e-\d+)?")
"""Names of quantile columns, such as q0.1."""


def check_answer_names(experiment: Experiment) -> None:
    """Raise ConfigError where a column of the table has the name of a column that the model answers with."""
    data = experiment.data
    if data.sensors is not None:
        columns = [("time", data.time)]  # the names of sensors are checked where the table is read
    else:
        future = filter(is_column, data.future)
        columns = [
            ("time", data.time),
            *(("series", name) for name in data.series),
            ("target", data.target),
            *(("past", name) for name in data.past),
            *(("future", name) for name in future),
        ]
    for field, name in columns:
        if _is_reserved(name, experiment):
            raise ConfigError(
                f"data.{field}: '{name}' is a column of the answer of this model, which would have two of that name; "
                f"rename the column in {data.source}, to '{name}_column' for instance, and write that name here"
            )


def _is_reserved(name: str, experiment: Experiment) -> bool:
    """Whether the answers of the model have a column of this `name`."""
    if experiment.task == "anomaly":
        return name in (SCORE, THRESHOLD, ANOMALY)
    if experiment.task == "probabilistic" and QUANTILE_NAME.fullmatch(name):
        return True
    if experiment.mode != "global" and name == ANSWERING_MODEL:
        return True
    return name in (FORECAST, ROLLED_FORWARD, PROBLEM)
