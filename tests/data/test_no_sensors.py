"""Which columns of numbers are sensors where nobody has named them, and which predict the labels on their own."""

import numpy as np
import pandas as pd
import pytest

from gridcast.data.label_leaks import predicts_labels
from gridcast.data.no_sensors import split_sensors

STEPS = np.arange(300)
FLOW = np.random.default_rng(0).normal(size=300)
LABELS = ((STEPS > 100) & (STEPS < 120)) | (STEPS > 250)


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("changepoint", STEPS % 50 == 0, "changepoint hold only 0 and 1"),
        ("row", STEPS, "row never fall, as counters and row numbers"),
        ("energy", np.floor(STEPS / 3), "energy never fall"),
        ("status", STEPS % 3, "status hold codes"),
        ("setting", STEPS % 3, ""),
        ("pressure", STEPS // 100, ""),
    ],
)
def test_flags_counters_and_codes_are_left_out(name, values, reason):
    table = pd.DataFrame({"flow": FLOW, name: np.asarray(values, float)})
    sensors, notes = split_sensors([table, table], ["flow", name])
    assert sensors == (["flow"] if reason else ["flow", name])
    assert [reason in note for note in notes] == [True] * bool(reason)


def test_the_only_column_of_numbers_is_the_sensor():
    sensors, notes = split_sensors([pd.DataFrame({"energy": STEPS})], ["energy"])
    assert sensors == ["energy"]
    assert "read as sensors, as there are no others" in notes[0]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (LABELS * 1.0, "its value 1 occurs at labelled steps alone, in 2 events"),
        (np.isin(STEPS, (101, 251)) * 1.0, "its value 1 occurs at labelled steps alone, in 2 events"),
        (FLOW + 20 * LABELS, "its values at labelled steps are above all others"),
        (FLOW + 2 * LABELS, ""),
        (np.isin(STEPS, (3, 101, 251)) * 1.0, ""),
        (np.where(STEPS == 101, 1.0, 0.0), ""),
    ],
)
def test_a_column_that_predicts_the_labels_on_its_own(values, told):
    assert predicts_labels(values, LABELS) == told
