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


def not_finite_sentence(laid_out: ForecastInput, row: int, lookbacks: np.ndarray) -> str:
    """Return the sentence on the series in `row`, whose forecast is no number; `lookbacks` are those of the model."""
    name, origin = laid_out.ids[row], int(laid_out.origin[row])
    start = max(0, origin - int(lookbacks[laid_out.codes[row]]))
    recent = laid_out.target[row, start:origin]
    extreme = start + int(np.argmax(np.abs(recent)))
    return (
        f"series '{name}': its forecast is not a finite number; the largest value of the history that is read is "
        f"{laid_out.target[row, extreme]:g} at {pd.Timestamp(laid_out.times[extreme])}: correct it if it is wrong, "
        "or train again"
    )


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
