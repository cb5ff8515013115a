"""Sentences of the verdict that the report's tests do not reach."""

import numpy as np
import pandas as pd
import pytest

from gridcast.reporting import forecast_tables, verdict

BECAUSE = "because nothing changed from one step to the next in training, or because the forecast diverged."


@pytest.mark.parametrize(
    ("without", "sentences"),
    [
        ([], []),
        ([1], [f"That MASE is the mean over 6 of 7 series: b has no finite MASE, {BECAUSE}"]),
        (
            range(1, 7),
            [f"That MASE is the mean over 1 of 7 series: b, c, d, e and 2 more have no finite MASE, {BECAUSE}"],
        ),
    ],
)
def test_series_without_a_mase_are_named(without, sentences):
    scale = np.where(np.isin(np.arange(7), list(without)), 0.0, 1.0)
    table = pd.DataFrame({"series": list("abcdefg"), "actual": 1.0, "forecast": 2.0, "scale": scale})
    assert verdict.mase_coverage_sentences(forecast_tables.measures_by_series({"GRU": table})) == sentences


def test_before_the_test_span_is_touched_there_is_nothing_to_count():
    assert verdict.mase_coverage_sentences(pd.DataFrame()) == []


def test_what_does_as_well_is_not_said_to_be_better():
    table = pd.DataFrame({"name": ["last value", "own settings"], "mase": [1.2, 0.9]})
    sentence = verdict.bottom_line(table, 0.9, ["last value"])
    assert sentence == "The winner beats the last value and every other naive baseline; it is level with own settings."
    assert "own settings has the lower error (MASE 0.900 against 0.950)" in verdict.bottom_line(
        table, 0.95, ["last value"]
    )
