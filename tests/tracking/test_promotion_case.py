"""The measure by which gates compare forecasters: that of the selection, where the records have it."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml

from gridcast import config
from gridcast.config import plugins
from gridcast.tracking.gates import best_baseline_ahead
from gridcast.tracking.promotion_case import PromotionCase
from small_experiments import experiment, settings, watching

SHARES = {"share_excellent": 20.0, "share_good": 40.0}
CHALLENGER = {"mase": 0.8, "msse": 0.9, "mae": 2.0, "wql": 0.5, "rmse": 3.0, **SHARES}


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
        ({"selection": {"metric": "val_r2"}}, "mean squared error", (9.0, 4.0)),
        ({"selection": {"metric": "share_within_10"}}, "share outside 90-110 %", (40.0, 70.0)),
    ],
)
def test_the_gates_compare_by_the_measure_of_the_selection(sections, title, errors):
    naive = {"mase": 1.0, "msse": 0.7, "mae": 3.0, "wql": 0.4, "rmse": 2.0, **dict.fromkeys(SHARES, 15.0)}
    case = make_case({"last value": naive}, **sections)
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


OWN = """
def profit(actual, forecast):
    return 0.0

profit.direction = "{direction}"
METRICS = {{"profit": profit}}
"""


@pytest.mark.parametrize(("direction", "ahead"), [("lower", "last value"), ("higher", None)])
def test_a_metric_of_ones_own_is_compared_in_its_direction(direction, ahead):
    text = yaml.safe_dump(settings(selection={"metric": "profit", "margin": 0.1}))
    case = make_case({"last value": {"mase": 1.0, "profit": 4.0}}, {"mase": 2.0, "profit": 5.0})
    own = plugins.from_text("own.py", OWN.format(direction=direction))
    case = replace(case, experiment=config.parse(text, plugins=own), metrics=own.metric_functions)
    assert best_baseline_ahead(case) == ahead
    # A profit of 4.5 is higher by more than a tenth of 4, one of 4.3 is not.
    for profit, is_ahead in ((4.5, False), (4.3, True)):
        near = replace(case, measures={"mase": 2.0, "profit": profit})
        if direction == "higher":
            assert (best_baseline_ahead(near) is not None) == is_ahead


@pytest.mark.parametrize(("alarms", "said"), [(9, "breaks its promise of 1 per week"), (1, "")])
def test_a_detector_that_breaks_its_promise_is_called_so(alarms, said):
    watched = config.parse(yaml.safe_dump(watching(anomaly={"false_alarms": "1 per week"})))
    assert watched.anomaly.merge_gap == watched.window.lookback
    metrics = {"val_online_alarms": float(alarms), "val_online_days": 4.5}
    case = replace(make_case({}), experiment=watched, run=SimpleNamespace(data=SimpleNamespace(metrics=metrics)))
    assert said in case.broken_promise
    assert bool(case.broken_promise) == bool(said)
