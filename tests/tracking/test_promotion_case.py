"""The measure by which gates compare forecasters: that of the selection, where the records have it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from gridcast.tracking.gates import best_baseline_ahead
from gridcast.tracking.promotion_case import PromotionCase
from small_experiments import experiment

CHALLENGER = {"mase": 0.8, "msse": 0.9, "mae": 2.0, "wql": 0.5}


def make_case(baselines, challenger=CHALLENGER, **sections):
    return PromotionCase(
        experiment=experiment(**sections),
        store=SimpleNamespace(),
        run=SimpleNamespace(),
        measures=challenger,
        baseline_measures=baselines,
        champion=None,
        evaluate=lambda _: None,
    )


@pytest.mark.parametrize(
    ("sections", "title", "errors"),
    [
        ({}, "squared scaled error", (0.9, 0.7)),
        ({"training": {"loss": "mae"}}, "MASE", (0.8, 1.0)),
        ({"training": {"loss": "huber"}}, "MASE", (0.8, 1.0)),
        ({"selection": {"metric": "best_val_mae"}}, "MAE", (2.0, 3.0)),
        ({"task": "probabilistic"}, "quantile loss (WQL)", (0.5, 0.4)),
    ],
)
def test_the_gates_compare_by_the_measure_of_the_selection(sections, title, errors):
    case = make_case({"last value": {"mase": 1.0, "msse": 0.7, "mae": 3.0, "wql": 0.4}}, **sections)
    assert case.error_name == title
    assert (case.error, case.naive_errors["last value"]) == errors
    assert best_baseline_ahead(case) == ("last value" if errors[0] > errors[1] else None)


def test_records_without_the_measure_are_compared_by_mase():
    former = {"last value": {"mase": 1.0}, "seasonal naive": {"mase": 0.9, "msse": 0.1}}
    case = make_case(former)
    assert (case.error_name, case.error) == ("MASE", 0.8)
    assert case.naive_errors == {"last value": 1.0, "seasonal naive": 0.9}
    assert make_case({"last value": {"mase": 1.0, "msse": 1.0}}, {"mase": 0.8}).error == 0.8
    assert math.isnan(case.error_of({"msse": 0.1}))
