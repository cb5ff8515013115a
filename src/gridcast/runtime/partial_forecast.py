"""Tables in which something is wrong with some series: rows in place of their forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from . import step_rule
from .answer_columns import PROBLEM, ROLLED_FORWARD
from .input_table import ForecastInput
from .preprocessing import Preprocessing
from .series_problems import SeriesProblems


def with_keys(laid_out: ForecastInput, ids: Sequence[str], keys: Mapping[str, list[str]]) -> ForecastInput:
    """Return the input with the key columns of its own series; `ids` are those of `keys`."""
    rows = [ids.index(name) for name in laid_out.ids]
    return replace(laid_out, keys={column: [values[row] for row in rows] for column, values in keys.items()})


def empty_rows(
    problems: SeriesProblems,
    newest: pd.Timestamp,
    horizon: int,
    preprocessing: Preprocessing,
    *,
    ids: Sequence[str],
    keys: Mapping[str, list[str]],
) -> pd.DataFrame:
    """Return a row for each series of `problems` and each step after `newest`, without a forecast, but the reason.

    `ids` are those of `keys`.
    """
    series, steps = np.divmod(np.arange(len(problems) * horizon), horizon)
    names, sentences = list(problems), list(problems.values())
    stamps = step_rule.steps_after(newest, horizon, preprocessing.steps)
    columns = {column: [values[ids.index(names[k])] for k in series] for column, values in keys.items()}
    return pd.DataFrame(
        {
            **columns,
            preprocessing.time: preprocessing.with_zone(np.asarray(stamps, "datetime64[us]")[steps]),
            ROLLED_FORWARD: steps >= preprocessing.horizon,
            PROBLEM: [sentences[k] for k in series],
        }
    )
