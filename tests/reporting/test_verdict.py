"""Sentences of the verdict that the report's tests do not reach."""

import numpy as np
import pandas as pd
import pytest

from gridcast.reporting import baseline_sentences, forecast_tables, verdict

BECAUSE = "because nothing changed from one step to the next in training, or because the forecast diverged."


@pytest.mark.parametrize(
    ("without", "sentences"),
    [
        ([], []),
        ([1], [f"The MASE is the mean over 6 of 7 series: b has no finite MASE, {BECAUSE}"]),
        (
            range(1, 7),
            [f"The MASE is the mean over 1 of 7 series: b, c, d, e and 2 more have no finite MASE, {BECAUSE}"],
        ),
    ],
)
def test_series_without_a_mase_are_named(without, sentences):
    scale = np.where(np.isin(np.arange(7), list(without)), 0.0, 1.0)
    table = pd.DataFrame({"series": list("abcdefg"), "actual": 1.0, "forecast": 2.0, "scale": scale})
    by_series = forecast_tables.measures_by_series({"GRU": table})
    assert baseline_sentences.mase_coverage_sentences(by_series) == sentences


def test_before_the_test_span_is_touched_there_is_nothing_to_count():
    assert baseline_sentences.mase_coverage_sentences(pd.DataFrame()) == []


def standing(relations: dict[str, str], **changes) -> verdict.Standing:
    values = {
        "winner": "GRU-8 seed3",
        "metric": "best_val_loss",
        "value": 0.05,
        "configuration": "GRU-8",
        "mean": 0.052,
        "replicates": 1,
        "runs": 9,
        "planned": 9,
        "failed": 0,
        "relations": relations,
        "unit": "configuration",
        "simplest": "GRU-8",
        "compared_over": "paired over 3 seeds",
        "relevant": 0.01,
    }
    return verdict.Standing(**{**values, **changes})


@pytest.mark.parametrize(
    ("relations", "sentence"),
    [
        ({}, None),
        ({"a": "best"}, None),
        (
            {"a": "best", "b": "worse", "c": "worse"},
            "By validation loss it is shown to be ahead of all 2 other configurations (paired over 3 seeds).",
        ),
        (
            {"a": "best", "b": "worse", "c": "unclear"},
            "It cannot be told apart from 1 of 2 other configurations (paired over 3 seeds); the simplest of them "
            "all is GRU-8.",
        ),
        (
            {"a": "best", "b": "tied", "c": "unclear"},
            "It cannot be told apart from 2 of 2 other configurations (paired over 3 seeds), of which 1 is tied with "
            "it within 1 %; the simplest of them all is GRU-8.",
        ),
    ],
)
def test_the_best_run_stands_to_the_others_as_the_tests_say(relations, sentence):
    found = verdict.standing_sentences(standing(relations))
    assert found[0] == "All 9 runs finished. The best by validation loss is GRU-8 seed3 (0.05)."
    assert found[1:] == ([sentence] if sentence else [])


def test_a_configuration_with_several_runs_is_the_best_by_their_mean():
    (sentence,) = verdict.standing_sentences(standing({}, replicates=3))
    assert sentence == (
        "All 9 runs finished. Of the configurations with 3 runs the best by mean validation loss is GRU-8 (0.052), and "
        "its best run is GRU-8 seed3 (0.05)."
    )


def test_single_runs_are_not_called_configurations():
    found = verdict.standing_sentences(standing({"a": "best", "b": "worse", "c": "unclear"}, unit="run"))
    assert "cannot be told apart from 1 of 2 other runs (" in found[1]


def inputs(rises: dict[str, float], spread: float = 1.0, kind: str = "covariate") -> pd.DataFrame:
    return pd.DataFrame({"name": list(rises), "kind": kind, "rise": list(rises.values()), "spread": spread})


def test_an_input_of_no_use_needs_more_than_two_spreads_to_count():
    # One of twelve useless inputs often rises by two spreads; former versions said that it mattered.
    noisy = inputs({"price": 2.5, **{f"x{k}": 0.1 for k in range(11)}})
    found = verdict.input_sentences(noisy, pd.DataFrame(), repeats=5, relevant=0.01)
    assert found[0].startswith("After shuffling price, x0, x1,")
    assert found[0].endswith("the error is not shown to be higher by 1 % or more.")
    clear = verdict.input_sentences(noisy.assign(spread=0.1), pd.DataFrame(), repeats=5, relevant=0.01)
    assert clear[0] == "After shuffling price among the windows the error is 2.5 % higher."


def test_a_rise_below_the_relevant_share_does_not_count():
    small = inputs({"price": 0.9}, spread=0.001)
    assert "not shown" in verdict.input_sentences(small, pd.DataFrame(), repeats=5, relevant=0.01)[0]
    assert "0.9 % higher" in verdict.input_sentences(small, pd.DataFrame(), repeats=5, relevant=0.005)[0]


def test_a_rise_that_is_not_clear_over_time_does_not_count():
    clear = inputs({"price": 9.0, "month": 0.0}, spread=0.1)
    for p_value, shown in ((0.001, True), (0.2, False), (np.nan, False)):
        found = verdict.input_sentences(clear.assign(p_value=p_value), pd.DataFrame(), repeats=5, relevant=0.01)
        assert ("9.0 % higher" in found[0]) == shown


def test_few_shuffles_show_less():
    large = inputs({"price": 9.0, "month": 0.0})
    assert "not shown" in verdict.input_sentences(large, pd.DataFrame(), repeats=2, relevant=0.01)[0]
    assert "9.0 % higher" in verdict.input_sentences(large, pd.DataFrame(), repeats=5, relevant=0.01)[0]
